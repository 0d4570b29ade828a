"""The ruler of a host and the rates of a server on it."""

from dataclasses import replace

import pytest

from tuner.predict.host import REFERENCE, rates_on
from tuner.predict.step import Rates


def test_the_rates_are_those_of_the_reference_host() -> None:
    assert rates_on(REFERENCE) == Rates()
    assert rates_on(None) == Rates()


def test_another_host_is_slower_by_as_much_as_its_ruler() -> None:
    slow = replace(REFERENCE, python_s=2 * REFERENCE.python_s, text_s=1.5 * REFERENCE.text_s)
    found = rates_on(slow)
    assert (found.host, found.launch, found.front) == pytest.approx((2.0, 2.0, 1.5))
    assert replace(found, host=1.0, launch=1.0, front=1.0) == Rates()


def test_what_was_learned_stays() -> None:
    known = Rates(kernels=0.9, host=1.2, launch=0.8, front=3.0, schedule_s=1e-3)
    fast = replace(REFERENCE, python_s=REFERENCE.python_s / 2, text_s=REFERENCE.text_s / 3)
    found = rates_on(fast, known)
    assert (found.host, found.launch, found.front) == pytest.approx((0.6, 0.4, 1.0))
    assert (found.kernels, found.schedule_s) == (0.9, 1e-3)
    assert rates_on(None, known) is known


def test_memory_threads_and_unsteadiness_scale_nothing() -> None:
    assert rates_on(replace(REFERENCE, memory_s=1.0, wake_s=1.0, spread=3.0)) == Rates()
