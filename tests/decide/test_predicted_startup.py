"""What the next start will cost, from those that were."""

from dataclasses import replace
from datetime import timedelta

import pytest
from samples import NOW, failed, measured, trial

from tuner.decide.startup import plain_launch_s, predicted_startup_s, predicted_trial_s, with_imports
from tuner.types import Params, Trial


def _trial(number: int, key: str | None, startup_s: float | None, took_s: float = 100.0) -> Trial:
    outcome = replace(measured(), startup_s=startup_s)
    return replace(trial(number, outcome), compile_key=key, ended_at=NOW + timedelta(seconds=took_s))


TWO: Params = {"data_parallel_size": 2, "data_parallel_size_local": 1}
TRIALS = [_trial(0, "a", 60), _trial(1, "a", 18), _trial(2, "b", 70), _trial(3, "a", 20), _trial(4, None, 9)]


def test_a_key_that_was_launched_costs_what_its_later_launches_did() -> None:
    assert predicted_startup_s(TRIALS, "a") == 19
    assert predicted_startup_s(TRIALS, "b") == 70  # it was launched once
    assert predicted_startup_s(TRIALS, None) == 9  # nothing is compiled


def test_a_new_key_costs_what_the_first_launches_of_others_did() -> None:
    assert predicted_startup_s(TRIALS, "c") == 65
    assert predicted_startup_s([TRIALS[4]], "c") == 9
    assert predicted_startup_s([trial(0, failed()), _trial(1, "a", None)], "a") is None


def test_without_a_launch_no_imports_are_known_either() -> None:
    assert with_imports(0.0, 15.0) == 0.0
    assert with_imports(10.0, 15.0) == 55.0


def test_a_trial_costs_its_start_and_the_longest_of_what_is_not() -> None:
    assert predicted_trial_s([], "a") == 0
    assert predicted_trial_s(TRIALS, "a") == 91 + 19
    assert predicted_trial_s(TRIALS, "c") == 91 + 65
    assert predicted_trial_s(TRIALS, None, is_known=False) == 100
    late = replace(trial(5, failed()), ended_at=NOW + timedelta(seconds=300))
    assert predicted_trial_s([*TRIALS, late], "a") == 300


@pytest.mark.parametrize(("again", "expected"), [([], 40.0 + 45.0), ([90.0], 90.0), ([90.0, 95.0, 70.0], 95.0)])
def test_a_plain_launch_takes_as_long_as_those_that_were_made_else_what_its_search_took_and_the_imports(
    again: list[float], expected: float
) -> None:
    one = _trial(0, "a", 20.0, 40.0)
    assert plain_launch_s(one, [one], again, 15.0) == pytest.approx(expected)


def test_engines_that_start_at_once_import_each() -> None:
    """On an H200 two of them were ready after 139 s, after 45 s where the imports were saved, and the verification that was
    planned with the imports of one did not end within --max-hours."""
    first, two = _trial(0, "a", 20.0, 40.0), _trial(1, "b", 45.0, 67.0)
    two = replace(two, command=replace(two.command, settings={**two.command.settings, **TWO}))
    assert two.command.engines_per_gpu == 2
    assert plain_launch_s(two, [first, two], [], 15.0) == pytest.approx(67.0 + 90.0)
    assert plain_launch_s(first, [first, two], [], 15.0) == pytest.approx(20.0 + 20.0 + 45.0)


def test_starts_of_one_engine_say_nothing_of_two_where_nothing_is_compiled() -> None:
    ones = [_trial(number, None, startup_s, 40.0) for number, startup_s in enumerate((12.0, 12.0, 14.0))]
    two = _trial(3, None, 45.0, 67.0)
    two = replace(two, command=replace(two.command, settings={**two.command.settings, **TWO}))
    assert plain_launch_s(two, [*ones, two], [], 15.0) == pytest.approx(67.0 + 90.0)
