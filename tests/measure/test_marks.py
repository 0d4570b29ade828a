import random
from array import array
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from samples import CLIENT, load_metrics, measured

from tuner.decide.deciding import Deciding
from tuner.measure.marks import client_bound, marks, unknown
from tuner.types import DataFile, GpuMetrics, LoadResult, Mark, RequestRecord, ServerMetrics
from tuner.workload.presets import PRESETS

CHAT, OPEN = PRESETS["chat"], PRESETS["open-chat"]
GOOD = replace(load_metrics(), output_throughput_ci95=1.0, completed=100, input_tokens=25_600)
GPU = GpuMetrics(gpus=(0,), samples=100, utilization=0.5, memory_used_bytes=1, power_w=None)
_SERVER = measured().server
assert _SERVER is not None
SERVER: ServerMetrics = replace(_SERVER, prefix_cache_queries=25_600.0, prefix_cache_hits=0.0)


def load(arrived: int = 100, *, shared_tokens: int | None = 0, **more: Any) -> LoadResult:
    records = tuple(
        RequestRecord(
            index=index,
            scheduled_s=index / arrived,
            sent_s=index / arrived,
            ended_s=2.0,
            chunk_times_s=array("d", [1.5]),
            input_tokens=256,
            output_tokens=1,
            error=None,
        )
        for index in range(arrived)
    )
    whole: dict[str, Any] = {"client": CLIENT, "warmup_s": 4.0, "stationary": True} | more
    return LoadResult(records=records, window_start_s=0.0, window_end_s=1.0, shared_tokens=shared_tokens, **whole)


def test_a_metric_that_decides_and_is_not_known_is_said() -> None:
    p99 = Deciding(precision=0.02, throughput=False, metrics=("ttft_p99_s",))
    for ci95, said in (
        (None, ("ttft_p99_s",)),
        ({"ttft_p99_s": (0.09, 0.115)}, ("ttft_p99_s",)),
        ({"ttft_p99_s": (0.1, 0.115)}, ()),
    ):
        known = replace(GOOD, output_throughput_ci95=None, ci95=ci95)
        assert unknown(p99, known, ()) == said
        assert marks(CHAT, load(), known, SERVER, GPU, p99) == ((Mark.IMPRECISE,) if said else ())
    undecided = load(undecided=("e2el_p99_s",))
    assert marks(CHAT, undecided, GOOD, SERVER, GPU) == (Mark.IMPRECISE,)


def test_an_open_loop_has_no_throughput_to_be_precise_about() -> None:
    assert marks(OPEN, load(), replace(GOOD, output_throughput_ci95=None), SERVER, GPU) == ()


def test_a_good_measurement_has_none() -> None:
    assert marks(CHAT, load(), GOOD, SERVER, GPU) == ()
    assert marks(CHAT, load(), GOOD, None, None) == ()


@pytest.mark.parametrize(
    ("client", "bound"),
    [
        ({"cpu": 0.95}, True),
        ({"cpu": 0.85}, False),
        ({"delay_mean_s": 0.008, "lag_mean_s": 0.003}, True),  # TTFT is 100 ms
        ({"delay_mean_s": 0.004, "lag_mean_s": 0.003}, False),
        ({"send_delay_mean_s": 0.011}, True),
        ({"send_delay_mean_s": 0.009, "send_delay_p99_s": 0.05}, False),
    ],
)
def test_a_client_without_time_or_with_delays_that_matter_is_the_limit(client: dict[str, Any], bound: bool) -> None:
    assert client_bound(replace(CLIENT, **client), GOOD) is bound
    assert (Mark.CLIENT_BOUND in marks(CHAT, load(client=replace(CLIENT, **client)), GOOD, SERVER, GPU)) is bound


def test_delays_of_less_than_three_milliseconds_matter_to_nobody() -> None:
    fast = load_metrics(ttft_s=0.005)
    assert not client_bound(replace(CLIENT, delay_mean_s=0.0028, lag_mean_s=0.0), fast)
    assert client_bound(replace(CLIENT, delay_mean_s=0.0032, lag_mean_s=0.0), fast)


