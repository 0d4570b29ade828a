"""Trials by two numbers in; what is paid in one for more of the other out: a drawing and a table. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from tuner.decide.objective import OBJECTIVES, Objective
from tuner.decide.pareto import Front
from tuner.decide.rank import feasible, score, stopped_early
from tuner.decide.words.front import change_of, point_status, told_text
from tuner.decide.words.numbers import change_words, number
from tuner.decide.words.rows import ROWS
from tuner.decide.words.settings import settings
from tuner.report.content import Report
from tuner.report.document import Block, Figure, Gallery, Paragraph, Section, Table
from tuner.report.plot import Frame, Mark, Named, figure, frame, legend, line, mark, plain
from tuner.types import Measured, Trial

#: What is drawn beside an objective that is no latency, the first that was measured; and beside one that is.
_LATENCIES, _THROUGHPUT = ("ttft_p99", "ttft_p50", "tpot_p99", "e2e_p99"), "throughput"


@dataclass(frozen=True, slots=True)
class _Axes:
    """`up` is drawn upwards, `right` to the right."""

    up: Objective
    right: Objective


def trade_off_section(report: Report) -> Section | None:
    """None where there is nothing to draw."""
    front, axes = report.found.front, _axes(report)
    blocks: list[Block] = []
    if front is not None and front.points:
        blocks += [Paragraph(_about_the_front(report, front)), _front_table(report, front)]
    if axes is not None and (drawn := _drawn(report, axes)):
        blocks.insert(1 if blocks else 0, Gallery([_figure(report, axes, drawn)]))
    if not blocks:
        return None
    several = len(report.objectives) > 1
    return Section("trade-off", "The trade-off" if several else "Throughput against latency", blocks)


def _axes(report: Report) -> _Axes | None:
    """The first two objectives; beside a single one what stands against it."""
    first = report.objectives[0]
    if len(report.objectives) > 1:
        return _Axes(first, report.objectives[1])
    if first.name in OBJECTIVES and ROWS[first.metric].unit == "ms":
        return _Axes(OBJECTIVES[_THROUGHPUT], first)
    limited = [text.partition("=")[0] for text in report.method.slos]
    for name in (*limited, *_LATENCIES):
        other = OBJECTIVES.get(name)
        if other is not None and any(score(trial, other) is not None for trial in report.trials):
            return _Axes(first, other)
    return None


def _drawn(report: Report, axes: _Axes) -> list[Trial]:
    both = (axes.up, axes.right)
    return [t for t in report.trials if not stopped_early(t) and all(score(t, one) is not None for one in both)]


def _figure(report: Report, axes: _Axes, drawn: Sequence[Trial]) -> Figure:
    up, right = ROWS[axes.up.metric], ROWS[axes.right.metric]
    place = frame(
        [_at(trial, axes)[0] for trial in drawn],
        [_at(trial, axes)[1] for trial in drawn],
        x_label=f"{right.label} {right.unit}".strip() + (", less is better" if not axes.right.maximize else ""),
        y_label=f"{up.label} {up.unit}".strip() + ("" if axes.up.maximize else ", less is better"),
        x_text=plain,
        y_text=plain,
        height=220.0,
    )
    parts = place.lines()
    front = report.found.front
    on_front = (
        {point.trial.number for point in front.points} if front is not None and len(report.objectives) == 2 else set()
    )
    joined = sorted(_at(trial, axes) for trial in drawn if trial.number in on_front)
    if len(joined) > 1:
        parts.append(line(joined, place, "best"))
    for trial in sorted(drawn, key=lambda one: (one.is_default, one is report.found.chosen)):  # what is named is on top
        parts += _marks(report, trial, axes, place)
    entries = _legend(report, drawn, has_front=len(joined) > 1)
    keys, height = legend(entries, place.y.begin + 46)
    title = f"{up.label} against {right.label} of each trial that was measured wholly"
    return figure("trade-off", title, _description(report, axes, drawn), [*parts, *keys], height)


def _at(trial: Trial, axes: _Axes) -> tuple[float, float]:
    """To the right, and up, in the units of the axes."""
    right, up = score(trial, axes.right) or 0.0, score(trial, axes.up) or 0.0
    return right * ROWS[axes.right.metric].factor, up * ROWS[axes.up.metric].factor


def _marks(report: Report, trial: Trial, axes: _Axes, place: Frame) -> list[str]:
    x, y = _at(trial, axes)
    told = f"trial {trial.number}: {_values(trial, axes)}"
    chosen = report.found.chosen
    shape, kind = (Mark.DOT, "measured") if feasible(trial) else (Mark.DIAMOND, "misses")
    if trial.is_default:
        shape, kind = Mark.TRIANGLE, "defaults"
    found = [mark(shape, place.x(x), place.y(y), kind, told)]
    if chosen is not None and chosen.number == trial.number:
        found.append(mark(Mark.RING, place.x(x), place.y(y), "chosen", f"{told}, recommended"))
    return found


def _legend(report: Report, drawn: Sequence[Trial], *, has_front: bool) -> list[Named]:
    found = [Named("the front", "best")] if has_front else []
    if report.found.chosen is not None:
        found.append(Named("recommended", "chosen", Mark.RING))
    if any(trial.is_default for trial in drawn):
        found.append(Named("vLLM's defaults", "defaults", Mark.TRIANGLE))
    if any(feasible(trial) and not trial.is_default for trial in drawn):
        found.append(Named("measured", "measured", Mark.DOT))
    if any(not feasible(trial) for trial in drawn):
        found.append(Named("misses an SLO", "misses", Mark.DIAMOND))
    return found


def _values(trial: Trial, axes: _Axes) -> str:
    both = (axes.up, axes.right)
    return ", ".join(f"{ROWS[one.metric].label} {number(one.metric, score(trial, one))}" for one in both)


def _description(report: Report, axes: _Axes, drawn: Sequence[Trial]) -> str:
    told = [f"{len(drawn)} trials, as the search measured them."]
    for trial, name in ((report.found.defaults, "vLLM's defaults"), (report.found.chosen, "What is recommended")):
        if trial is not None and isinstance(trial.outcome, Measured):
            told.append(f"{name} (trial {trial.number}): {_values(trial, axes)}.")
    return " ".join(told)


def _about_the_front(report: Report, front: Front) -> str:
    names = " and ".join(objective.name for objective in front.objectives)
    knee = f" Its knee, the point nearest to the best of each, is trial {front.knee}." if front.knee is not None else ""
    points = f"{len(front.points)} settings are" if len(front.points) > 1 else "1 setting is"
    return f"{points} on the front of {names}: no other is better in all of them.{knee}"


def _front_table(report: Report, front: Front) -> Table:
    """Each objective with its 95 % interval and the change over the defaults."""
    rows = []
    defaults = report.found.defaults.params if report.found.defaults else None
    chosen = report.found.chosen.number if report.found.chosen else None
    for point in front.points:
        cells = []
        for objective, told in zip(front.objectives, point.told, strict=True):
            change = None if told.gain is None else change_of(objective, told.gain)
            over = "" if change is None else f", {change_words(ROWS[objective.metric], change)}"
            cells.append(f"{told_text(objective, told)}{over}")
        named = "vLLM's defaults" if point.trial.is_default else settings(point.trial.params, defaults)
        standing = point_status(point, front, is_chosen=point.trial.number == chosen)
        rows.append([str(point.trial.number), standing, *cells, named])
    names = [f"{ROWS[one.metric].label} {ROWS[one.metric].unit}".strip() for one in front.objectives]
    return Table(
        caption="The front, by the first objective; values with their 95 % intervals and the change over the defaults",
        headers=["trial", "standing", *names, "settings"],
        rows=rows,
        numbers=frozenset({0, *range(2, 2 + len(names))}),
        codes=frozenset({2 + len(names)}),
    )
