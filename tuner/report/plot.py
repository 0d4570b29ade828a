"""Numbers in, small drawings as SVG out: axes, lines, marks, a legend. Pure, and all that a report draws with.

A drawing has no script, no font and no colour of its own: the page's style sheet gives its classes theirs, on paper and in the
dark too. It is as wide as a phone, and grows with what stands around it. Marks differ by their shape, never by colour alone.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import ceil, floor, log10

from tuner.report.document import Figure
from tuner.report.text import html

WIDTH = 360.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 52.0, 12.0, 12.0, 34.0
_LINE = 15.0
#: Ends of an axis so many times apart are drawn by their logarithms.
_WIDE = 20.0
#: A line of more points is drawn by the means of that many parts.
_POINTS = 240


class Mark(StrEnum):
    """The shapes."""

    DOT = "dot"
    RING = "ring"
    DIAMOND = "diamond"
    TRIANGLE = "triangle"
    CROSS = "cross"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """From values to a place on the drawing."""

    low: float
    high: float
    begin: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        low, high, at = (log10(v) if self.log else v for v in (self.low, self.high, self.inside(value)))
        return self.begin + (self.end - self.begin) * (at - low) / (high - low)

    def inside(self, value: float) -> float:
        return min(max(value, self.low), self.high)

    def ticks(self, most: int) -> list[float]:
        """Round values."""
        if self.log:
            found = _decades(self.low, self.high, (1, 2, 5))
            return found if len(found) <= most else _decades(self.low, self.high, (1,))
        step = _round_step((self.high - self.low) / most)
        first = ceil(self.low / step - 1e-9)
        return [n * step for n in range(first, floor(self.high / step + 1e-9) + 1)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """Two axes with what they are called."""

    x: Scale
    y: Scale
    x_label: str
    y_label: str
    x_text: Callable[[float], str]
    y_text: Callable[[float], str]

    def lines(self) -> list[str]:
        """The axes with their ticks."""
        left, bottom = self.x.begin, self.y.begin
        found = [f'<path class="axis" d="M{left:.1f} {self.y.end:.1f}V{bottom:.1f}H{self.x.end:.1f}"/>']
        for value in self.y.ticks(5):
            y = self.y(value)
            found.append(f'<path class="grid" d="M{left:.1f} {y:.1f}H{self.x.end:.1f}"/>')
            found.append(text(left - 5, y + 3.5, self.y_text(value), "end"))
        for value in self.x.ticks(6):
            found.append(text(self.x(value), bottom + 13, self.x_text(value), "middle"))
        found.append(text((left + self.x.end) / 2, bottom + 28, self.x_label, "middle"))
        found.append(text(4, self.y.end - 8, self.y_label, "start"))
        return found


def frame(
    xs: Iterable[float],
    ys: Iterable[float],
    *,
    x_label: str,
    y_label: str,
    x_text: Callable[[float], str] = lambda value: f"{value:g}",
    y_text: Callable[[float], str] = lambda value: plain(value),
    height: float = 200.0,
    from_zero: bool = False,
    x_exact: bool = False,
    x_even: bool = False,
) -> Frame:
    """Axes around these values, some of which are there; `x_exact` has nothing beside the first and the last, `x_even` is never
    logarithmic."""
    top = _TOP + _LINE
    return Frame(
        x=_scale(list(xs), _LEFT, WIDTH - _RIGHT, exact=x_exact, even=x_exact or x_even),
        y=_scale(list(ys), height - _BOTTOM, top, from_zero=from_zero),
        x_label=x_label,
        y_label=y_label,
        x_text=x_text,
        y_text=y_text,
    )


def _scale(
    values: Sequence[float],
    begin: float,
    end: float,
    *,
    from_zero: bool = False,
    exact: bool = False,
    even: bool = False,
) -> Scale:
    low, high = min(values), max(values)
    if low > 0 and high / low > _WIDE and not from_zero and not even:
        return Scale(low=low / 1.2, high=high * 1.2, begin=begin, end=end, log=True)
    if from_zero:
        low = min(low, 0.0)
    room = 0.0 if exact and high > low else 0.06 * (high - low) or abs(high) * 0.1 or 1.0
    return Scale(low=low if from_zero and low == 0 else low - room, high=high + room, begin=begin, end=end)


def _decades(low: float, high: float, of_each: Sequence[int]) -> list[float]:
    powers = range(floor(log10(low)), ceil(log10(high)) + 1)
    return [n * 10.0**power for power in powers for n in of_each if low <= n * 10.0**power <= high]


def _round_step(wanted: float) -> float:
    power = 10.0 ** floor(log10(wanted))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= wanted * 0.999)


def plain(value: float) -> str:
    """A tick's text: as many digits as it has."""
    return f"{value:,.0f}" if abs(value) >= 100 or value == 0 else f"{value:.3g}"


