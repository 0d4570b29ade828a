"""The user's own settings, as flags or as a file of them, in; vLLM's arguments by name out, or one sentence for what is wrong.

Read are a line of flags, a shell command with `vllm serve` in it, as `tuner export` writes it, and a YAML file for
`vllm serve --config`. Whether vLLM takes them is not known here.
"""

import json
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from tuner.errors import UsageError
from tuner.space.words import SECRET_ARGUMENTS, TUNERS_OWN, is_argument
from tuner.space.yaml_file import read_yaml
from tuner.types import Params, Value
from tuner.types.settings import flag, list_text

#: vLLM's short flags (engine/arg_utils.py) and the arguments that they stand for.
_SHORT = {
    "-tp": "tensor_parallel_size",
    "-pp": "pipeline_parallel_size",
    "-dp": "data_parallel_size",
    "-q": "quantization",
}
#: What vLLM reads with a unit, 8k or 8K (utils/argparse_utils.py, human_readable_int).
_SIZES = frozenset({"max_model_len", "max_num_batched_tokens", "kv_cache_memory_bytes"})
_UNITS = {"k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
#: Where a shell ends a command.
_ENDS = ("&", "&&", "|", "||", ";", ">", ">>", "<", "2>&1")


@dataclass(frozen=True, slots=True, kw_only=True)
class HandSettings:
    """`said` is what the user gave; `model` is the one that it names, None where it names none. `passed_over` are arguments
    that tuner gives to each server itself, and variables of a shell."""

    said: str
    params: Params
    model: str | None = None
    passed_over: tuple[str, ...] = ()

    @property
    def flags(self) -> str:
        """In one spelling, by which a study knows them again."""
        return flags_of(self.params)


def flags_of(params: Params) -> str:
    return shlex.join(part for name, value in params.items() for part in flag(name, value))


def params_of(flags: str) -> Params:
    """The arguments of `flags`, as `flags_of` wrote them."""
    return _by_name(shlex.split(flags), "").params


def hand_settings(said: str) -> HandSettings:
    """Of one --baseline. Raises UsageError."""
    if not said.strip():
        raise UsageError("--baseline is empty: give vLLM's flags, such as '--max-num-seqs 256', or a file of them")
    path = Path(said)
    if _is_file(path):
        found = _of_yaml(path) if path.suffix in (".yaml", ".yml") else _of_text(_read(path), said)
    elif not said.lstrip().startswith("-") and len(said.split()) == 1:
        raise UsageError(
            f"--baseline {said}: there is no such file, and flags begin with --, such as --max-num-seqs 256"
        )
    else:
        found = _of_text(said, "")
    if not found.params:
        raise UsageError(
            f"--baseline {said}: it has no setting that differs from vLLM's defaults, which are launched anyway"
        )
    return HandSettings(said=said, params=found.params, model=found.model, passed_over=found.passed_over)


def _is_file(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # flags that are longer than a name may be
        return False


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise UsageError(f"--baseline {path} cannot be read: {reason}") from error


class _Config(BaseModel):
    model_config = ConfigDict(extra="allow")


def _of_yaml(path: Path) -> HandSettings:
    """As vLLM reads its --config: a false value is dropped, `no-x: true` is --no-x."""
    found: dict[str, Value] = {}
    model: str | None = None
    own: list[str] = []
    for key, value in (read_yaml(path, _Config).model_extra or {}).items():
        name = _underscored(str(key))
        if name in ("model", "model_tag"):
            model = str(value)
        elif _is_tuners(name, f"--baseline {path}: "):
            own.append(name)
        elif value is not None and value is not False:
            if is_off := name.startswith("no_") and value is True:
                name = name.removeprefix("no_")
            found.update(_parts(name, False if is_off else value, f"--baseline {path}: "))
    return HandSettings(said=str(path), params=found, model=model, passed_over=tuple(own))


def _of_text(text: str, where: str) -> HandSettings:
    """Of flags, or of a shell command that runs `vllm serve`."""
    try:
        words = shlex.split(text.replace("\\\n", " "), comments=bool(where))
    except ValueError as error:
        raise UsageError(
            f"--baseline{f' {where}' if where else ''}: the quotation marks do not match: {error}"
        ) from error
    place = next((at for at, word in enumerate(words) if word == "serve" and at), None)
    variables = words[:place] if place is not None else []
    words = words[place + 1 :] if place is not None else words
    words = words[: next((at for at, word in enumerate(words) if word in _ENDS), len(words))]
    found = _by_name(words, f"--baseline {where}: " if where else "--baseline: ")
    names = [word.partition("=")[0] for word in variables if re.fullmatch(r"[A-Za-z_]\w*=.*", word, re.DOTALL)]
    return HandSettings(said=text, params=found.params, model=found.model, passed_over=(*found.passed_over, *names))


def _by_name(words: Sequence[str], where: str) -> HandSettings:
    found: dict[str, Value] = {}
    own: list[str] = []
    model: str | None = None
    for name, values in _flags(words, where):
        if name == "model":
            model = values[0] if values else None
        elif _is_tuners(name, where):
            own.append(name)
        else:
            found.update(_parts(*_value(name, values), where))
    return HandSettings(said="", params=found, model=model, passed_over=tuple(own))


def _flags(words: Sequence[str], where: str) -> Iterator[tuple[str, list[str]]]:
    """Each argument with the words that follow it; a word before all of them is the model."""
    name, values = "model", list[str]()
    for at, word in enumerate(words):
        if re.search(r"\$[A-Za-z_{(]", word):
            raise UsageError(
                f"{where}{word.partition('=')[0]}: a variable of a shell is not known here: write its value"
            )
        if word.startswith("--"):
            if at:
                yield name, values
            head, equals, value = word[2:].partition("=")
            name, values = _underscored(head), [value] if equals else []
            if not is_argument(name):
                raise UsageError(f"{where}{word}: this is no flag of vLLM")
        elif word.startswith("-") and not _is_number(word):
            if at:
                yield name, values
            short, equals, value = word.partition("=")
            if short not in _SHORT:
                raise UsageError(f"{where}{word}: write the flag's long name")
            name, values = _SHORT[short], [value] if equals else []
        else:
            values.append(word)
            if name == "model" and len(values) > 1 and not any(w.startswith("--") for w in words[:at]):
                raise UsageError(f"{where}{word!r} is no flag: vLLM's begin with --")
    if words:
        yield name, values


def _underscored(head: str) -> str:
    """vLLM takes --max_num_seqs for --max-num-seqs, and a nested config's keys as they are."""
    name, dot, keys = head.partition(".")
    return name.replace("-", "_") + dot + keys


def _is_tuners(name: str, where: str) -> bool:
    """Whether tuner gives it to each server itself. Raises UsageError for a secret, whose value is never repeated."""
    if name in SECRET_ARGUMENTS:
        raise UsageError(f"{where}{name} is a secret, and would be stored with the trial: leave it out")
    return name in TUNERS_OWN


def _value(name: str, words: Sequence[str]) -> tuple[str, object]:
    if not words:
        return (name.removeprefix("no_"), False) if name.startswith("no_") else (name, True)
    read = [_read_word(name, word) for word in words]
    return name, read[0] if len(read) == 1 else read


def _read_word(name: str, word: str) -> object:
    sized = re.fullmatch(r"(\d+(?:\.\d+)?)([kmgtKMGT])", word)
    if sized and name in _SIZES:
        return int(float(sized[1]) * _UNITS[sized[2]])
    if word[:1] in '{["' or _is_number(word) or ("." in name and word in ("true", "false")):
        try:
            found: object = json.loads(word)
        except (ValueError, RecursionError):
            return word
        return found
    return word


def _is_number(word: str) -> bool:
    return re.fullmatch(r"-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?", word) is not None


def _parts(name: str, value: object, where: str) -> Iterator[tuple[str, Value]]:
    """A nested config, written as JSON or YAML, by the dotted name of each part. Raises UsageError."""
    if isinstance(value, Mapping):
        for key, part in value.items():
            yield from _parts(f"{name}.{key}", part, where)
    elif isinstance(value, list) and value and all(isinstance(one, bool | int | float | str) for one in value):
        yield name, list_text(value)
    elif isinstance(value, bool | int | float | str) and is_argument(name):
        yield name, value
    else:
        raise UsageError(f"{where}{name}: expected NAME VALUE in vLLM's own names, found {value!r}")
