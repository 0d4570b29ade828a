"""The file of situations in; what is to be launched for each on this kind of engine out."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml

from tuner.diagnose.causes import Cause
from tuner.types import Params

Kind = Literal["cpu", "gpu"]
#: What a load is where a situation does not say.
_USUAL: Mapping[str, Any] = {
    "api": "completions",
    "input_tokens": {"low": 64, "high": 192},
    "output_tokens": {"low": 64, "high": 128},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """`cause` is None for a healthy server; `load` has the keys of a workload's file; `beside` busy processes run beside the
    server; `told_users` is what is believed about the load; `clocks_mhz` is what the GPU's clocks are held at."""

    name: str
    cause: Cause | None
    load: Mapping[str, Any]
    settings: Params = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    beside: int = 0
    told_users: int | None = None
    clocks_mhz: int | None = None
    remedy: str | None = None


def read_situations(path: Path, kind: Kind | None) -> list[Situation]:
    """Those of this kind of engine, of both kinds where it is None."""
    told = yaml.safe_load(path.read_text())
    found = []
    for entry in (*told["provoked"], *told["healthy"]):
        kinds = [one for one in ("cpu", "gpu") if one in entry and kind in (one, None)]
        if kinds:
            found.append(_situation(entry, entry[kinds[0]]))
    return found


def _situation(entry: Mapping[str, Any], own: Mapping[str, Any]) -> Situation:
    both = {**entry, **own}
    cause = entry.get("cause")
    return Situation(
        name=entry["name"],
        cause=None if cause is None else Cause(cause),
        load={**_USUAL, **own["load"]},
        settings={**entry.get("settings", {}), **own.get("settings", {})},
        environment=both.get("environment", {}),
        beside=both.get("beside", 0),
        told_users=both.get("told_users"),
        clocks_mhz=both.get("clocks_mhz"),
        remedy=both.get("remedy"),
    )