def text(x: float, y: float, words: str, anchor: str = "start", kind: str = "") -> str:
    named = f' class="{kind}"' if kind else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{named}>{html(words)}</text>'


def line(points: Sequence[tuple[float, float | None]], place: Frame, kind: str, *, steps: bool = False) -> str:
    """Through the points; broken where a value is missing, and with `steps` level until the next one."""
    found, pen_down = [], False
    for x, y in thinned(points):
        if y is None:
            pen_down = False
            continue
        at_x, at_y = place.x(x), place.y(y)
        found.append(
            f"H{at_x:.1f}V{at_y:.1f}" if steps and pen_down else f"{'L' if pen_down else 'M'}{at_x:.1f} {at_y:.1f}"
        )
        pen_down = True
    return f'<path class="line {kind}" d="{"".join(found)}"/>'


def thinned(points: Sequence[tuple[float, float | None]]) -> Sequence[tuple[float, float | None]]:
    """No more than a drawing can show: the means of even parts, each missing only where all of it is."""
    if len(points) <= _POINTS:
        return points
    found: list[tuple[float, float | None]] = []
    for part in range(_POINTS):
        some = points[part * len(points) // _POINTS : (part + 1) * len(points) // _POINTS]
        known = [y for _, y in some if y is not None]
        found.append((some[len(some) // 2][0], sum(known) / len(known) if known else None))
    return found


def mark(shape: Mark, x: float, y: float, kind: str, told: str = "") -> str:
    """One shape, with what is told where a pointer rests on it."""
    tag, attributes = _SHAPES[shape]
    inside = f"<title>{html(told)}</title>" if told else ""
    return f'<{tag} class="mark {kind}" {attributes.format(x=x, y=y)}>{inside}</{tag}>'


_SHAPES = {
    Mark.DOT: ("circle", 'cx="{x:.1f}" cy="{y:.1f}" r="2.6"'),
    Mark.RING: ("circle", 'cx="{x:.1f}" cy="{y:.1f}" r="6.5"'),
    Mark.DIAMOND: ("path", 'd="M{x:.1f} {y:.1f}m0-5l5 5l-5 5l-5-5z"'),
    Mark.TRIANGLE: ("path", 'd="M{x:.1f} {y:.1f}m-4-3h8l-4 7z"'),
    Mark.CROSS: ("path", 'd="M{x:.1f} {y:.1f}m-3.5-3.5l7 7m0-7l-7 7"'),
}


@dataclass(frozen=True, slots=True)
class Named:
    """An entry of a legend: a shape, or a line where there is none."""

    name: str
    kind: str
    shape: Mark | None = None


def legend(entries: Sequence[Named], top: float) -> tuple[list[str], float]:
    """Entries beside each other as far as there is room; and where what follows begins."""
    found, x, y = [], 8.0, top
    for entry in entries:
        wide = 32 + 6.6 * len(entry.name)
        if x + wide > WIDTH:
            x, y = 8.0, y + _LINE
        if entry.shape is None:
            found.append(f'<path class="line {entry.kind}" d="M{x - 3:.1f} {y:.1f}h14"/>')
        else:
            found.append(mark(entry.shape, x + 4, y, entry.kind))
        found.append(text(x + 15, y + 4, entry.name))
        x += wide
    return found, y + _LINE


def figure(name: str, title: str, description: str, parts: Iterable[str], height: float) -> Figure:
    """The drawing; `name` is its own in the page."""
    head = (
        f'<svg viewBox="0 0 {WIDTH:.0f} {height:.0f}" role="img" aria-labelledby="{name}-title {name}-about">'
        f'<title id="{name}-title">{html(title)}</title><desc id="{name}-about">{html(description)}</desc>'
    )
    return Figure(svg=f"{head}{''.join(parts)}</svg>", title=title, description=description)
