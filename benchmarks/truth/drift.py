"""How often `tuner watch` finds a drift where there is none, and how late where there is one.

Traffic of one server, in windows of ten minutes, through the product's own functions (tuner/decide/drift.py): requests come in
bursts (a rate that switches between calm and three times as much, for minutes each), swing by the hour of the day, and their
lengths depend on each other (what is asked in the same minutes is alike). So neither windows nor requests are independent.
"""

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from cores import on_all_cores
from numpy.typing import NDArray

from tuner.decide.drift import HORIZON, Counts, Detector, Drift, Expected, Lengths, Window

Floats = NDArray[np.float64]
_TICK_S, _TICKS = 10.0, 60
#: Windows of a day, and the mean length of calm and of a burst, in ticks.
_DAY, _CALM, _BURST = 144, 90, 18
_BOUNDS = (*(float(digit * 10**power) for power in range(4) for digit in (1, 2, 5)), float("inf"))
_INPUT, _OUTPUT = (256.0, 0.8), (128.0, 0.6)
_DRAWN = 4_000
_RUNS, _SHIFTED = 400, 100
#: Windows before the change, whose bets must not be in its way.
_BEFORE, _AFTER = 200, 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """Of one server. A burst has `burst` times the calm rate; `swing` is that of the day, `alike` the standard deviation of
    the logarithm of what the lengths of the same minutes share."""

    rate: float = 0.5
    burst: float = 3.0
    swing: float = 0.15
    alike: float = 0.3
    inputs: tuple[float, float] = _INPUT
    outputs: tuple[float, float] = _OUTPUT


def windows(traffic: Traffic, count: int, random: np.random.Generator, first: int = 0) -> Iterator[Window]:
    """So many of them, `first` windows after midnight."""
    ticks = count * _TICKS
    is_burst = _switching(random, ticks, _CALM, _BURST)
    level = np.where(is_burst, traffic.burst, 1.0) / (1 + (traffic.burst - 1) * _BURST / (_CALM + _BURST))
    day = 1 + traffic.swing * np.sin(2 * np.pi * (first * _TICKS + np.arange(ticks)) / (_DAY * _TICKS))
    counts = random.poisson(traffic.rate * _TICK_S * level * day)
    shared = [_remembering(random, ticks, traffic.alike) for _ in range(2)]
    for at in range(0, ticks, _TICKS):
        here = counts[at : at + _TICKS]
        both = [
            _lengths(random, kind, np.repeat(common[at : at + _TICKS], here))
            for kind, common in zip((traffic.inputs, traffic.outputs), shared, strict=True)
        ]
        total, seconds = int(here.sum()), _TICKS * _TICK_S
        inputs, outputs = map(_counts, both)
        yield Window(duration_s=seconds, requests=total, rate=total / seconds, inputs=inputs, outputs=outputs)


def _switching(random: np.random.Generator, ticks: int, calm: int, burst: int) -> NDArray[np.bool_]:
    """Calm and bursts of exponential length, in ticks."""
    states: list[bool] = []
    is_burst = bool(random.random() < burst / (calm + burst))
    while len(states) < ticks:
        states += [is_burst] * max(1, round(random.exponential(burst if is_burst else calm)))
        is_burst = not is_burst
    return np.array(states[:ticks])


def _remembering(random: np.random.Generator, ticks: int, sigma: float, minutes: float = 5.0) -> Floats:
    """A stationary process that forgets in so many minutes."""
    keep = float(np.exp(-_TICK_S / 60 / minutes))
    noise = random.normal(0.0, sigma * np.sqrt(1 - keep**2), ticks)
    found, now = np.empty(ticks), random.normal(0.0, sigma)
    for at in range(ticks):
        now = keep * now + noise[at]
        found[at] = now
    return found


def _lengths(random: np.random.Generator, kind: tuple[float, float], shared: Floats) -> Floats:
    median, sigma = kind
    drawn = median * np.exp(shared + random.normal(0.0, sigma, shared.size))
    return np.clip(np.rint(drawn), 1, 8_000)


