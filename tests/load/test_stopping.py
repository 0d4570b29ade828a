"""When a window ends, and what it then says, against servers whose truth is known (benchmarks/truth)."""

import importlib
import sys
from array import array
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tuner.decide.deciding import Deciding, deciding
from tuner.load.stopping import Stopping, relative_half_width
from tuner.workload.presets import PRESETS

CHAT = PRESETS["chat"]
RUNS = 60


@pytest.fixture(scope="module")
def truth() -> Any:
    """benchmarks/truth/window.py."""
    sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks" / "truth"))
    try:
        return importlib.import_module("window")
    finally:
        del sys.path[0]


def test_a_window_of_chat_is_short_and_holds_the_truth(truth: Any) -> None:
    """The first look that is precise enough ends it, so it must be honest though it is picked."""
    server = truth.CHAT
    windows = [truth.Window(seen, CHAT, deciding(CHAT)) for seen in truth.closed(server, RUNS, 48.0, seed=6)]
    assert np.median([window.length_s for window in windows]) <= 15
    assert np.mean([abs(w.rate / server.rate - 1) <= w.half for w in windows]) >= 0.93
    assert sum(window.known for window in windows) >= 0.95 * RUNS
    assert not any(window.known and window.unknown for window in windows)  # what ended it is not called imprecise


class _Told:
    """Ten ticks of 1 s: 100 events, of which a tenth carry no token, and prompts."""

    def __init__(self, prompts: float = 20.0) -> None:
        self._each = {"events": 100.0, "answered_events": 100.0, "answered_tokens": 90.0, "prompt_tokens": prompts}

    def rates(self, start_s: float, end_s: float, what: str = "events") -> list[float]:
        return [self._each[what]] * 10

    def answered(self, start_s: float) -> "array[float]":
        return array("d", [1.0, 1.5, 2.0, 11.0] * 30)


def _stopping(told: _Told, rule: Deciding, name: str = "chat") -> Stopping:
    return Stopping(rule, PRESETS[name], told, 1.0)  # type: ignore[arg-type]


def test_events_are_counted_as_the_tokens_that_they_carry() -> None:
    stopping = _stopping(_Told(), deciding(CHAT))
    assert stopping.is_known(0.0, 10.0)
    assert stopping.rates == pytest.approx([90.0] * 10)
    assert stopping.mix == pytest.approx([20 - 2 * 90] * 10)  # chat has 256 prompt tokens for 128 of output
    assert stopping.intervals is None
    without = _stopping(_Told(prompts=0.0), deciding(CHAT))
    assert without.is_known(0.0, 10.0)
    assert without.mix is None


@pytest.mark.parametrize("name", ["multi-turn", "open-chat"])
def test_a_mix_that_is_not_known_controls_nothing(name: str) -> None:
    stopping = _stopping(_Told(), deciding(PRESETS[name]), name)
    stopping.look(0.0, 10.0)
    assert stopping.mix is None
    assert bool(stopping.rates) is (name == "multi-turn")


def test_looks_are_few() -> None:
    """30 requests do not tell a 99th percentile; the next look is when the window has grown."""
    told = _Told()
    stopping = _stopping(told, Deciding(precision=0.02, throughput=False, metrics=("ttft_p99_s",)))
    assert not stopping.is_known(0.0, 10.0)
    told.answered = lambda start_s: pytest.fail("looked again at once")  # type: ignore[method-assign]
    assert not stopping.is_known(0.0, 10.25)


def test_what_an_slo_needs_is_asked_too() -> None:
    stopping = _stopping(_Told(), Deciding(precision=0.02, throughput=False, limits=(("ttft_p95_s", 0.5),)))
    stopping.look(0.0, 10.0)
    assert stopping.undecided == ("ttft_p95_s",)
    met = _stopping(_Told(), Deciding(precision=0.02, throughput=False, limits=(("ttft_p95_s", 5.0),)))
    assert met.is_known(0.0, 10.0)


def test_no_rate_has_no_width() -> None:
    assert relative_half_width([], None) is None
    assert relative_half_width([0.0] * 10, None) is None
    assert relative_half_width([5.0] * 10, None) == 0
