"""A port of this machine, or the command line of a running vLLM, in; where it listens and the settings that it names out.

It reads the system's tables of sockets and processes, of which others' may be hidden. A key among the arguments is never given
on. What a command line leaves to vLLM's defaults is not known from it, and what is in a file of --config neither.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import psutil

from tuner.measure.listening import sockets
from tuner.space.words import SECRET_ARGUMENTS, is_argument
from tuner.space.yaml_file import parse_scalar
from tuner.types import Params, Value

_SERVES = ("serve", "vllm.entrypoints.openai.api_server")
#: How the names of secrets end.
_SECRET = ("_key", "_keys", "_token", "_password", "_secret")
#: What belongs to the address, not to how it runs.
_ADDRESS = frozenset({"model", "host", "port", "served_model_name", "uds", "root_path"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Listening:
    """`address` is where it listens. `is_told` is whether its command line is that of `vllm serve` without a file of arguments:
    then what is None, or False, was not given."""

    address: str
    is_told: bool
    max_num_seqs: int | None = None
    is_eager: bool = False


def listening(port: int) -> Listening | None:
    """None where nobody is seen to listen there."""
    for address, pid in sockets(port):
        return of_words(address, _words(pid))
    return None


def _words(pid: int | None) -> list[str]:
    try:
        return psutil.Process(pid).cmdline() if pid else []
    except psutil.Error:
        return []


def of_words(address: str, words: Sequence[str]) -> Listening:
    """What a command line says; `--max-num-seqs 4`, `--max_num_seqs=4` and the like."""
    if "serve" not in words or any(word.partition("=")[0] == "--config" for word in words):
        return Listening(address=address, is_told=False)
    settings = settings_of(words)
    limit = settings.get("max_num_seqs")
    return Listening(
        address=address,
        is_told=True,
        max_num_seqs=limit if isinstance(limit, int) and not isinstance(limit, bool) else None,
        is_eager=settings.get("enforce_eager", False) is not False,
    )


def settings_of(argv: Sequence[str]) -> Params:
    """By vLLM's names; `--no-enable-x` is `enable_x: False`, and a flag without a value is True. Nothing of another command."""
    begins = next((place for place, word in enumerate(argv) if word in _SERVES), None)
    found: dict[str, Value] = {}
    words = list(argv[begins + 1 :]) if begins is not None else []
    for place, word in enumerate(words):
        if not word.startswith("--"):
            continue
        name, separator, text = word.removeprefix("--").partition("=")
        following = words[place + 1] if place + 1 < len(words) and not words[place + 1].startswith("--") else None
        key = name.replace("-", "_")
        if following is None and not separator and key.startswith("no_"):
            key, following = key.removeprefix("no_"), "false"
        value = parse_scalar(text if separator else following or "true")
        if is_argument(key) and not _is_hidden(key) and isinstance(value, bool | int | float | str):
            found[key] = value
    return found


def _is_hidden(key: str) -> bool:
    return key in _ADDRESS or key in SECRET_ARGUMENTS or key.endswith(_SECRET)
