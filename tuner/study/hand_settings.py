"""The user's own settings, as flags or as a file of them, in; vLLM's arguments by name out, or one sentence for what is wrong.

Read are a line of flags, a shell command with `vllm serve` in it, as `tuner export` writes it, and a YAML file for
`vllm serve --config`. Whether vLLM takes them is not known here.
"""

import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from tuner.errors import UsageError
from tuner.space.redaction import redacted, redacted_command
from tuner.space.vllm_flags import MODEL, given, parts, underscored, value_of
from tuner.space.words import TUNERS_OWN, is_argument, is_secret_argument
from tuner.space.yaml_file import read_yaml
from tuner.types import Params, Value
from tuner.types.settings import flag

#: Where a shell ends a command.
_ENDS = ("&", "&&", "|", "||", ";", ">", ">>", "<", "2>&1")
_VARIABLE = re.compile(r"[A-Za-z_]\w*=.*", re.DOTALL)
#: What a person writes is smaller.
_MAX_BYTES = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class HandSettings:
    """`said` is what the user gave, without secrets; `model` is the one that it names, None where it names none. `passed_over`
    are arguments that tuner gives to each server itself, and variables of a shell."""

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
    found: dict[str, Value] = {}
    for one in given(shlex.split(flags)):
        for name, value in parts(*value_of(one.name or "", one.values)):
            if isinstance(value, bool | int | float | str):
                found[name] = value
    return found


def hand_settings(said: str) -> HandSettings:
    """Of one --baseline. Raises UsageError."""
    if not said.strip():
        raise UsageError("--baseline is empty: give vLLM's flags, such as '--max-num-seqs 256', or a file of them")
    path = Path(said)
    if _is_file(path):
        found = _of_yaml(path) if path.suffix in (".yaml", ".yml") else _of_text(_read(path), said)
        found = replace(found, said=said)
    elif not said.lstrip().startswith("-") and len(said.split()) == 1:
        raise UsageError(
            f"--baseline {redacted_command([said.strip()])}: there is no such file, and flags begin with --, such as"
            " --max-num-seqs 256"
        )
    else:
        found = _of_text(said, "")
    if not found.params:
        raise UsageError(
            f"--baseline {found.said}: it has no setting that differs from vLLM's defaults, which are launched anyway"
        )
    return found


def _is_file(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # flags that are longer than a name may be
        return False


def _read(path: Path) -> str:
    if not path.is_file():
        raise UsageError(
            f"--baseline {path} cannot be read: it is {'a folder' if path.is_dir() else 'no regular file'}"
        )
    try:
        with path.open("rb") as file:
            read = file.read(_MAX_BYTES + 1)
        if len(read) > _MAX_BYTES:
            raise UsageError(f"--baseline {path} cannot be read: it is larger than {_MAX_BYTES >> 20} MiB")
        return read.decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise UsageError(f"--baseline {path} cannot be read: {reason}") from error


class _Config(BaseModel):
    model_config = ConfigDict(extra="allow")


def _of_yaml(path: Path) -> HandSettings:
    """As vLLM reads its --config: a false value is dropped, `no-x: true` is --no-x."""
    where = f"--baseline {path}: "
    found: dict[str, Value] = {}
    model: str | None = None
    own: list[str] = []
    for key, value in (read_yaml(path, _Config).model_extra or {}).items():
        name = underscored(str(key))
        if name in (MODEL, "model_tag"):
            model = str(value)
        elif name in TUNERS_OWN:
            own.append(name)
        elif value is not None and value is not False:
            if is_off := name.startswith("no_") and value is True:
                name = name.removeprefix("no_")
            _add(found, _parts(name, False if is_off else value, where), where)
    return HandSettings(said=str(path), params=found, model=model, passed_over=tuple(own))


def _of_text(text: str, where: str) -> HandSettings:
    """Of flags, or of a shell command that runs `vllm serve`."""
    try:
        every = shlex.split(text.replace("\\\n", " "), comments=bool(where))
    except ValueError as error:
        raise UsageError(
            f"--baseline{f' {where}' if where else ''}: the quotation marks do not match: {error}"
        ) from error
    serves = next((at for at, word in enumerate(every) if word == "serve" and at), None)
    set_first = next((at for at, word in enumerate(every) if not _VARIABLE.fullmatch(word)), len(every))
    before, words = (every[:set_first], every[set_first:]) if serves is None else (every[:serves], every[serves + 1 :])
    words = words[: next((at for at, word in enumerate(words) if word in _ENDS), len(words))]
    found = _by_name(words, f"--baseline {where}: " if where else "--baseline: ")
    variables = [word.partition("=")[0] for word in before if _VARIABLE.fullmatch(word)]
    shown = redacted_command(every)
    return replace(
        found,
        said=text if shown == shlex.join(every) else shown,
        passed_over=(*found.passed_over, *variables),
    )


def _by_name(words: Sequence[str], where: str) -> HandSettings:
    found: dict[str, Value] = {}
    own: list[str] = []
    model: str | None = None
    _check_words(words, where)
    for one in given(words):
        if one.name is None:
            why = "this is no flag of vLLM" if one.flag.startswith("--") else "write the flag's long name"
            raise UsageError(f"{where}{redacted(one.flag)}: {why}")
        if one.name == MODEL:
            if not one.flag and len(one.values) > 1:
                raise UsageError(f"{where}{redacted_command(one.values[1:2])!r} is no flag: vLLM's begin with --")
            model = one.values[0] if one.values else None
        elif one.name in TUNERS_OWN:
            own.append(one.name)
        else:
            _add(found, _parts(*value_of(one.name, one.values), where), where)
    return HandSettings(said="", params=found, model=model, passed_over=tuple(own))


def _check_words(words: Sequence[str], where: str) -> None:
    for word in words:
        if re.search(r"\$[A-Za-z_{(]", word):
            name = redacted_command([word.partition("=")[0]])
            raise UsageError(f"{where}{name}: a variable of a shell is not known here: write its value")


def _add(found: dict[str, Value], more: Iterator[tuple[str, Value]], where: str) -> None:
    for name, value in more:
        if name in found:
            raise UsageError(f"{where}{name} is given twice: leave one of them out")
        found[name] = value


def _parts(name: str, value: object, where: str) -> Iterator[tuple[str, Value]]:
    """Raises UsageError for what is no argument, and for a secret, whose value is never repeated."""
    if is_secret_argument(name):
        raise UsageError(f"{where}{name} is a secret, and would be stored with the trial: leave it out")
    for part, one in parts(name, value):
        if is_secret_argument(part):
            raise UsageError(f"{where}{part} is a secret, and would be stored with the trial: leave it out")
        if not isinstance(one, bool | int | float | str) or not is_argument(part):
            raise UsageError(f"{where}{part}: expected NAME VALUE in vLLM's own names, found {one!r}")
        if redacted(str(one)) != str(one):
            raise UsageError(f"{where}{part} has a secret in it, and would be stored with the trial: leave it out")
        yield part, one
