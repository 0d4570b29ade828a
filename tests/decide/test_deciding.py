from dataclasses import replace

import numpy as np
import pytest

from tuner.decide.deciding import Deciding, check_decides, deciding, latencies_s
from tuner.decide.objective import parse_objective
from tuner.decide.slo import parse_slo
from tuner.errors import UsageError
from tuner.types import DataFile, Lengths
from tuner.workload.presets import PRESETS

CHAT, OPEN = PRESETS["chat"], PRESETS["open-chat"]
SLO = parse_slo("ttft_p99=500ms")


@pytest.mark.parametrize(
    ("workload", "objective", "throughput", "metrics"),
    [
        (CHAT, None, True, ()),
        (CHAT, "throughput", True, ()),
        (CHAT, "requests", True, ()),
        (CHAT, "ttft_p99", False, ("ttft_p99_s",)),
        (CHAT, "goodput", False, ("goodput",)),
        (OPEN, None, False, ("ttft_mean_s", "e2el_mean_s")),
        (OPEN, "e2e_p95", False, ("e2el_p95_s",)),
        (replace(OPEN, find_rate=True), "throughput", False, ()),
        (replace(CHAT, output_tokens=Lengths(low=1, high=1)), "tpot_p99", False, ()),
    ],
)
def test_what_decides(workload: object, objective: str | None, throughput: bool, metrics: tuple[str, ...]) -> None:
    found = deciding(workload, [parse_objective(objective)] if objective else [], [SLO])  # type: ignore[arg-type]
    assert (found.throughput, found.metrics) == (throughput, metrics)
    assert found.limits == (() if objective == "goodput" else (("ttft_p99_s", 0.5),))
    assert found.good == (("ttft", 0.5),)


def test_limits_on_chunks_decide_no_window() -> None:
    assert deciding(CHAT, (), [parse_slo("itl_p99=50ms")]).limits == ()


def test_what_is_not_known_is_named_once() -> None:
    rule = Deciding(precision=0.02, metrics=("e2el_p99_s",), limits=(("e2el_p99_s", 1.0),))
    assert rule.named == ("e2el_p99_s",)
    assert rule.unknown(0.021, {}, ("e2el_p99_s",)) == ("output_throughput", "e2el_p99_s")
    assert rule.unknown(None, {"e2el_p99_s": (0.91, 1.1)}) == ("output_throughput",)
    assert rule.unknown(0.02, {"e2el_p99_s": (0.85, 1.1)}) == ("e2el_p99_s",)
    assert rule.unknown(0.02, {"e2el_p99_s": (0.91, 1.1)}) == ()
    assert replace(rule, precision=0.2).unknown(0.02, {"e2el_p99_s": (0.85, 1.1)}) == ()


def test_no_good_request_is_no_reason_to_wait_for_one() -> None:
    rule = Deciding(precision=0.02, throughput=False, metrics=("goodput",))
    assert rule.unknown(None, {"goodput": (0.0, 0.04)}) == ()
    assert rule.unknown(None, {"goodput": (0.1, 0.4)}) == ("goodput",)


def _requests(count: int, seed: int = 0) -> dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float64]]]:
    """TTFT exponential with a mean of 0.1 s, then 10 more tokens in 1 s; every second request has one token."""
    due = np.arange(count) * 0.1
    first = due + _random(seed).exponential(0.1, count)
    tokens = np.where(np.arange(count) % 2, 11, 1)
    return latencies_s(np.stack([due, first, first + (tokens > 1), tokens], axis=1))


def _random(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_each_metric_has_the_interval_of_its_own_values() -> None:
    names = ("ttft_mean_s", "ttft_p95_s", "tpot_p50_s", "goodput")
    rule = Deciding(precision=0.02, metrics=names, good=(("ttft", 0.1), ("tpot", 1.0)))
    found = rule.intervals(_requests(2000))
    assert set(found) == set(names)
    for name, true in (("ttft_mean_s", 0.1), ("ttft_p95_s", 0.2996), ("tpot_p50_s", 0.1), ("goodput", 1 - np.exp(-1))):
        assert found[name][0] - 1e-9 <= true <= found[name][1] + 1e-9
    assert rule.intervals(_requests(8)) == {}
    assert rule.intervals(latencies_s(np.empty((0, 4)))) == {}


def test_a_limit_is_decided_where_it_is_far_from_what_was_seen() -> None:
    def undecided(limit_s: float, count: int = 300, metric: str = "ttft_p99_s") -> bool:
        return bool(Deciding(precision=0.02, limits=((metric, limit_s),)).undecided(_requests(count)))

    assert [undecided(limit_s) for limit_s in (0.2, 0.46, 2.0)] == [False, True, False]
    assert [undecided(limit_s, metric="ttft_mean_s") for limit_s in (0.05, 0.1, 0.2)] == [False, True, False]
    assert undecided(2.0, count=5)


def test_what_the_arrivals_decide_is_no_objective() -> None:
    trace = replace(OPEN, request_rate=None, trace=DataFile(path=__file__, digest=""))  # type: ignore[arg-type]
    for workload in (OPEN, trace):
        for name in ("throughput", "requests"):
            with pytest.raises(UsageError, match=f"--objective {name}: .* only repeats: take --objective ttft_p99"):
                check_decides(workload, parse_objective(name))
        check_decides(workload, parse_objective("goodput"))
    check_decides(CHAT, parse_objective("throughput"))
    check_decides(replace(OPEN, find_rate=True), parse_objective("throughput"))
