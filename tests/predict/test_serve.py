"""The simulated scheduler does what vLLM's does, and its laws hold: more memory and more users never serve less."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import pytest

from predict.shapes import SMALL, T4
from tuner.predict.prediction import run_load
from tuner.predict.serve import Event, Server
from tuner.predict.settings import Settings, resolve
from tuner.predict.step import Rates, Steps
from tuner.types import Failed, Lengths, Params, Workload, present
from tuner.workload.presets import load_workload

#: Throughput is that of a window of some hundred requests: two windows of one server differ by less than this.
WINDOW = 0.02


def settings(params: Params | None = None) -> Settings:
    found = resolve({"max_model_len": 4096, **(params or {})}, SMALL, T4)
    assert not isinstance(found, Failed)
    return found


def server(params: Params | None = None, *, tokens: int = 100_000, rates: Rates | None = None) -> Server:
    known = settings(params)
    return Server(Steps(shape=SMALL, gpu=T4, settings=known, rates=rates or Rates()), known, tokens)


def run(found: Server, until_s: float = 1e9) -> list[Event]:
    return found.advance(until_s)


def chat(users: int, seed: int = 0) -> Workload:
    return replace(load_workload("chat"), users=users, seed=seed)


def throughput(users: int, params: Params | None = None, *, tokens: int = 100_000, seed: int = 0) -> float:
    found = server(params, tokens=tokens)
    return present(run_load(found, settings(params), chat(users, seed)).load.output_throughput)


def test_a_request_gets_each_of_its_tokens_and_its_end_once() -> None:
    found = server()
    for number in range(20):
        found.submit(number, 100 + number, 10 + number, number * 0.01)
    events = run(found)
    assert [event.time_s for event in events] == sorted(event.time_s for event in events)
    for number in range(20):
        mine = [event for event in events if event.number == number]
        assert sum(event.tokens for event in mine) == 10 + number
        assert [event.finished for event in mine] == [False, True]
    assert found.generation_tokens == sum(range(10, 30))
    assert found.prompt_tokens == sum(range(100, 120))
    assert (found.running, found.waiting, found.kv_cache_usage) == (0, 0, 0.0)


def test_events_come_as_often_as_asked_for() -> None:
    found = server()
    found.submit(0, 50, 20, 0.0, every=8)
    assert [event.tokens for event in run(found)] == [1, 8, 8, 3]


def test_not_more_sequences_run_than_max_num_seqs() -> None:
    found = server({"max_num_seqs": 4})
    for number in range(10):
        found.submit(number, 64, 50, 0.0)
    found.advance(0.3)
    assert (found.running, found.waiting) == (4, 6)


def test_a_long_prompt_is_read_in_chunks_of_the_token_budget() -> None:
    """Two budgets of prompt take two steps, and the sequence that decodes meanwhile gets a token in each."""
    found = server({"max_num_batched_tokens": 512, "max_num_seqs": 8})
    found.submit(0, 16, 100, 0.0, every=1)
    found.submit(1, 1000, 1, 0.5)
    events = run(found)
    first = next(event for event in events if event.number == 1)
    before = [event for event in events if event.number == 0 and event.time_s < first.time_s]
    gaps = [after.time_s - event.time_s for event, after in pairwise(before)]
    assert sum(gap > 2 * min(gaps) for gap in gaps) + 1 >= 2
    assert found.steps_done == 1 + 99  # none for the prompts alone


def test_a_full_cache_preempts_the_last_and_loses_nothing() -> None:
    found = server(tokens=1000)
    for number in range(8):
        found.submit(number, 100, 200, 0.0)
    events = run(found)
    assert found.preemptions > 0
    assert sorted(event.number for event in events if event.finished) == list(range(8))
    assert sum(event.tokens for event in events) == 8 * 200
    assert found.prompt_tokens == 800


def test_what_is_in_the_prefix_cache_is_not_read_again() -> None:
    fresh, cached = server(), server()
    fresh.submit(0, 2000, 1, 0.0)
    cached.submit(0, 2000, 1, 0.0, cached_tokens=1900)
    assert run(cached)[0].time_s < run(fresh)[0].time_s / 2
    assert cached.cached_tokens == 1900


@pytest.mark.parametrize("at_s", [0.0, 0.05, 0.4])
def test_an_aborted_request_leaves_nothing(at_s: float) -> None:
    found = server({"max_num_seqs": 2})
    for number in range(3):
        found.submit(number, 1000, 500, 0.0)
    found.advance(at_s)
    for number in range(3):
        found.abort(number)
    assert run(found) == []
    assert (found.running, found.waiting, found.kv_cache_usage) == (0, 0, 0.0)
    found.submit(3, 10, 2, 2.0)
    assert [event.tokens for event in run(found)] == [1, 1]


def test_what_is_simulated_at_once_is_what_is_simulated_step_by_step() -> None:
    """A live server is advanced by the clock, a prediction to the end: both must tell the same."""
    whole, parts = server(), server()
    for number in range(30):
        for one in (whole, parts):
            one.submit(number, 100, 80, number * 0.02)
    at_once = run(whole)
    by_the_clock = [event for tick in range(2000) for event in parts.advance(tick * 0.01)]
    assert [event.number for event in by_the_clock] == [event.number for event in at_once]
    assert [event.time_s for event in by_the_clock] == pytest.approx([event.time_s for event in at_once], rel=0.02)


def _grows(values: Sequence[float]) -> bool:
    return all(after >= before * (1 - WINDOW) for before, after in pairwise(values))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("params", [{}, {"max_num_seqs": 32}, {"max_num_batched_tokens": 512}, {"enforce_eager": True}])
def test_more_kv_memory_never_lowers_throughput(params: Params, seed: int) -> None:
    found = [throughput(64, params, tokens=tokens, seed=seed) for tokens in (4096, 6000, 9000, 14_000, 30_000, 200_000)]
    assert _grows(found), found
    assert found[-1] > found[0] * 1.1  # the smallest is short of memory: the law was put to the test


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("params", [{}, {"max_num_seqs": 32}, {"stream_interval": 8}])
def test_more_users_never_lower_throughput_below_saturation(params: Params, seed: int) -> None:
    found = [throughput(users, params, seed=seed) for users in (1, 2, 4, 8, 16, 32, 64, 128)]
    assert _grows(found), found


def test_long_conversations_are_served_from_the_prefix_cache() -> None:
    workload = replace(load_workload("multi-turn"), users=8)
    with_cache, without = (
        run_load(server({"enable_prefix_caching": on}), settings({"enable_prefix_caching": on}), workload).load
        for on in (True, False)
    )
    assert present(present(with_cache.ttft_s).mean) < present(present(without.ttft_s).mean)


def test_in_an_open_loop_the_rate_is_the_users_until_it_cannot_be() -> None:
    workload = replace(load_workload("chat"), users=None, request_rate=2.0, input_tokens=Lengths(low=100, high=100))
    slow = run_load(server(), settings(), workload)
    assert slow.load.request_throughput == pytest.approx(2.0, rel=0.15)
    fast = run_load(server(), settings(), replace(workload, request_rate=2000.0))
    assert present(fast.load.request_throughput) < 500
    assert present(present(fast.load.ttft_s).mean) > 10 * present(present(slow.load.ttft_s).mean)


def test_a_threshold_for_long_prompts_lets_short_ones_pass() -> None:
    """A prompt of 4,000 tokens takes a part of each step only, so a short one that comes behind it starts sooner, and the long
    one later."""

    def first_s(threshold: int) -> tuple[float, float]:
        found = server({"max_num_batched_tokens": 2048, "long_prefill_token_threshold": threshold})
        found.submit(0, 4000, 8, 0.0)
        found.submit(1, 100, 8, 0.001)
        first: dict[int, float] = {}
        for event in run(found):
            first.setdefault(event.number, event.time_s)
        return first[0], first[1]

    (long_s, short_s), (long_behind_s, short_first_s) = first_s(0), first_s(256)
    assert short_first_s < short_s
    assert long_behind_s > long_s


def test_drafts_that_are_accepted_shorten_answers_and_every_token_counts_once() -> None:
    drafts: Params = {
        "speculative_config.method": "eagle",
        "speculative_config.num_speculative_tokens": 3,
        "speculative_config.synthetic_acceptance_length": 2.5,
    }
    ends_s = []
    for params in ({}, drafts):
        found = server(params)
        for number in range(6):
            found.submit(number, 100 + number, 40 + number, number * 0.001)
        events = run(found)
        assert found.generation_tokens == sum(range(40, 46))
        for number in range(6):
            assert sum(event.tokens for event in events if event.number == number) == 40 + number
        ends_s.append(max(event.time_s for event in events if event.finished))
    assert ends_s[1] < 0.8 * ends_s[0]