def _counts(lengths: Floats) -> Counts | None:
    if not lengths.size:
        return None
    below = np.searchsorted(np.sort(lengths), _BOUNDS, side="right")
    return Counts(sum=float(lengths.sum()), bounds=_BOUNDS, counts=tuple(np.diff([0, *below]).astype(float)))


def tuned(traffic: Traffic) -> Expected:
    """The workload that this traffic was imitated by: its long-run rate, and lengths of many windows."""
    random = np.random.default_rng(7)
    drawn = [
        _lengths(random, kind, random.normal(0.0, traffic.alike, _DRAWN)) for kind in (traffic.inputs, traffic.outputs)
    ]
    inputs, outputs = (Lengths(tokens=tuple(sorted(map(int, one)))) for one in drawn)
    return Expected(rate=traffic.rate, inputs=inputs, outputs=outputs)


def first_alarm(expected: Expected, seen: Iterator[Window]) -> tuple[int, Drift] | None:
    """After how many windows, counted from 1, and what."""
    detector = Detector(expected)
    for number, window in enumerate(seen, 1):
        if drifts := detector.take(window):
            return number, drifts[0]
    return None


def _stationary(task: tuple[Traffic, int]) -> bool:
    traffic, seed = task
    seen = windows(traffic, HORIZON, np.random.default_rng(seed))
    return first_alarm(tuned(traffic), seen) is not None


def _changed(task: tuple[Traffic, Traffic, int]) -> float:
    """Windows from the change to the alarm; infinite without one, negative for an alarm before."""
    before, after, seed = task
    random = np.random.default_rng(seed)

    def both() -> Iterator[Window]:
        yield from windows(before, _BEFORE, random)
        yield from windows(after, _AFTER, random, first=_BEFORE)

    found = first_alarm(tuned(before), both())
    return float("inf") if found is None else found[0] - _BEFORE


USUAL = Traffic()
STEADY = {
    "bursts, lengths alike, a swing of 15 % through the day": USUAL,
    "the same, a fifth of the requests": replace(USUAL, rate=0.1),
    "bursts of six times the calm rate": replace(USUAL, burst=6.0),
    "lengths of the same minutes far more alike (0.6)": replace(USUAL, alike=0.6),
    "no bursts, no swing": replace(USUAL, burst=1.0, swing=0.0, alike=0.0),
    "a swing of 50 % through the day (no stationary traffic)": replace(USUAL, swing=0.5),
}
CHANGES = {
    "1.1 times the requests (does not matter)": replace(USUAL, rate=0.55),
    "1.1 times the output tokens (does not matter)": replace(USUAL, outputs=(_OUTPUT[0] * 1.1, _OUTPUT[1])),
    "1.5 times the requests": replace(USUAL, rate=0.75),
    "2 times the requests": replace(USUAL, rate=1.0),
    "1.5 times the output tokens": replace(USUAL, outputs=(_OUTPUT[0] * 1.5, _OUTPUT[1])),
    "2 times the output tokens": replace(USUAL, outputs=(_OUTPUT[0] * 2, _OUTPUT[1])),
    "1.5 times the input tokens": replace(USUAL, inputs=(_INPUT[0] * 1.5, _INPUT[1])),
    "2 times the input tokens": replace(USUAL, inputs=(_INPUT[0] * 2, _INPUT[1])),
    "half of the requests": replace(USUAL, rate=0.25),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=_RUNS)
    runs = parser.parse_args().runs
    write = sys.stdout.write
    write(f"false alarms in {HORIZON} windows that have not changed, {runs} runs\n")
    for name, traffic in STEADY.items():
        alarms = on_all_cores(_stationary, [(traffic, seed) for seed in range(runs)])
        write(f"{sum(alarms) / runs:7.1%}  {name}\n")
        sys.stdout.flush()
    few = min(runs, _SHIFTED)
    write(
        f"windows from the change to the alarm after {_BEFORE} without one, {few} runs: median, 90 %; not in {_AFTER}\n"
    )
    for name, traffic in CHANGES.items():
        late = np.array(on_all_cores(_changed, [(USUAL, traffic, seed) for seed in range(few)]))
        median, most = np.percentile(late, [50, 90], method="higher")
        write(f"{median:6.0f} {most:6.0f} {np.isinf(late).mean():7.1%}  {name}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