def test_what_was_not_stationary_or_not_precise_is_said() -> None:
    assert marks(CHAT, load(stationary=False), GOOD, SERVER, GPU) == (Mark.UNSTEADY,)
    assert marks(CHAT, load(), replace(GOOD, output_throughput_ci95=2.1), SERVER, GPU) == (Mark.IMPRECISE,)
    assert marks(CHAT, load(), replace(GOOD, output_throughput_ci95=None), SERVER, GPU) == (Mark.IMPRECISE,)
    assert marks(replace(CHAT, precision=0.03), load(), replace(GOOD, output_throughput_ci95=2.1), SERVER, GPU) == ()


@pytest.mark.parametrize(
    ("throttled", "marked"), [(None, False), (0.0, False), (0.01, False), (0.05, True), (1.0, True)]
)
def test_clocks_that_are_held_down_are_said(throttled: float | None, marked: bool) -> None:
    assert (Mark.THROTTLED in marks(CHAT, load(), GOOD, SERVER, replace(GPU, throttled=throttled))) is marked


@pytest.mark.parametrize(
    ("hits", "shared", "marked"),
    [(0.0, 0, False), (300.0, 0, True), (2_500.0, 26, False), (2_900.0, 26, True), (25_000.0, None, False)],
)
def test_more_prefix_cache_hits_than_the_workload_implies_are_said(
    hits: float, shared: int | None, marked: bool
) -> None:
    found = marks(CHAT, load(shared_tokens=shared), GOOD, replace(SERVER, prefix_cache_hits=hits), GPU)
    assert (Mark.PREFIX_CACHE in found) is marked


def test_an_interval_of_a_window_that_is_shorter_than_a_request_is_not_believed() -> None:
    assert marks(CHAT, load(), replace(GOOD, completed=63), SERVER, GPU) == (Mark.IMPRECISE,)
    assert marks(CHAT, load(), replace(GOOD, completed=64), SERVER, GPU) == ()


def test_the_longer_prompts_of_before_the_window_say_nothing_of_what_can_be_cached() -> None:
    """Half of each prompt is shared. The users' first prompts, which end with a part of the answer, are as long again."""
    whole = load(shared_tokens=128)
    first = [
        replace(record, index=100 + n, scheduled_s=-1.0, input_tokens=512) for n, record in enumerate(whole.records)
    ]
    server = replace(SERVER, prefix_cache_hits=12_800.0)
    assert marks(CHAT, replace(whole, records=(*first, *whole.records)), GOOD, server, GPU) == ()


def test_an_open_loop_that_outruns_the_server_is_said_and_a_closed_one_cannot() -> None:
    behind = replace(GOOD, completed=60)
    waiting = replace(load(100), records=tuple(answered(r, 1.0 + 2 * r.scheduled_s) for r in load(100).records))
    assert marks(OPEN, waiting, behind, SERVER, GPU) == (Mark.SATURATED,)
    assert marks(OPEN, waiting, replace(GOOD, completed=75), SERVER, GPU) == ()  # chance: 100 +- 30
    assert marks(CHAT, waiting, replace(GOOD, completed=64), SERVER, GPU) == ()


def test_a_load_that_still_fills_a_server_without_a_limit_does_not_outrun_it() -> None:
    """Few of the answers have ended, but each takes as long as the others: 10 to 30 times the window."""
    lengths_s = random.Random(0)
    filling = tuple(answered(record, lengths_s.uniform(10, 30)) for record in load(100).records)
    assert marks(OPEN, replace(load(100), records=filling), replace(GOOD, completed=5), SERVER, GPU) == ()


def answered(record: RequestRecord, after_s: float) -> RequestRecord:
    return replace(record, ended_s=record.scheduled_s + after_s)


def test_speculation_on_random_words_is_marked_and_on_a_dataset_not() -> None:
    speculates = replace(SERVER, drafts=0.0, draft_tokens=0.0, accepted_tokens=0.0)
    assert marks(CHAT, load(), GOOD, speculates, GPU) == (Mark.RANDOM_TEXT,)
    text = replace(CHAT, dataset=DataFile(path=Path("talks.jsonl"), digest="1"))
    assert marks(text, load(shared_tokens=None), GOOD, speculates, GPU) == ()
