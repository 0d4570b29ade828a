"""How well the model of a server knew a study."""

from dataclasses import replace

import pytest
from samples import failed, measured
from samples import trial as a_trial

from tuner.decide.objective import OBJECTIVES
from tuner.predict.agreement import agreement
from tuner.types import Estimate, Outcome, Predicted, Trial

THROUGHPUT = OBJECTIVES["throughput"]


def told(number: int, value: float, outcome: Outcome) -> Trial:
    metrics = {"output_throughput": Estimate(value=value, low=value / 1.2, high=value * 1.2)}
    return replace(a_trial(number, outcome), predicted=Predicted(known="measured card", metrics=metrics))


def seen(*pairs: tuple[float, float]) -> list[Trial]:
    return [told(number, value, measured(output_throughput=found)) for number, (value, found) in enumerate(pairs)]


def test_the_median_the_order_and_the_intervals() -> None:
    found = agreement(seen((110, 100), (190, 200), (300, 290), (500, 400), (450, 500)), THROUGHPUT)
    assert found is not None
    assert (found.trials, found.inside) == (5, 4)
    assert found.error == pytest.approx(0.1)
    assert found.rank == pytest.approx(0.9)


def test_the_wrong_way_round_is_below_zero_and_equal_ones_share_a_place() -> None:
    found = agreement(seen((4, 1), (3, 2), (2, 3), (1, 4)), THROUGHPUT)
    assert found is not None
    assert found.rank == pytest.approx(-1.0)
    tied = agreement(seen((1, 1), (1, 2), (3, 3), (4, 4)), THROUGHPUT)
    assert tied is not None
    assert tied.rank == pytest.approx(0.9486832980505138)


@pytest.mark.parametrize(
    "pairs", [((1, 1), (2, 2), (3, 3)), ((5, 1), (5, 2), (5, 3), (5, 4))], ids=["few", "all alike"]
)
def test_of_few_launches_or_equal_predictions_there_is_no_order(pairs: tuple[tuple[float, float], ...]) -> None:
    found = agreement(seen(*pairs), THROUGHPUT)
    assert found is not None
    assert found.rank is None


def test_what_was_not_predicted_or_not_measured_does_not_count() -> None:
    assert agreement([a_trial(0, measured()), told(1, 100, failed())], THROUGHPUT) is None
    assert agreement(seen((100, 100)), OBJECTIVES["ttft_p99"]) is None
    assert agreement([], THROUGHPUT) is None
