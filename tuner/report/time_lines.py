"""How the measurements of the defaults and of the winner went, second by second, in; small drawings beside each other out.

Pure. Both are drawn on the same axes, so that what is higher is more.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean

from tuner.report.content import Drawn, Report
from tuner.report.document import Block, Figure, Gallery, Paragraph, Section, Table
from tuner.report.plot import figure, frame, line, plain, text
from tuner.types import Timeline


@dataclass(frozen=True, slots=True)
class _Series:
    """One that a time line has: its name there, what it is called, its unit, and what its values are multiplied by."""

    name: str
    label: str
    unit: str
    of: Callable[[Timeline], Sequence[float | None]]
    factor: float = 1.0


_SERIES = (
    _Series("output_throughput", "Output throughput", "tok/s", lambda one: one.output_throughput),
    _Series("running", "Running", "requests", lambda one: one.running),
    _Series("waiting", "Waiting", "requests", lambda one: one.waiting),
    _Series("kv_cache_usage", "KV cache used", "%", lambda one: one.kv_cache_usage, 100.0),
    _Series("gpu_utilization", "GPU utilization", "%", lambda one: one.gpu_utilization, 100.0),
    _Series("steps_per_s", "Engine steps", "1/s", lambda one: one.steps_per_s),
    _Series("preemptions", "Preemptions", "requests", lambda one: one.preemptions),
    _Series("server_cores", "Cores of the server", "cores", lambda one: one.server_cores),
    _Series("engine_core_cores", "Cores of EngineCore", "cores", lambda one: one.engine_core_cores),
)


def time_lines_section(report: Report) -> Section:
    """It says so where nobody kept any."""
    drawn = report.time_lines
    blocks: list[Block] = []
    if not drawn:
        why = "No time line of the defaults or of the winner was kept"
        why += ": nothing has run." if report.unreal == "REPLAYED" else ", as in studies of an older tuner."
        return Section("time-lines", "Time lines", [Paragraph(why)])
    names = " and ".join(f"{_name(one)} ({_whence(one)})" for one in drawn)
    blocks.append(
        Paragraph(
            f"How the load on {names} went. The shaded part, between the dashed lines, is the measured window: what came "
            "before it is the warm-up, and counts for nothing."
        )
    )
    for series in _SERIES:
        known = [one for one in drawn if any(value is not None for value in series.of(one.timeline))]
        if known:
            blocks.append(Gallery(_figures(series, known), is_told=True))
    blocks.append(_table(drawn))
    return Section("time-lines", "Time lines", blocks)


def _figures(series: _Series, drawn: Sequence[Drawn]) -> list[Figure]:
    values = [v * series.factor for one in drawn for v in series.of(one.timeline) if v is not None]
    ends = [t for one in drawn for t in (*one.timeline.t_s, one.timeline.window_begin_s, one.timeline.window_end_s)]
    return [_figure(series, one, [0.0, max(values)], [0.0, max(ends)]) for one in drawn]


def _figure(series: _Series, one: Drawn, ys: Sequence[float], xs: Sequence[float]) -> Figure:
    height, timeline = 150.0, one.timeline
    place = frame(
        xs,
        ys,
        x_label="seconds since the load began",
        y_label=f"{series.label} {series.unit}",
        y_text=plain,
        height=height,
        from_zero=True,
        x_exact=True,
    )
    begin, end = place.x(timeline.window_begin_s), place.x(timeline.window_end_s)
    top, bottom = place.y.end, place.y.begin
    parts = [
        f'<path class="window" d="M{begin:.1f} {top:.1f}H{end:.1f}V{bottom:.1f}H{begin:.1f}z"/>',
        f'<path class="edge" d="M{begin:.1f} {top:.1f}V{bottom:.1f}M{end:.1f} {top:.1f}V{bottom:.1f}"/>',
        *place.lines(),
        text(place.x.end, place.y.end - 8, _name(one), "end", "strong"),
    ]
    known = [v if v is None else v * series.factor for v in series.of(timeline)]
    parts.append(line(list(zip(timeline.t_s, known, strict=True)), place, "series"))
    name = f"line-{series.name.replace('_', '-')}-{one.trial}"
    title = f"{series.label} of {_name(one)} over time"
    return figure(name, title, f"{_words(series, one)} in the measured window.", parts, height)


def _table(drawn: Sequence[Drawn]) -> Table:
    """What the drawings show, in numbers."""
    rows = [
        [f"{series.label} {series.unit}", *(_mean(series, one) for one in drawn)]
        for series in _SERIES
        if any(series.of(one.timeline) for one in drawn)
    ]
    window = [
        "Measured window",
        *(f"{t.window_begin_s:,.0f} s to {t.window_end_s:,.0f} s" for t in (d.timeline for d in drawn)),
    ]
    return Table(
        caption="Mean over the measured window, lowest and highest sample in brackets",
        headers=["", *map(_name, drawn)],
        rows=[*rows, window],
        numbers=frozenset(range(1, 1 + len(drawn))),
    )


def _inside(series: _Series, one: Drawn) -> Iterator[float]:
    timeline = one.timeline
    for at, value in zip(timeline.t_s, series.of(timeline), strict=bool(series.of(timeline))):
        if value is not None and timeline.window_begin_s <= at < timeline.window_end_s:
            yield value * series.factor


def _mean(series: _Series, one: Drawn) -> str:
    known = list(_inside(series, one))
    return f"{plain(fmean(known))} ({plain(min(known))} to {plain(max(known))})" if known else "-"


def _words(series: _Series, one: Drawn) -> str:
    known = list(_inside(series, one))
    if not known:
        return f"{series.label} of {_name(one)} is not known"
    mean, low, high = (plain(value) for value in (fmean(known), min(known), max(known)))
    return f"{series.label} of {_name(one)}: {mean} {series.unit} on average, {low} to {high}"


def _name(one: Drawn) -> str:
    return f"vLLM's defaults (trial {one.trial})" if one.is_default else f"trial {one.trial}"


def _whence(one: Drawn) -> str:
    return "its launch of the search" if one.round is None else f"its launch in round {one.round} of the verification"
