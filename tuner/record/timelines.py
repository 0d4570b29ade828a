"""A time line in, some kilobytes out, and back. It runs no query.

JSON with as many digits as a plot can show, and compressed: at most 400 samples take less than 10 KB.
"""

import json
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields

from pydantic import TypeAdapter

from tuner.types import Timeline

#: Significant digits: of times and tokens, and of all else.
_DIGITS = {"t_s": 7, "output_throughput": 4}
_OTHERS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredTimeline:
    """Of a trial's measurement, or where there is a `contest` and a `round`, of that further launch of it."""

    trial: int
    contest: int | None
    round: int | None
    timeline: Timeline


_TIMELINE = TypeAdapter(Timeline)


def packed(timeline: Timeline) -> bytes:
    tree = {
        name: [*_rounded(value, _DIGITS.get(name, _OTHERS))] if isinstance(value, tuple) else value
        for name, value in ((field.name, getattr(timeline, field.name)) for field in fields(Timeline))
    }
    return zlib.compress(json.dumps(tree, separators=(",", ":")).encode())


def unpacked(samples: bytes) -> Timeline:
    return _TIMELINE.validate_json(zlib.decompress(samples))


def _rounded(values: Sequence[float | None], digits: int) -> Iterator[float | None]:
    for value in values:
        short = None if value is None else float(f"{value:.{digits}g}")
        yield int(short) if short is not None and short.is_integer() else short
