"""What others measured, one launch at a time, in; the text of a surface that can be replayed (docs/replay.md) out. Pure.

It does not know who measured it, or how.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite

from tuner.errors import UsageError
from tuner.replay.file import MAX_LINES, Header, most
from tuner.types import Failed, Params


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """Settings, and what came of them: numbers by our names in our units, or why there are none. `about` is for readers."""

    params: Params
    outcome: Mapping[str, float] | Failed
    startup_s: float | None = None
    duration_s: float | None = None
    about: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_measured(self) -> bool:
        return not isinstance(self.outcome, Failed)

    def line(self) -> dict[str, object]:
        """As the file has it."""
        line: dict[str, object] = {"params": dict(self.params)}
        if isinstance(self.outcome, Failed):
            line["failure"] = {"kind": self.outcome.kind.value, "message": self.outcome.message}
        else:
            line["metrics"] = dict(self.outcome)
        took = {"startup_s": self.startup_s, "duration_s": self.duration_s}
        line |= {name: seconds for name, seconds in took.items() if seconds is not None}
        return line | ({"about": dict(self.about)} if self.about else {})


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """All launches in the order of the source, what is known of all of them, and what could not be taken, a sentence each.
    `objectives` are the words of --objective that they are about."""

    launches: tuple[Launch, ...]
    header: Header
    notes: tuple[str, ...] = ()
    objectives: tuple[str, ...] = ()

    @property
    def points(self) -> list[Params]:
        """The settings, each once."""
        return list({key_of(launch.params): launch.params for launch in self.launches}.values())


def base_of(launches: Sequence[Launch]) -> Launch:
    """The first measured one of those that say least: what stands for the defaults where nobody says them."""
    return min((launch for launch in launches if launch.is_measured), key=lambda launch: len(launch.params))


def surface_text(imported: Imported) -> str:
    """Raises UsageError for more than a surface can have, and for what has no measurement in it."""
    if len(imported.launches) > MAX_LINES - 1:
        raise UsageError(
            f"there are {len(imported.launches):,} launches, and {MAX_LINES - 1:,} are the most of a surface"
        )
    if not any(launch.is_measured for launch in imported.launches):
        raise UsageError("no launch was measured, so there is nothing to replay")
    first = {"surface": imported.header.model_dump(exclude_none=True, mode="json")}
    lines = [first, *(launch.line() for launch in imported.launches)]
    return "".join(json.dumps(line, ensure_ascii=False, allow_nan=False) + "\n" for line in lines)


def usable(numbers: Mapping[str, float]) -> tuple[dict[str, float], list[str]]:
    """The numbers that a surface can have, and the names of the others."""
    good = {name: number for name, number in numbers.items() if isfinite(number) and 0 <= number <= most(name)}
    return good, [name for name in numbers if name not in good]


def key_of(params: Params) -> tuple[tuple[str, str], ...]:
    """Equal for the same settings, where true is not 1."""
    return tuple(sorted((name, repr(value)) for name, value in params.items()))


def summary(imported: Imported) -> str:
    """In a few words: "12 launches of 4 settings, 2 of them failed"."""
    launches, points = len(imported.launches), len(imported.points)
    failed = sum(not launch.is_measured for launch in imported.launches)
    told = f"{launches:,} launch{'es' if launches > 1 else ''} of {points:,} setting{'s' if points > 1 else ''}"
    return told + (f", {failed:,} of them failed" if failed else "")


def counted(names: Sequence[str]) -> str:
    """Names, the most frequent first, of many the first few."""
    order = [name for name, _ in Counter(names).most_common()]
    return ", ".join(order[:8]) + (f" and {len(order) - 8} more" if len(order) > 8 else "")
