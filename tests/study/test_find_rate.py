"""A search for the highest rate on a server that is not there: its first tokens are made one after another."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import pytest
from samples import measured

from tuner.decide.overload import Overload
from tuner.decide.slo import parse_slo
from tuner.errors import LaunchError
from tuner.measure.metrics import distribution
from tuner.study.find_rate import FindRate, find_rate
from tuner.types import Failed, FailureKind, Lengths, Mark, Measured, Workload
from tuner.workload.arrivals import schedule

OPEN = Workload(
    name="open",
    api="completions",
    request_rate=2.0,
    find_rate=True,
    input_tokens=Lengths(low=8, high=8),
    output_tokens=Lengths(low=1, high=1),
    warmup_s=2.0,
    window_s=4.0,
)
SLO = parse_slo("ttft_p90=300ms")
#: Of a server that takes 100 ms for each, from 2,000,000 requests.
TRUE_RATE = 5.87


def served(load: Workload, *, answer_s: float = 0.0, marks: tuple[Mark, ...] = ()) -> Measured:
    """Each request takes 100 ms of the server alone, and `answer_s` after that."""
    free_s, ttfts_s = 0.0, list[float]()
    for arrival in schedule(load):
        if arrival.offset_s >= load.warmup_s + load.window_s:
            break
        free_s = max(free_s, arrival.offset_s) + 0.1
        if arrival.offset_s >= load.warmup_s:
            ttfts_s.append(free_s - arrival.offset_s)
    found = measured(marks=marks)
    ttft_s, e2el_s = distribution(ttfts_s), distribution([ttft_s + answer_s for ttft_s in ttfts_s])
    return replace(found, load=replace(found.load, request_rate=load.request_rate, ttft_s=ttft_s, e2el_s=e2el_s))


def look(workload: Workload = OPEN, answer_s: float = 0.0) -> tuple[Measured, list[Workload]]:
    search, loads = FindRate(workload, [SLO]), list[Workload]()
    while (load := search.next()) is not None:
        loads.append(load)
        search.tell(load, served(load, answer_s=answer_s))
    found = search.found()
    assert found is not None
    return found, loads


def test_the_rate_is_found_was_seen_to_meet_the_slo_and_comes_with_all_that_was_tried() -> None:
    found, loads = look()
    assert found.load.request_rate == pytest.approx(TRUE_RATE, rel=0.08)
    assert SLO.violation(found.load) <= 0
    assert found.rate is not None
    assert found.rate.low is not None
    assert found.rate.high is not None
    assert found.rate.low == pytest.approx(found.load.request_rate, rel=0.02)
    assert found.rate.low < found.rate.high < 1.2 * found.rate.low
    assert [tried.request_rate for tried in found.rate.tried] == [load.request_rate for load in loads]
    assert all(tried.met == (tried.seen["ttft_p90_s"] <= SLO.limit_s) for tried in found.rate.tried)


def test_each_load_has_arrivals_of_its_own_and_another_seed_others() -> None:
    seeds = [[load.seed for load in look(replace(OPEN, seed=seed))[1]] for seed in (0, 0, 1)]
    assert seeds[0] == seeds[1]
    assert len({*seeds[0], *seeds[2]}) == len(seeds[0]) + len(seeds[2])


def test_a_rate_that_met_its_slos_before_the_first_answers_had_ended_is_tried_again() -> None:
    found, loads = look(answer_s=30.0)
    assert loads[0].warmup_s < 30 <= loads[1].warmup_s
    assert loads[0].request_rate == loads[1].request_rate
    assert all(load.warmup_s >= 30 for load in loads[1:])
    assert found.rate is not None
    assert len(found.rate.tried) == len(loads) - 1


def test_a_rate_is_missed_where_it_saturates_the_server_or_cannot_be_measured() -> None:
    async def measure(load: Workload, overloads: Sequence[Overload]) -> Measured:
        assert load.request_rate is not None
        if load.request_rate > 12:
            raise LaunchError(Failed(kind=FailureKind.STALLED, message="no byte came"))
        return served(load, marks=(Mark.SATURATED,) if load.request_rate > 4 else ())

    async def drained() -> None:
        drains.append(1)

    told, drains = list[str](), list[int]()
    first = replace(OPEN, request_rate=16.0)
    found = asyncio.run(find_rate(measure, first, [SLO], drained=drained, phase=told.append))
    assert found.load.request_rate is not None
    assert 3.6 < found.load.request_rate <= 4
    assert Mark.SATURATED not in found.marks
    assert told[0] == "16.00 requests/s are too many: no byte came"
    assert found.rate is not None
    assert found.rate.tried[0].failure == "no byte came"
    assert "faster than they were served" in (found.rate.tried[1].failure or "")
    assert len(drains) == sum(not tried.met for tried in found.rate.tried)


def test_no_rate_that_meets_them_is_the_lowest_that_was_tried() -> None:
    search = FindRate(OPEN, [parse_slo("ttft_p50=50ms")])
    while (load := search.next()) is not None:
        search.tell(load, served(load))
    found = search.found()
    assert found is not None
    assert found.load.request_rate == pytest.approx(2.0 / 64)
    assert found.rate is not None
    assert found.rate.low is None


def test_a_rate_that_was_ended_early_has_no_numbers() -> None:
    """Where all were, the lowest one is measured to its end."""
    loads = list[tuple[Workload, Sequence[Overload]]]()

    async def measure(load: Workload, overloads: Sequence[Overload]) -> Measured:
        loads.append((load, overloads))
        if overloads:
            raise LaunchError(Failed(kind=FailureKind.LOAD_FAILED, message="9 requests at once waited"))
        return served(load)

    async def drained() -> None:
        return

    workload = replace(OPEN, window_s=200.0)
    found = asyncio.run(find_rate(measure, workload, [SLO], drained=drained, phase=lambda text: None))
    assert found.load.request_rate == pytest.approx(2.0 / 64)
    assert found.rate is None
    assert [bool(overloads) for _, overloads in loads] == [True] * (len(loads) - 1) + [False]


def test_what_is_no_matter_of_the_rate_ends_the_search() -> None:
    async def measure(load: Workload, overloads: Sequence[Overload]) -> Measured:
        raise LaunchError(Failed(kind=FailureKind.CRASHED, message="gone"))

    async def drained() -> None:
        raise AssertionError("there is nothing to wait for")

    with pytest.raises(LaunchError, match="gone"):
        asyncio.run(find_rate(measure, OPEN, [SLO], drained=drained, phase=lambda text: None))


def test_a_load_generator_that_is_full_has_a_rate_too_high_once_a_lower_one_has_met_the_slo() -> None:
    """What a server leaves waiting holds a file each."""

    async def measure(load: Workload, overloads: Sequence[Overload]) -> Measured:
        if (load.request_rate or 0.0) > 4:
            raise LaunchError(Failed(kind=FailureKind.CLIENT_BOUND, message="it may open no more files"))
        return served(load)

    async def drained() -> None:
        return

    told = list[str]()
    found = asyncio.run(find_rate(measure, OPEN, [SLO], drained=drained, phase=told.append))
    assert 3.6 < (found.load.request_rate or 0.0) <= 4
    assert any(text.endswith("are too many: it may open no more files") for text in told)
    first = replace(OPEN, request_rate=16.0)
    with pytest.raises(LaunchError, match="no more files"):  # nothing is known of the server
        asyncio.run(find_rate(measure, first, [SLO], drained=drained, phase=told.append))
