import asyncio
import dataclasses
import json
from datetime import datetime

import pytest
from metrics_page import PageServer
from record_samples import MEASURED
from samples import CLIENT

from tuner.errors import LaunchError
from tuner.export.bench_json import Asked, bench_json
from tuner.measure.server import ServerSampler
from tuner.measure.server_page import totals
from tuner.measure.speculation import Speculated, speculated
from tuner.types import LoadResult, ServerMetrics
from tuner.workload.presets import PRESETS

NOTHING = LoadResult(
    records=(), window_start_s=0.0, window_end_s=1.0, client=CLIENT, warmup_s=1.0, stationary=True, shared_tokens=0
)
_REQUIRED = ("prompt_tokens", "generation_tokens", "num_preemptions", "prefix_cache_queries", "prefix_cache_hits")


def page(drafts: int | None, drafted: int = 0, accepted: tuple[int, ...] = (), engines: int = 1) -> str:
    """vLLM's counters, the same for each engine; without `drafts` as of a server that does not speculate."""
    lines = [f'vllm:{name}_total{{engine="{e}"}} 5\n' for name in _REQUIRED for e in range(engines)]
    if drafts is not None:
        counts = {"drafts": drafts, "draft_tokens": drafted, "accepted_tokens": sum(accepted)}
        for engine in range(engines):
            lines += [f'vllm:spec_decode_num_{n}_total{{engine="{engine}"}} {c}\n' for n, c in counts.items()]
            lines += [
                f'vllm:spec_decode_num_accepted_tokens_per_pos_total{{engine="{engine}",position="{place}"}} {count}\n'
                for place, count in enumerate(accepted)
            ]
    return "".join(lines)


def between(before: str, after: str) -> Speculated:
    return speculated(totals(before), totals(after))


def test_the_window_has_its_own_drafts_in_vllms_terms() -> None:
    found = between(page(10, 30, (8, 4, 1)), page(110, 330, (78, 44, 11)))
    assert (found["drafts"], found["draft_tokens"], found["accepted_tokens"]) == (100, 300, 120)
    assert found["acceptance_length"] == pytest.approx(1 + 120 / 100)
    assert found["acceptance_rate"] == pytest.approx(120 / 300)
    assert found["acceptance_rates"] == pytest.approx((0.7, 0.4, 0.1))


def test_the_series_of_several_engines_are_summed() -> None:
    one = between(page(0, 0, (0, 0)), page(50, 100, (30, 10)))
    four = between(page(0, 0, (0, 0), engines=4), page(50, 100, (30, 10), engines=4))
    assert four["drafts"] == 4 * one["drafts"]
    assert four["acceptance_length"] == one["acceptance_length"]
    assert four["acceptance_rates"] == pytest.approx(one["acceptance_rates"])


def test_without_speculation_nothing_is_told_and_without_a_draft_no_rate() -> None:
    assert between(page(None), page(None)) == {}
    assert between(page(7, 21, (3, 2, 1)), page(7, 21, (3, 2, 1))) == {
        "drafts": 0,
        "draft_tokens": 0,
        "accepted_tokens": 0,
    }


def sampled(before: str, after: str) -> ServerMetrics:
    async def run() -> ServerMetrics:
        with PageServer(lambda: (200, text)) as server:
            text = before
            sampler = ServerSampler(server.url)
            async with sampler:
                text = after
            return sampler.metrics(NOTHING)

    return asyncio.run(run())


def test_a_measurement_has_them_and_its_names_have_units_of_their_own() -> None:
    server = sampled(page(0, 0, (0, 0)), page(50, 100, (30, 10)))
    assert server.acceptance_length == pytest.approx(1.8)
    metrics = dataclasses.replace(MEASURED, server=server).metrics()
    assert metrics["server_acceptance_rate"] == pytest.approx(0.4)
    assert metrics["server_acceptance_rate_1"] == pytest.approx(0.6)
    assert metrics["server_acceptance_rate_2"] == pytest.approx(0.2)
    plain = sampled(page(None), page(None))
    assert (plain.drafts, plain.acceptance_length, plain.acceptance_rates) == (None, None, None)
    assert not [name for name in dataclasses.replace(MEASURED, server=plain).metrics() if "accept" in name]


def test_counters_that_fall_are_a_server_that_was_restarted() -> None:
    with pytest.raises(LaunchError, match=r"spec_decode_num_drafts_total of /metrics fell in the window"):
        sampled(page(50, 100, (30, 10)), page(1, 2, (1, 0)))
    with pytest.raises(LaunchError, match=r"spec_decode_num_drafts_total of /metrics fell in the window"):
        sampled(page(50, 100, (30, 10)), page(None))


def test_the_json_of_a_measurement_has_vllms_names_for_it() -> None:
    asked = Asked(workload=PRESETS["chat"], yaml="")

    def written(server: ServerMetrics) -> dict[str, object]:
        found = dataclasses.replace(MEASURED, server=server)
        told = json.loads(bench_json(found, asked, server="s", model="m", at=datetime.now()))
        return {name: value for name, value in told.items() if name.startswith("spec_decode")}

    assert written(sampled(page(0, 0, (0, 0)), page(50, 100, (30, 10)))) == {
        "spec_decode_acceptance_rate": pytest.approx(40),
        "spec_decode_acceptance_length": pytest.approx(1.8),
        "spec_decode_num_drafts": 50,
        "spec_decode_draft_tokens": 100,
        "spec_decode_accepted_tokens": 40,
        "spec_decode_per_position_acceptance_rates": pytest.approx([0.6, 0.2]),
    }
    assert written(sampled(page(None), page(None))) == {}
