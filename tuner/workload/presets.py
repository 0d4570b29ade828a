"""A preset's name or a YAML file in; a validated `Workload`, its hash and its YAML out. Knows nothing of servers."""

import hashlib
import json
import math
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import yaml

from tuner.errors import UsageError, did_you_mean
from tuner.types import DataFile, Histogram, Lengths, Lognormal, SharedPrefix, Workload
from tuner.workload.lengths import MAX_RATE, MAX_USERS, MIN_RATE
from tuner.workload.workload_file import UNITS_S, read_workload

PRESETS = {
    preset.name: preset
    for preset in (
        Workload(
            name="chat",
            api="chat",
            users=64,
            input_tokens=Lengths(low=64, high=448),
            output_tokens=Lengths(low=32, high=224),
        ),
        Workload(
            name="long-prompt",
            api="completions",
            users=16,
            input_tokens=Lengths(low=1024, high=3072),
            output_tokens=Lengths(low=64, high=192),
        ),
        # As DeepSeek-R1's own usage recommendations have it: tuner/workload/advice.py, which a test holds it to.
        Workload(
            name="reasoning-r1",
            api="chat",
            users=32,
            input_tokens=Lengths(low=64, high=192),
            output_tokens=Lengths(low=512, high=1536),
            temperature=0.6,
            top_p=0.95,
            response_prefix="<think>\n",
            stop=("<｜end▁of▁sentence｜>", "<｜User｜>"),
        ),
        Workload(
            name="newton-32",
            api="chat",
            users=32,
            input_tokens=Lengths(low=64, high=96),
            output_tokens=Lengths(low=128, high=128),
        ),
        Workload(
            name="open-chat",
            api="chat",
            request_rate=8.0,
            input_tokens=Lengths(low=64, high=448),
            output_tokens=Lengths(low=32, high=224),
        ),
        Workload(
            name="prefix",
            api="chat",
            users=64,
            input_tokens=Lengths(low=320, high=704),
            output_tokens=Lengths(low=32, high=224),
            shared_prefix=SharedPrefix(tokens=256, count=8),
        ),
        Workload(
            name="multi-turn",
            api="chat",
            users=32,
            input_tokens=Lengths(low=32, high=128),
            output_tokens=Lengths(low=32, high=160),
            turns=Lengths(low=2, high=6),
        ),
    )
}


_MOST = {"users": MAX_USERS, "request_rate": MAX_RATE, "warmup_s": 86_400, "window_s": 86_400, "max_window_s": 86_400}


def load_workload(name_or_path: str) -> Workload:
    """A preset by its name, or a YAML file by its path. Raises UsageError (for a file: with the line)."""
    if name_or_path in PRESETS:
        return PRESETS[name_or_path]
    path = Path(name_or_path)
    if path.suffix not in (".yaml", ".yml") and not path.is_file():
        raise UsageError(
            f"there is no workload {name_or_path!r}{did_you_mean(name_or_path, PRESETS)}: choose {', '.join(PRESETS)}, "
            "or give the path of a YAML file"
        )
    return read_workload(path)


def with_overrides(
    workload: Workload,
    *,
    users: int | None = None,
    request_rate: float | None = None,
    warmup_s: float | None = None,
    window_s: float | None = None,
    max_window_s: float | None = None,
    precision: float | None = None,
    seed: int | None = None,
) -> Workload:
    """The workload with what is not None replaced. `users` makes it a closed loop and `request_rate` an open one, without what
    belongs to the other. Raises UsageError on a value that no file could have."""
    given = {
        "users": users,
        "request_rate": request_rate,
        "warmup_s": warmup_s,
        "window_s": window_s,
        "max_window_s": max_window_s,
        "precision": precision,
        "seed": seed,
    }
    changes: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    for name, value in changes.items():
        _check(name, value)
    changed = replace(_as_other_loop(workload, users, request_rate), **changes)
    if changed.max_window_s is not None and changed.max_window_s < changed.window_s:
        raise UsageError(
            f"max_window_s is {changed.max_window_s:g}: it must not be below window_s, {changed.window_s:g}"
        )
    return changed


