"""How often a study's answer is right: simulated studies, decided by tuner's own shortlist, contest and verdict.

A launch of settings gives their true throughput and p99 times noise. On the trade-off a setting x in [0, 1] serves (1 + x)
times what the slowest does, with a ttft_p99 of 0.6 to 1.2 times its limit; the defaults have x = 0, or x = 1 where they miss
the SLO.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import repeat
from typing import Any

import numpy as np
from cores import on_all_cores
from rich.console import Console
from rich.table import Table

from tuner.decide.objective import OBJECTIVES
from tuner.decide.shortlist import shortlist
from tuner.decide.slo import Slo, parse_slo, violations
from tuner.decide.verdict import Answer, Decision, contest_of, decision
from tuner.types import Command, Distribution, LoadMetrics, Measured, Trial

OBJECTIVE, SLOS = OBJECTIVES["throughput"], (parse_slo("ttft_p99=500ms"),)
SETTINGS, ROUNDS = 20, 5
_AT, _COMMAND = datetime(2026, 1, 1, tzinfo=UTC), Command(argv=("vllm", "serve", "m"))
Draw = Callable[[int], Measured]


@dataclass(frozen=True)
class Raced:
    """What a simulated study came to, and how often finalists and the defaults were launched again."""

    decision: Decision
    finalists: int
    defaults: int


def measured(throughput: float, ttft_p99_s: float, error: float | None) -> Measured:
    """One launch; `error` is what the measurement tells of the noise of its p99, if it does."""
    latency = Distribution(count=100, mean=ttft_p99_s, p50=ttft_p99_s, p90=ttft_p99_s, p95=ttft_p99_s, p99=ttft_p99_s)
    wide = np.exp(1.96 * error) if error else None
    load = LoadMetrics(
        window_s=12,
        completed=100,
        failed=0,
        request_throughput=1,
        output_throughput=throughput,
        output_throughput_ci95=0.02 * throughput,
        total_token_throughput=throughput,
        ttft_s=latency,
        tpot_s=None,
        itl_s=None,
        e2el_s=latency,
        ci95={"ttft_p99_s": (ttft_p99_s / wide, ttft_p99_s * wide)} if wide else None,
    )
    return Measured(load=load, server=None, gpu=None, server_cpu_cores=None, startup_s=None)


def searched(draw: Draw, slos: Sequence[Slo], settings: int) -> list[Trial]:
    """One launch of each setting; the first are the defaults."""
    trials = []
    for number in range(settings):
        outcome = draw(number)
        trials.append(
            Trial(
                number=number,
                params={},
                is_default=number == 0,
                resolved={},
                command=_COMMAND,
                outcome=outcome,
                violations=violations(outcome.load, slos),
                started_at=_AT,
                ended_at=_AT,
            )
        )
    return trials


def raced(trials: Sequence[Trial], draw: Draw, slos: Sequence[Slo], rounds: int = ROUNDS, looks: int = 0) -> Raced:
    """The verification of a search, to its end."""
    candidates = shortlist(trials, OBJECTIVE, slos)
    if not candidates:
        return Raced(decision(trials, None, OBJECTIVE, slos), 0, 0)
    contest = contest_of(trials, candidates, OBJECTIVE, slos, rounds=rounds, looks=looks)
    launched = [0, 0]
    while contest.due:
        number = contest.due[0].number
        launched[number == 0] += 1
        contest.take(number, draw(number))
    return Raced(decision(trials, contest, OBJECTIVE, slos), *launched)


def trade_off(noise: float, *, defaults_miss: bool, rng: np.random.Generator, told: bool = True) -> dict[str, float]:
    """One study on the trade-off: what is deployed, and what it cost."""
    x = np.r_[1.0 if defaults_miss else 0.0, rng.random(SETTINGS - 1)]

    def draw(number: int) -> Measured:
        throughput = 1000 * (1 + x[number]) * (1 + 0.01 * rng.standard_normal())
        ttft = 0.5 * (0.6 + 0.6 * x[number]) * max(0.05, 1 + noise * rng.standard_normal())
        return measured(throughput, ttft, noise if told else None)

    found = raced(searched(draw, SLOS, SETTINGS), draw, SLOS)
    chosen = found.decision.chosen
    return {
        "another": chosen is not None and chosen.number != 0,
        "any": chosen is not None,
        "misses": chosen is not None and 0.6 + 0.6 * x[chosen.number] > 1,
        "launches": found.finalists,
        "of the defaults": found.defaults,
        "gain": x[chosen.number] if chosen is not None else 0.0,
    }


def apart(
    gains: Sequence[float], noise: float, defaults_noise: float, rng: np.random.Generator, raised: bool = False
) -> tuple[bool, int]:
    """Whether one of settings without an SLO is called better, and launches; with `raised` the user raises --verify up
    to 8, until it is."""

    def draw(number: int) -> Measured:
        spread = defaults_noise if number == 0 else noise
        return measured(100 * (1 + gains[number]) * max(0.05, 1 + spread * rng.standard_normal()), 0.1, None)

    trials = searched(draw, (), len(gains))
    found = raced(trials, draw, (), rounds=8 if raised else ROUNDS)
    return found.decision.verdict.answer is Answer.BETTER, found.finalists + found.defaults


def continued(noise: float, rng: np.random.Generator) -> bool:
    """A = A: the study goes on three times with more trials, each time on a machine that is some percent faster or slower."""
    trials: list[Trial] = []
    looks, said = 0, False
    for session in range(3):
        pace = 1 + 0.04 * rng.standard_normal()

        def draw(number: int, pace: float = pace) -> Measured:
            return measured(100 * pace * max(0.05, 1 + noise * rng.standard_normal()), 0.1, None)

        fresh = searched(draw, (), 6 * (session + 1))[len(trials) :]
        trials = [*trials, *fresh]
        candidates = shortlist(trials, OBJECTIVE, ())
        if not candidates:
            continue
        contest = contest_of(trials, candidates, OBJECTIVE, (), rounds=ROUNDS, looks=looks)
        while contest.due:
            contest.take(contest.due[0].number, draw(contest.due[0].number))
        looks = contest.looks
        said |= decision(trials, contest, OBJECTIVE, ()).verdict.answer is Answer.BETTER
    return said


Row = tuple[str, str, str, bool]


def table(studies: int = 1500) -> list[Row]:
    """Rows of what, asked, found, and whether that is met."""
    rows = on_all_cores(_rows_of, range(len(_CASES)), repeat(studies))
    return [row for found in rows for row in found]


def _rows_of(case: int, studies: int) -> list[Row]:
    rows_of, *arguments = _CASES[case]
    return rows_of(*arguments, studies, np.random.default_rng(case))


def _slo_rows(
    misses: bool, noise: float, least: float, most: float, studies: int, rng: np.random.Generator
) -> list[Row]:
    runs = [trade_off(noise, defaults_miss=misses, rng=rng) for _ in range(studies)]
    mean = {name: float(np.mean([run[name] for run in runs])) for name in runs[0]}
    wrong = float(np.mean([run["misses"] for run in runs if run["any"]]))
    where = "the defaults miss the SLO" if misses else "trade-off"
    cost = f"{mean['launches']:.1f} launches of finalists, {mean['of the defaults']:.1f} of the defaults"
    what = f"{where}, p99 noise {noise:.0%}"
    deployed = f"{mean['another']:.1%}; {cost}; gain {mean['gain']:.0%}"
    met = mean["another"] >= least and mean["launches"] <= 8
    return [
        (f"{what}: a better setting is deployed", f">= {least:.0%}, <= 8 launches", deployed, met),
        (f"{what}: of what is deployed, misses it", f"<= {most:.0%}", f"{wrong:.1%}", wrong <= most),
    ]


def _equal_row(
    noise: float, other: float, settings: int, raised: bool, studies: int, rng: np.random.Generator
) -> list[Row]:
    called = float(np.mean([apart([0.0] * settings, noise, other, rng, raised)[0] for _ in range(studies)]))
    how = f"{settings} settings" + (", --verify raised to 8" if raised else "")
    what = f"A = A, {how}, noise {noise:.0%}, of the defaults {other:.0%}: said to be better"
    return [(what, "<= 5 %", f"{called:.1%}", called <= 0.05)]


def _continued_row(noise: float, studies: int, rng: np.random.Generator) -> list[Row]:
    called = float(np.mean([continued(noise, rng) for _ in range(studies)]))
    what = f"A = A, continued twice on a machine that drifts, noise {noise:.0%}: said to be better"
    return [(what, "<= 5 %", f"{called:.1%}", called <= 0.05)]


def _power_row(noise: float, gain: float, least: float, studies: int, rng: np.random.Generator) -> list[Row]:
    runs = [apart([0.0, gain], noise, noise, rng) for _ in range(studies)]
    found, cost = float(np.mean([better for better, _ in runs])), float(np.mean([n for _, n in runs]))
    met = found >= least and cost <= 6
    what = f"{gain:+.0%} at {noise:.0%} noise: found"
    return [(what, f">= {least:.0%}, <= 6 launches", f"{found:.1%}; {cost:.1f} launches", met)]


_NOISES = ((0.01, 0.01), (0.05, 0.05), (0.2, 0.2), (0.05, 0.01), (0.01, 0.05), (0.2, 0.05), (0.05, 0.2))
#: What makes rows, and its arguments; the place in this list is the seed.
_CASES: tuple[tuple[Any, ...], ...] = (
    *((_slo_rows, False, *case) for case in ((0.03, 0.98, 0.02), (0.1, 0.95, 0.06), (0.2, 0.85, 0.12))),
    *((_slo_rows, True, *case) for case in ((0.03, 0.98, 0.03), (0.1, 0.95, 0.08), (0.2, 0.85, 0.15))),
    *((_equal_row, *noises, *how) for noises in _NOISES for how in ((SETTINGS, False), (2, False), (SETTINGS, True))),
    *((_continued_row, noise) for noise in (0.01, 0.05, 0.2)),
    *((_power_row, *case) for case in ((0.01, 0.05, 0.99), (0.05, 0.2, 0.97))),
)


def main() -> None:
    """Print the table."""
    console, shown = Console(width=180), Table("what", "asked", "found", "", box=None)
    for what, asked, found, met in table():
        shown.add_row(what, asked, found, "met" if met else "MISSED")
    console.print(shown)


if __name__ == "__main__":
    main()
