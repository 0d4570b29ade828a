"""A time line in; a small plot of it as SVG out. Pure: no script, no font and no picture from elsewhere.

One strip for each series, all over the same seconds; the measured window is shaded.
"""

from collections.abc import Sequence
from html import escape

from tuner.types import Timeline

_WIDTH, _LEFT, _RIGHT, _STRIP, _GAP, _TOP = 720, 120, 16, 64, 18, 40
_SERIES = (
    ("output_throughput", "tok/s", "#1565c0"),
    ("running", "running", "#2e7d32"),
    ("waiting", "waiting", "#c62828"),
    ("kv_cache_usage", "KV cache", "#6a1b9a"),
    ("gpu_utilization", "GPU", "#ef6c00"),
    ("steps_per_s", "steps/s", "#00695c"),
    ("preemptions", "preemptions", "#ad1457"),
    ("server_cores", "cores", "#4e342e"),
)
_SHARES = frozenset({"kv_cache_usage", "gpu_utilization"})


def timeline_svg(found: Timeline, title: str) -> str:
    shown = [(name, label, color, getattr(found, name)) for name, label, color in _SERIES if any_known(found, name)]
    height = _TOP + len(shown) * (_STRIP + _GAP) + 24
    begin, end = (_x(at_s, found) for at_s in (found.window_begin_s, found.window_end_s))
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img" '
        f'font-family="sans-serif" font-size="12"><title>{escape(title)}</title>',
        f'<rect width="{_WIDTH}" height="{height}" fill="#fff"/>',
        f'<text x="{_LEFT}" y="16" font-weight="bold">{escape(title)}</text>',
        f'<rect x="{begin:.1f}" y="{_TOP - 12}" width="{max(end - begin, 1):.1f}" height="{height - _TOP - 4}" '
        'fill="#e3f2fd"/>',
        f'<text x="{begin + 4:.1f}" y="{_TOP - 2}" fill="#555">measured window</text>',
    ]
    for place, (name, label, color, values) in enumerate(shown):
        parts += _strip(found, values, _TOP + place * (_STRIP + _GAP), label, color, is_share=name in _SHARES)
    bottom = height - 10
    parts.append(f'<text x="{_LEFT}" y="{bottom}" fill="#555">0 s</text>')
    parts.append(
        f'<text x="{_WIDTH - _RIGHT}" y="{bottom}" fill="#555" text-anchor="end">{found.window_end_s:,.0f} s</text>'
    )
    return "\n".join([*parts, "</svg>"]) + "\n"


def any_known(found: Timeline, name: str) -> bool:
    return any(value is not None for value in getattr(found, name))


def _strip(
    found: Timeline, values: Sequence[float | None], top: float, label: str, color: str, *, is_share: bool
) -> list[str]:
    highest = 1.0 if is_share else max((value for value in values if value is not None), default=0.0) or 1.0
    base = top + _STRIP
    told = "100%" if is_share else f"{highest:,.0f}"
    parts = [
        f'<text x="8" y="{top + _STRIP / 2:.0f}" fill="{color}">{escape(label)}</text>',
        f'<text x="{_LEFT - 6}" y="{top + 10}" fill="#555" text-anchor="end">{told}</text>',
        f'<text x="{_LEFT - 6}" y="{base}" fill="#555" text-anchor="end">0</text>',
        f'<line x1="{_LEFT}" y1="{base}" x2="{_WIDTH - _RIGHT}" y2="{base}" stroke="#bbb"/>',
    ]
    run: list[str] = []
    for at_s, value in [*zip(found.t_s, values, strict=True), (0.0, None)]:
        if value is not None:
            run.append(f"{_x(at_s, found):.1f},{base - _STRIP * min(value / highest, 1.0):.1f}")
        elif run:
            parts.append(f'<polyline fill="none" stroke="{color}" stroke-width="1.5" points="{" ".join(run)}"/>')
            run = []
    return parts


def _x(at_s: float, found: Timeline) -> float:
    whole_s = max(found.window_end_s, found.t_s[-1] if found.t_s else 0.0) or 1.0
    return _LEFT + (_WIDTH - _LEFT - _RIGHT) * at_s / whole_s
