"""What of many measurements a surrogate is fitted to."""

import numpy as np

from tuner.propose.subset import subset


def test_few_points_are_all_kept() -> None:
    assert subset(np.zeros((5, 2)), np.arange(5.0), np.ones(5, bool), 5) == [0, 1, 2, 3, 4]


def test_of_many_the_first_the_best_the_last_and_the_far_ones_are_kept() -> None:
    rng = np.random.default_rng(0)
    x, score = rng.normal(0, 0.1, (500, 3)), rng.normal(0, 1, 500)
    exact = np.ones(500, bool)
    score[[7, 11]], exact[11] = 9.0, False
    x[20] = 5.0
    kept = subset(x, score, exact, 40)
    assert len(kept) == len(set(kept)) == 40
    assert kept == sorted(kept)
    assert {0, 7, 20, *range(490, 500)} <= set(kept)
    assert 11 not in kept


def test_points_that_are_all_alike_are_kept_each_once() -> None:
    kept = subset(np.zeros((50, 2)), np.zeros(50), np.ones(50, bool), 12)
    assert len(set(kept)) == 12
