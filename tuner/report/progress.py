"""The trials of a search in; how its best came to be, launch after launch, out: a drawing and a table. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from tuner.decide.objective import Objective
from tuner.decide.rank import feasible, score, stopped_early, usual_start
from tuner.decide.words.numbers import number
from tuner.decide.words.rows import ROWS
from tuner.decide.words.settings import settings, status
from tuner.report.content import Report
from tuner.report.document import Block, Details, Figure, Gallery, Paragraph, Section, Table
from tuner.report.plot import Mark, Named, figure, frame, legend, line, mark, plain
from tuner.types import Failed, Params, Trial, Twin


class Step(StrEnum):
    """What became of a trial."""

    MEASURED = "measured"
    MISSES = "misses an SLO"
    EARLY = "stopped early"
    OTHER = "started in another way"
    FAILED = "failed"
    EQUALS = "equals another"


@dataclass(frozen=True, slots=True, kw_only=True)
class Launched:
    """A trial with its place in the search, its value where it has one, and the best that was known after it."""

    place: int
    trial: Trial
    step: Step
    value: float | None
    best: float | None


_SHAPES = {
    Step.MEASURED: (Mark.DOT, "measured"),
    Step.MISSES: (Mark.DIAMOND, "misses"),
    Step.EARLY: (Mark.TRIANGLE, "early"),
    Step.OTHER: (Mark.DOT, "other"),
    Step.FAILED: (Mark.CROSS, "failed"),
}


def progress(trials: Sequence[Trial], objective: Objective) -> list[Launched]:
    """In the order in which they were begun. Only what was measured wholly and meets every SLO can be the best."""
    usual, best = usual_start(trials), None
    found = []
    for place, trial in enumerate(sorted(trials, key=lambda one: (one.started_at, one.number)), start=1):
        step, value = _step(trial, usual), score(trial, objective)
        if step is Step.MEASURED and value is not None:
            best = value if best is None else (max if objective.maximize else min)(best, value)
        found.append(Launched(place=place, trial=trial, step=step, value=value, best=best))
    return found


def progress_section(report: Report) -> Section:
    """Of the first objective; the others have their own values in the table."""
    steps, objective = progress(report.trials, report.objectives[0]), report.objectives[0]
    known = [step for step in steps if step.value is not None]
    blocks: list[Block] = [Paragraph(_summary(report, steps))]
    if known:
        blocks.append(Gallery([_figure(report, steps, objective)], is_told=True))
    if steps:
        blocks.append(Details("Every trial as a table", [_table(report, steps)]))
    return Section("progress", "The search, launch after launch", blocks)


def _step(trial: Trial, usual: str) -> Step:
    if isinstance(trial.outcome, Twin):
        return Step.EQUALS
    if isinstance(trial.outcome, Failed):
        return Step.FAILED
    if stopped_early(trial):
        return Step.EARLY
    if not feasible(trial):
        return Step.MISSES
    return Step.MEASURED if trial.outcome.start == usual else Step.OTHER


def _summary(report: Report, steps: Sequence[Launched]) -> str:
    counts = {step: sum(one.step is step for one in steps) for step in Step}
    told = ", ".join(f"{count} {step.value}" for step, count in counts.items() if count)
    if not steps:
        return "No trial has ended yet."
    begun = (
        f" {report.begun} more began and {'has' if report.begun == 1 else 'have'} not ended." if report.begun else ""
    )
    return f"{_many(len(steps), 'trial')} ended: {told}.{begun}{_when(steps, report.objectives[0])}"


def _when(steps: Sequence[Launched], objective: Objective) -> str:
    """When the best was found."""
    last = steps[-1].best
    if last is None:
        return " None of them was measured and meets every SLO."
    first = next(one for one in steps if one.best == last)
    return f" The best value of the search, {number(objective.metric, last)}, was found by trial {first.trial.number}."


def _many(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def _figure(report: Report, steps: Sequence[Launched], objective: Objective) -> Figure:
    row = ROWS[objective.metric]
    known = [(one, one.value * row.factor) for one in steps if one.value is not None]
    place = frame(
        (float(one.place) for one in steps),
        (value for _, value in known),
        x_label="trial, in the order of their beginning",
        y_label=f"{row.label} {row.unit}".strip(),
        x_text=lambda value: f"{value:g}" if value == round(value) else "",
        y_text=plain,
        x_even=True,
    )
    parts = place.lines()
    best = [(float(one.place), None if one.best is None else one.best * row.factor) for one in steps]
    parts.append(line(best, place, "best", steps=True))
    chosen = report.found.chosen.number if report.found.chosen else None
    for one in steps:
        if one.step in _SHAPES and (one.value is not None or one.step is Step.FAILED):
            shape, kind = _SHAPES[one.step]
            y = place.y.begin - 6 if one.value is None else place.y(one.value * row.factor)
            parts.append(mark(shape, place.x(one.place), y, kind, _told(one, objective)))
            if one.trial.number == chosen:
                parts.append(mark(Mark.RING, place.x(one.place), y, "chosen", f"trial {chosen}: recommended"))
    seen = {one.step for one in steps}
    entries = [Named("best so far", "best"), Named("recommended", "chosen", Mark.RING)][
        : 2 if chosen is not None else 1
    ]
    entries += [Named(step.value, kind, shape) for step, (shape, kind) in _SHAPES.items() if step in seen]
    keys, height = legend(entries, place.y.begin + 46)
    title = f"{row.label} of each trial, and the best so far"
    return figure(
        "progress", title, f"{_summary(report, steps)} The table below has every value.", [*parts, *keys], height
    )


def _told(one: Launched, objective: Objective) -> str:
    value = f", {number(objective.metric, one.value)}" if one.value is not None else ""
    return f"trial {one.trial.number}: {status(one.trial)}{value}"


def _table(report: Report, steps: Sequence[Launched]) -> Table:
    metrics = list(dict.fromkeys(objective.metric for objective in report.objectives))
    names = [f"{ROWS[metric].label} {ROWS[metric].unit}".strip() for metric in metrics]
    defaults = report.found.defaults.params if report.found.defaults else None
    chosen = report.found.chosen.number if report.found.chosen else None
    return Table(
        caption="Every trial, in the order of their beginning",
        headers=["trial", "status", *names, "best so far", "settings"],
        rows=[_row(one, report.objectives, defaults, is_chosen=one.trial.number == chosen) for one in steps],
        numbers=frozenset({0, *range(2, 3 + len(metrics))}),
        codes=frozenset({3 + len(metrics)}),
    )


def _row(one: Launched, objectives: Sequence[Objective], defaults: Params | None, *, is_chosen: bool) -> list[str]:
    values = [number(objective.metric, score(one.trial, objective), unit=False) for objective in objectives]
    named = (
        "vLLM's defaults" if one.trial.is_default else settings(one.trial.params, defaults) or "those of the defaults"
    )
    told = f"{status(one.trial)}, recommended" if is_chosen else status(one.trial)
    return [str(one.trial.number), told, *values, number(objectives[0].metric, one.best, unit=False), named]
