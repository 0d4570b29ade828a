"""Student's t of our own against SciPy's."""

from itertools import product

import pytest
from scipy.special import stdtr, stdtrit  # type: ignore[import-untyped]

from tuner.decide.student import share_below, value_at

FREEDOMS = (0.3, 1, 1.0001, 1.7, 2, 2.5, 3, 4.99, 8, 30, 100, 1e3, 1e5)
VALUES = (0.0, 1e-6, 0.001, 0.3, 0.9, 1.0, 1.5, 2.0, 2.7, 4.0, 10.0, 50.0, 1000.0)
SHARES = (1e-9, 1e-6, 0.001, 0.005, 0.02, 0.05, 0.2, 0.4, 0.499, 0.5, 0.501, 0.6, 0.8, 0.975, 0.995, 0.9999, 1 - 1e-6)


@pytest.mark.parametrize(("freedom", "value"), [*product(FREEDOMS, (*VALUES, *(-value for value in VALUES)))])
def test_the_share_below_a_value_is_scipys(freedom: float, value: float) -> None:
    assert share_below(value, freedom) == pytest.approx(float(stdtr(freedom, value)), rel=1e-8, abs=1e-300)


@pytest.mark.parametrize(("freedom", "share"), [*product(FREEDOMS, SHARES)])
def test_the_value_at_a_share_is_scipys(freedom: float, share: float) -> None:
    assert value_at(share, freedom) == pytest.approx(float(stdtrit(freedom, share)), rel=1e-8, abs=1e-12)


def test_values_are_those_of_the_tables() -> None:
    """NIST/SEMATECH e-Handbook of Statistical Methods, tables 1.3.6.7.2 and, for many degrees of freedom, 1.3.6.7.1."""
    assert value_at(0.95, 1) == pytest.approx(6.314, abs=5e-4)
    assert value_at(0.95, 10) == pytest.approx(1.812, abs=5e-4)
    assert value_at(0.975, 9) == pytest.approx(2.262, abs=5e-4)
    assert value_at(0.975, 1e9) == pytest.approx(1.960, abs=5e-4)


def test_the_ends_of_the_line() -> None:
    assert share_below(float("inf"), 3) == 1
    assert share_below(float("-inf"), 3) == 0
    assert share_below(0.0, 3) == 0.5
    assert (value_at(0.0, 3), value_at(1.0, 3)) == (float("-inf"), float("inf"))
    assert share_below(value_at(1e-40, 3), 3) == pytest.approx(1e-40)
    assert share_below(-4.0, 1e9) == pytest.approx(float(stdtr(1e9, -4.0)), rel=1e-6)