def _check(name: str, value: float) -> None:
    if not math.isfinite(value):
        raise UsageError(f"{name} is {value}: it must be a number")
    if value < 0:
        raise UsageError(f"{name} is {value}: below 0")
    if value == 0 and name not in ("warmup_s", "seed"):
        raise UsageError(f"{name} is {value}: it must be above 0")
    if name == "request_rate" and value < MIN_RATE:
        raise UsageError(f"request_rate is {value:g}: {MIN_RATE:g} is the least")
    if value > _MOST.get(name, value):
        raise UsageError(f"{name} is {value:,}: {_MOST[name]:,.0f} are the most")
    if name == "precision" and value >= 1:
        raise UsageError(f"precision is {value}: it is a fraction and must be below 1")


def _as_other_loop(workload: Workload, users: int | None, request_rate: float | None) -> Workload:
    if users is None and request_rate is None:
        return workload
    if users is not None and request_rate is not None:
        raise UsageError(
            "users and request_rate are both given: a load is a closed loop or an open one, give one of them"
        )
    if workload.trace is not None:
        raise UsageError(f"workload {workload.name} replays a trace, which has no users and no rate: leave them out")
    if users is not None:
        return replace(workload, request_rate=None, burstiness=1.0, ramp_up_s=0.0, find_rate=False)
    return replace(workload, users=None, think_time_s=0.0)


def workload_hash(workload: Workload) -> str:
    """16 hexadecimal digits that differ as soon as any field differs; the same on every machine and Python.

    A file counts by the digest of what is read of it, not by its path.
    """
    values = asdict(workload)
    for file in (values["trace"], values["dataset"]):
        if file is not None:
            del file["path"], file["notes"]
    for name in ("acceptance_length", "acceptance_rates"):
        if not values[name]:  # the hashes of before there were these stay
            del values[name]
    text = json.dumps(values, sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def file_notes(workload: Workload) -> list[str]:
    """What of the workload's file is not used, a sentence each."""
    files = {"trace": workload.trace, "dataset": workload.dataset}
    return [f"{kind} {file.path.name}: {note}" for kind, file in files.items() if file for note in file.notes]


def max_tokens(workload: Workload) -> int | None:
    """The longest sequence, prompt and answer together, in tokens: max_model_len must be at least this.

    In a conversation the last turn's sequence holds all turns. None with a dataset, whose tokens only a tokenizer knows.
    """
    if workload.dataset is not None:
        return None
    turns = workload.turns.high if workload.turns is not None else 1
    return turns * (workload.input_tokens.high + workload.output_tokens.high)


def workload_yaml(workload: Workload, comment: str = "") -> str:
    """The YAML that `load_workload` reads as this workload: what differs from the defaults, below the comment's lines."""
    from_files = set[str]()
    if workload.trace is not None:
        from_files = {"input_tokens", "output_tokens"}
    elif workload.dataset is not None:
        from_files = {"input_tokens"}
    values = {
        field.name: _plain(getattr(workload, field.name))
        for field in fields(Workload)
        if field.name not in from_files and getattr(workload, field.name) != field.default
    }
    lines = "".join(f"# {line}".rstrip() + "\n" for line in comment.splitlines())
    return lines + yaml.safe_dump(values, sort_keys=False, default_flow_style=None, width=120)


def _plain(value: object) -> object:
    match value:
        case Lengths(low=low, high=high):
            return low if low == high else {"low": low, "high": high}
        case Lognormal() | SharedPrefix():
            return asdict(value)
        case Histogram(buckets=buckets):
            return {"histogram": [list(bucket) for bucket in buckets]}
        case DataFile(path=path, unit_s=unit_s, speedup=speedup):
            if (unit_s, speedup) == (1.0, 1.0):
                return str(path)
            return {"path": str(path), "unit": _unit(unit_s), "speedup": speedup}
        case tuple():
            return list(value)
    return value


def _unit(unit_s: float) -> str:
    return next(unit for unit, length_s in UNITS_S.items() if length_s == unit_s)
