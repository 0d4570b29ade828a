from tuner.study.budget import Budget


def test_what_would_not_end_in_time_does_not_fit() -> None:
    now_s = 100.0
    budget = Budget(1.0, clock=lambda: now_s)
    assert budget.has(3600)
    assert not budget.has(3601)
    now_s += 1800
    assert budget.has(1800)
    assert not budget.has(1801)


def test_without_a_limit_everything_fits() -> None:
    assert Budget(None).has(1e12)


def test_no_more_than_half_of_the_hours_is_kept_for_later() -> None:
    assert Budget(1.0).at_most_half(600) == 600
    assert Budget(1.0).at_most_half(7200) == 1800
    assert Budget(None).at_most_half(7200) == 7200
