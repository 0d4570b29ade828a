"""Runs inside vLLM's interpreter, as a part of resolving.py: the parts of vLLM's nested configs by their dotted names
(compilation_config.cudagraph_mode), those that there are, and those of one configuration with their values.

It imports nothing of tuner and starts nothing.
"""

import dataclasses
import enum
import json
import typing
from collections.abc import Iterator
from typing import Any

#: Of these all parts are told that have a value, of the others those that were given: some differ from start to start.
_TOLD = ("compilation_config", "attention_config", "kernel_config", "speculative_config")
#: Longer lists are written by nobody's hand.
_LONGEST_TEXT = 4000
_DEEPEST = 3


def dotted_names(arguments: set[str]) -> set[str]:
    """The parts of those of `arguments` that are configs of VllmConfig. A config that is a mere dictionary has none."""
    from vllm.config import VllmConfig

    kinds = typing.get_type_hints(VllmConfig)
    return {name for head in arguments & kinds.keys() for name in _fields(head, kinds[head], _DEEPEST)}


def dotted_values(config: Any, args: Any, argv: list[str]) -> dict[str, Any]:
    """The parts of nested configs that have a value; `args` are the parsed `argv`."""
    words = (word.partition("=")[0].removeprefix("--") for word in argv if word.startswith("--"))
    given = {head.replace("-", "_") + dot + keys for head, dot, keys in (w.partition(".") for w in words) if dot}
    names = [f"{head}.{key}" for head in _TOLD for key in _keys(getattr(config, head, None))]
    found = {}
    for name in (*names, *sorted(given)):
        head, *keys = name.split(".")
        value = getattr(config, head, None)
        for key in keys if value is not None else ():
            value = value.get(key) if isinstance(value, dict) else getattr(value, key, None)
        if value is None and isinstance(
            value := getattr(args, head, None), dict
        ):  # hf_overrides, which vLLM keeps elsewhere
            for key in keys:
                value = value.get(key) if isinstance(value, dict) else None
        if (said := told(value)) is not None:
            found[name] = said
    return found


def told(value: Any) -> bool | int | float | str | None:
    """A value as tuner has it: an enumeration's by name, a list as JSON; None for what is none."""
    if isinstance(value, enum.Enum) and not isinstance(value, str):
        return value.name
    if isinstance(value, enum.Enum):
        return str(value.value)
    if isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple) and value and all(isinstance(one, bool | int | float | str) for one in value):
        text = json.dumps(list(value))
        return text if len(text) <= _LONGEST_TEXT else None
    return None


def _fields(name: str, kind: Any, deepest: int) -> Iterator[str]:
    for inner in (kind, *typing.get_args(kind)):
        if deepest and isinstance(inner, type) and dataclasses.is_dataclass(inner):
            kinds = typing.get_type_hints(inner)
            for key in _keys(inner):
                yield f"{name}.{key}"
                yield from _fields(f"{name}.{key}", kinds.get(key), deepest - 1)


def _keys(part: Any) -> list[str]:
    if not dataclasses.is_dataclass(part):
        return []
    return [field.name for field in dataclasses.fields(part) if field.init and not field.name.startswith("_")]
