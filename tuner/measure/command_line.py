"""A port of this machine, or the command line of a running vLLM, in; where it listens and the settings that it names out.

It reads the system's tables of sockets and processes, of which others' may be hidden. A key among the arguments is never given
on. What a command line leaves to vLLM's defaults is not known from it, and what is in a file of --config neither.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import psutil

from tuner.measure.listening import sockets
from tuner.space.engines import engines_behind
from tuner.space.redaction import redacted
from tuner.space.vllm_flags import given, parts, value_of
from tuner.space.words import is_argument, is_secret_argument
from tuner.types import Params, Value

_SERVES = ("serve", "vllm.entrypoints.openai.api_server")
#: What belongs to the address, not to how it runs.
_ADDRESS = frozenset({"model", "host", "port", "served_model_name", "uds", "root_path"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Listening:
    """`address` is where it listens. `is_told` is whether its command line is that of `vllm serve` without a file of arguments:
    then what is None, or False, was not given. Each of `engines` has `max_num_seqs` of its own."""

    address: str
    is_told: bool
    max_num_seqs: int | None = None
    engines: int = 1
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
    if not is_all(words):
        return Listening(address=address, is_told=False)
    settings = settings_of(words)
    limit = settings.get("max_num_seqs")
    return Listening(
        address=address,
        is_told=True,
        max_num_seqs=limit if isinstance(limit, int) and not isinstance(limit, bool) else None,
        engines=engines_behind(settings),
        is_eager=settings.get("enforce_eager", False) is not False,
    )


def settings_of(argv: Sequence[str]) -> Params:
    """By vLLM's names, a part of a nested config by its dotted name. Nothing of another command, and no secret."""
    begins = next((place for place, word in enumerate(argv) if word in _SERVES), None)
    words = list(argv[begins + 1 :]) if begins is not None else []
    is_first = bool(words) and not words[0].startswith("-")
    found: dict[str, Value] = {}
    for one in given(words):
        values = one.values if is_first else one.values[:1]  # the model may be any word between the flags
        for name, value in parts(*value_of(one.name, values)) if one.name is not None else ():
            if is_argument(name) and not _is_hidden(name) and isinstance(value, bool | int | float | str):
                found[name] = redacted(value) if isinstance(value, str) else value
    if "data_parallel_rank" in found:  # to vLLM this says as much
        found["data_parallel_external_lb"] = True
    return found


def is_all(argv: Sequence[str]) -> bool:
    """Whether a command line is that of a vLLM server, and no file of arguments says more: then what is not in it is vLLM's
    default."""
    return any(word in _SERVES for word in argv) and not any(word.partition("=")[0] == "--config" for word in argv)


def _is_hidden(name: str) -> bool:
    return name in _ADDRESS or is_secret_argument(name)
