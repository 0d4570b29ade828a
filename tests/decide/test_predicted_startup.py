"""What the next start will cost, from those that were."""

from dataclasses import replace
from datetime import timedelta

from samples import NOW, failed, measured, trial

from tuner.decide.startup import predicted_startup_s, predicted_trial_s
from tuner.types import Trial


def _trial(number: int, key: str | None, startup_s: float | None, took_s: float = 100.0) -> Trial:
    outcome = replace(measured(), startup_s=startup_s)
    return replace(trial(number, outcome), compile_key=key, ended_at=NOW + timedelta(seconds=took_s))


TRIALS = [_trial(0, "a", 60), _trial(1, "a", 18), _trial(2, "b", 70), _trial(3, "a", 20), _trial(4, None, 9)]


def test_a_key_that_was_launched_costs_what_its_later_launches_did() -> None:
    assert predicted_startup_s(TRIALS, "a") == 19
    assert predicted_startup_s(TRIALS, "b") == 70  # it was launched once
    assert predicted_startup_s(TRIALS, None) == 9  # nothing is compiled


def test_a_new_key_costs_what_the_first_launches_of_others_did() -> None:
    assert predicted_startup_s(TRIALS, "c") == 65
    assert predicted_startup_s([TRIALS[4]], "c") == 9
    assert predicted_startup_s([trial(0, failed()), _trial(1, "a", None)], "a") is None


def test_a_trial_costs_its_start_and_the_longest_of_what_is_not() -> None:
    assert predicted_trial_s([], "a") == 0
    assert predicted_trial_s(TRIALS, "a") == 91 + 19
    assert predicted_trial_s(TRIALS, "c") == 91 + 65
    assert predicted_trial_s(TRIALS, None, is_known=False) == 100
    late = replace(trial(5, failed()), ended_at=NOW + timedelta(seconds=300))
    assert predicted_trial_s([*TRIALS, late], "a") == 300
