"""The sampler in a study of anyone's own, as Optuna's documentation has them."""

from math import log2

import optuna
import pytest

from tuner.propose.prior import BOUND, CAUSE, ERROR
from tuner.propose.sampler import ModelSampler


def objective(trial: optuna.Trial) -> float:
    x = trial.suggest_float("x", -5, 5)
    n = trial.suggest_int("n", 1, 512, log=True)
    kind = trial.suggest_categorical("kind", ["a", "b"])
    return (x - 1) ** 2 + abs(n.bit_length() - 6) + (1.0 if kind == "a" else 0.0) + 1


def test_it_minimizes_in_fewer_trials_than_at_random() -> None:
    def best(sampler: optuna.samplers.BaseSampler) -> float:
        study = optuna.create_study(sampler=sampler)
        study.optimize(objective, n_trials=25)
        return study.best_value

    ours = sum(best(ModelSampler(seed=seed)) for seed in range(4))
    random = sum(best(optuna.samplers.RandomSampler(seed=seed)) for seed in range(4))
    assert ours < random


@pytest.mark.parametrize("log", [False, True])
def test_a_number_without_a_grid_is_refined_where_it_is_good(log: bool) -> None:
    low, high, peak = (1.0, 4096.0, 3 * 10**2) if log else (-5.0, 5.0, 1.7)

    def apart(trial: optuna.Trial) -> float:
        x = trial.suggest_float("x", low, high, log=log)
        return (log2(x / peak) if log else x - peak) ** 2

    for seed in range(3):
        study = optuna.create_study(sampler=ModelSampler(seed=seed))
        study.optimize(apart, n_trials=30)
        assert study.best_value < 1e-3  # a level is 0.02 to 0.1 away


def test_it_is_repeatable_and_never_repeats_itself() -> None:
    def points() -> list[dict[str, object]]:
        study = optuna.create_study(sampler=ModelSampler(seed=7))
        study.optimize(objective, n_trials=12)
        return [dict(trial.params) for trial in study.trials]

    assert points() == points()
    assert len({tuple(sorted(p.items())) for p in points()}) == 12


def test_what_is_no_parameter_of_tuner_is_drawn_at_random() -> None:
    def odd(trial: optuna.Trial) -> float:
        x = trial.suggest_float("x", -5, 5)
        wide = trial.suggest_int("wide", 0, 2**60)
        kind = trial.suggest_categorical("kind", [None, "a"])
        mixed = trial.suggest_categorical("mixed", [1, "1", True])
        many = trial.suggest_categorical("many", [float("inf"), 1.0])
        return (x - 1) ** 2 + (kind is None) + (mixed == "1") + (many > 1) + wide / 2**60

    study = optuna.create_study(sampler=ModelSampler(seed=3))
    study.optimize(odd, n_trials=12)
    assert {trial.params["kind"] for trial in study.trials} == {None, "a"}
    assert len({trial.params["wide"] for trial in study.trials}) == 12


def test_a_study_of_nothing_that_can_be_learned_is_drawn_at_random() -> None:
    study = optuna.create_study(sampler=ModelSampler(seed=3))
    study.optimize(lambda trial: float(trial.suggest_categorical("x", [None, "a"]) is None), n_trials=6)
    assert study.best_value == 0


def test_failures_and_limits_and_bounds_are_learned_from() -> None:
    study = optuna.create_study(direction="maximize", sampler=ModelSampler(seed=1))
    for _ in range(20):
        trial = study.ask()
        n, kind = trial.suggest_int("n", 1, 16), trial.suggest_categorical("kind", ["a", "b", "bad"])
        if kind == "bad":
            trial.set_constraint("launch", 2.0)
            trial.set_user_attr(CAUSE, "out of memory")
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
            continue
        trial.set_constraint("launch", -1.0)
        trial.set_constraint("ttft_p99", 1 - 10 / n)  # a limit of 10
        trial.set_user_attr(ERROR, 0.03)
        trial.set_user_attr(BOUND, 1.0 if n < 3 else None)
        study.tell(trial, float(n))
    bad = [trial for trial in study.trials if trial.params.get("kind") == "bad"]
    assert len(bad) <= 3
    assert study.best_value == 10


def test_several_objectives_spread_over_the_front() -> None:
    study = optuna.create_study(directions=["maximize", "minimize"], sampler=ModelSampler(seed=0))

    def both(trial: optuna.Trial) -> tuple[float, float]:
        n = trial.suggest_int("n", 1, 64)
        trial.suggest_categorical("other", [True, False])
        return n**0.7, float(n)

    study.optimize(both, n_trials=20)
    values = [trial.params["n"] for trial in study.best_trials]
    assert min(values) <= 8
    assert max(values) >= 48
