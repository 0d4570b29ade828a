"""In which order two sides are measured, what a failure costs, and when a difference is claimed. Sides are played here."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
from samples import failed, load_metrics, measured

from tuner.bench.comparison import Comparison, Side, Tell, interleaved
from tuner.decide.objective import OBJECTIVES
from tuner.errors import LaunchError, RunError
from tuner.types import FailureKind, Measured, present

THROUGHPUT, GOODPUT = OBJECTIVES["throughput"], OBJECTIVES["goodput"]


class Played:
    """Two sides whose measurements are given, and what was asked of them. A None is a failure."""

    def __init__(self, a: list[float | None], b: list[float | None]) -> None:
        self.asked: list[tuple[str, int]] = []
        self.told: list[str] = []
        self.a, self.b = self._side("a", iter(a)), self._side("b", iter(b))

    def _side(self, name: str, values: Iterator[float | None]) -> Side:
        async def once(salt: int, phase: Tell) -> Measured:
            self.asked.append((name, salt))
            phase("measuring")
            value = next(values)
            if value is None:
                raise LaunchError(failed(FailureKind.LOAD_FAILED))
            return measured(output_throughput=value)

        return Side(name, "a model", once)

    def run(self, repeats: int) -> list[Comparison]:
        return list(interleaved(self.a, self.b, repeats, 100, self.told.append))


def values(side: tuple[Measured, ...]) -> list[float]:
    return [present(measurement.load.output_throughput) for measurement in side]


def test_pairs_alternate_in_order_and_no_salt_is_used_twice() -> None:
    played = Played([1, 2, 3, 4], [5, 6, 7, 8])
    found = played.run(4)[-1]
    assert [name for name, _ in played.asked] == ["a", "b", "b", "a", "a", "b", "b", "a"]
    assert [salt for _, salt in played.asked] == list(range(100, 108))
    assert (values(found.a), values(found.b), found.pairs) == ([1, 2, 3, 4], [5, 6, 7, 8], 4)
    assert played.told[:2] == ["pair 1 of 4, A: measuring", "pair 1 of 4, B: measuring"]


def test_each_measurement_is_known_at_once() -> None:
    seen = [(values(known.a), values(known.b), known.pairs) for known in Played([1, 2], [5, 6]).run(2)]
    assert seen == [([1], [], 0), ([1], [5], 1), ([1], [5, 6], 1), ([1, 2], [5, 6], 2)]


def test_a_side_can_be_compared_with_itself() -> None:
    played = Played([1, 2, 3, 4], [])
    (*_, found) = interleaved(played.a, played.a, 2, 0, played.told.append)
    assert (values(found.a), values(found.b)) == ([1, 4], [2, 3])


def test_a_failed_measurement_is_tried_once_more_with_another_salt() -> None:
    played = Played([None, 1], [2])
    found = played.run(1)[-1]
    assert (values(found.a), values(found.b)) == ([1], [2])
    assert played.asked == [("a", 100), ("a", 101), ("b", 102)]
    assert "pair 1 of 1, A: once more, as it failed: load failed: CUDA out of memory" in played.told


def test_the_second_failure_ends_it_and_what_was_measured_is_known() -> None:
    played = Played([1, 2], [5, None, None])
    known: list[Comparison] = []
    with pytest.raises(RunError, match=r"pair 2 of 3, B \(b\) failed twice, the last time for: load failed: CUDA out"):
        known.extend(interleaved(played.a, played.b, 3, 0, played.told.append))
    assert (values(known[-1].a), values(known[-1].b)) == ([1], [5])


def test_the_test_takes_whole_pairs_only() -> None:
    sides = [tuple(measured(output_throughput=value) for value in side) for side in ((100, 100, 900), (110, 110))]
    paired = Comparison(*sides).paired(THROUGHPUT)
    assert paired is not None
    assert paired.pairs == 2
    assert paired.effect == pytest.approx(0.1)


def test_nothing_is_tested_without_a_pair_or_without_a_ratio() -> None:
    one = measured()
    none = replace(one, load=replace(load_metrics(), goodput=0.0))
    some = replace(one, load=replace(load_metrics(), goodput=3.0))
    assert Comparison().paired(THROUGHPUT) is None
    assert Comparison((one,), ()).paired(THROUGHPUT) is None
    unknown = replace(one, load=replace(load_metrics(), goodput=None))
    assert Comparison((unknown,), (unknown,)).paired(GOODPUT) is None
    assert Comparison((none,), (some,)).paired(GOODPUT) is None
    assert Comparison((some,), (some,)).paired(GOODPUT) is not None
