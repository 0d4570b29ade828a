"""What becomes of a study whose last launch is the best one without its ballast: by tuner's own ballast, shortlist and contest.

Eight settings, four numbers and four choices, each with its effect on the throughput's logarithm; those of ballast have none.
The search is random at first and then near its best, as a sampler's is. The same studies without the last step are beside it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from cores import on_all_cores
from rich.console import Console
from rich.table import Table
from verification import OBJECTIVE, SETTINGS, measured, raced, searched

from tuner.decide.ballast import ballast, changed
from tuner.decide.rank import best
from tuner.decide.verdict import Answer
from tuner.types import Measured, Trial, Value

NAMES = tuple("abcdefgh")
DEFAULTS: dict[str, Value] = {name: 0.5 if name < "e" else False for name in NAMES}
#: Effects of the eight settings, from one end to the other or from off to on.
SPACES = {
    "three of eight settings matter": (0.3, -0.2, 0.0, 0.0, 0.2, 0.0, 0.0, 0.0),
    "all matter, each a little": (0.03, -0.03, 0.03, -0.03, 0.02, 0.02, 0.02, -0.02),
    "none matters (A = A)": (0.0,) * 8,
}


@dataclass(frozen=True)
class Ended:
    """What a study deployed: its true gain, how many settings it changes, the launches of its verification, and its answer."""

    gain: float
    settings: int
    launches: int
    is_better: bool


def study(effects: Sequence[float], noise: float, seed: int, *, pare: bool) -> Ended:
    rng = np.random.default_rng(seed)
    points = [DEFAULTS]

    def truth(point: dict[str, Value]) -> float:
        places = (float(point[name]) - float(DEFAULTS[name]) for name in NAMES)
        return float(np.exp(sum(effect * place for effect, place in zip(effects, places, strict=True))))

    def draw(number: int) -> Measured:
        return measured(100 * truth(points[number]) * max(0.05, 1 + noise * rng.standard_normal()), 0.1, None)

    def drawn(near: dict[str, Value] | None) -> dict[str, Value]:
        fresh: dict[str, Value] = {n: float(rng.random()) if n < "e" else bool(rng.random() < 0.5) for n in NAMES}
        return {name: near[name] if near and rng.random() < 0.6 else fresh[name] for name in NAMES}

    trials: list[Trial] = []
    while len(trials) < SETTINGS:
        number = len(trials)
        winner = best(trials, OBJECTIVE)
        if number:
            light = ballast(trials, OBJECTIVE, ()) if pare and number == SETTINGS - 1 else ()
            near = dict(winner.params) if winner and number > SETTINGS // 2 else None
            points.append(
                {**dict(winner.params), **{n: DEFAULTS[n] for n in light}} if light and winner else drawn(near)
            )
        (made,) = searched(lambda _, number=number: draw(number), (), 1)
        trials.append(replace(made, number=number, params=points[number], is_default=number == 0))
    found = raced(trials, draw, ())
    chosen = found.decision.chosen
    params = dict(chosen.params) if chosen else DEFAULTS
    better = found.decision.verdict.answer is Answer.BETTER
    return Ended(truth(params) - 1, len(changed(params, DEFAULTS)), found.finalists + found.defaults, better)


Row = tuple[str, ...]


def _row(case: tuple[str, float, int]) -> Row:
    name, noise, studies = case
    cells = [f"{name}, noise {noise:.0%}"]
    for pare in (False, True):
        runs = [study(SPACES[name], noise, seed, pare=pare) for seed in range(studies)]
        better = float(np.mean([run.is_better for run in runs]))
        worse = float(np.mean([run.is_better and run.gain <= 0 for run in runs]))
        gain, launches = float(np.mean([run.gain for run in runs])), float(np.mean([run.launches for run in runs]))
        settings = float(np.mean([run.settings for run in runs if run.is_better] or [0.0]))
        cells.append(
            f"gain {gain:+.1%}, said better {better:.1%}, of which none {worse:.1%}, "
            f"{settings:.1f} settings, {launches:.1f} launches"
        )
    return tuple(cells)


def main(studies: int = 400) -> None:
    """Print the table."""
    console, shown = Console(width=200), Table("what", "as it is searched", "the last one without ballast", box=None)
    for row in on_all_cores(_row, [(name, noise, studies) for name in SPACES for noise in (0.01, 0.03, 0.08)]):
        shown.add_row(*row)
    console.print(shown)


if __name__ == "__main__":
    main()
