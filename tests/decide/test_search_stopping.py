"""When a search ends: never too early, never without a reason that has numbers."""

from math import inf

import pytest
from samples import measured, trial

from tuner.decide.objective import OBJECTIVES
from tuner.decide.stopping import FAILED_IN_A_ROW, Step, price, step, why_stop

THROUGHPUT = OBJECTIVES["throughput"]
BEST = trial(3, measured(output_throughput=150))
DULL = Step(promise=0.002, gain=0.0)


def why(*steps: Step, launches: int = 8, trials: int = 20, best: object = BEST) -> str | None:
    return why_stop(steps, best, launches=launches, trials=trials, launch_s=74.0)  # type: ignore[arg-type]


def test_it_ends_when_the_last_launches_promised_and_brought_less_than_one_is_worth() -> None:
    found = why(DULL, DULL)
    assert found is not None
    assert "0.2 %" in found
    assert "0.5 %" in found
    assert "74 s" in found
    assert "--stop never" in found


@pytest.mark.parametrize(
    "steps",
    [
        (DULL,),
        (DULL, Step(promise=0.02, gain=0.0)),
        (Step(promise=0.02, gain=0.0), DULL),
        (DULL, Step(promise=0.002, gain=0.3)),  # it was wrong: there is more to be found
        (DULL, Step(promise=None, gain=0.0)),
        (Step(promise=None, gain=0.0), Step(promise=None, gain=0.0)),  # a design, or a sampler that says nothing
    ],
)
def test_it_goes_on_otherwise(steps: tuple[Step, ...]) -> None:
    assert why(*steps) is None


def test_it_goes_on_with_few_launches_and_without_anything_that_meets_the_slos() -> None:
    assert why(DULL, DULL, launches=4) is None
    assert why(DULL, DULL, best=None) is None


def test_who_allows_more_launches_pays_less_for_each() -> None:
    assert price(20) == pytest.approx(0.005)
    assert price(40) == pytest.approx(0.0025)
    assert price(2) == 0.01
    assert price(100_000) == 0.001
    assert why(DULL, DULL, trials=100) is None


def test_what_a_launch_brought_is_the_gain_of_the_best() -> None:
    before = trial(1, measured(output_throughput=100))
    assert step(0.1, before, BEST, THROUGHPUT).gain == pytest.approx(0.5)
    assert step(0.1, BEST, BEST, THROUGHPUT).gain == 0
    assert step(0.1, None, None, THROUGHPUT).gain == 0
    assert step(None, None, BEST, THROUGHPUT).gain == inf


def test_it_ends_when_launch_after_launch_failed() -> None:
    failed = Step(promise=None, gain=0.0, failed=True)
    enough = (failed,) * FAILED_IN_A_ROW
    found = why(DULL, *enough, launches=12)
    assert found is not None
    assert f"each of the last {FAILED_IN_A_ROW} launches failed" in found
    assert "--stop never" in found
    assert why(*enough[1:], launches=12) is None
    assert why(*enough, Step(promise=0.1, gain=0.0), launches=12) is None
    assert why(*enough, best=None) is None  # what starts at all is still looked for
