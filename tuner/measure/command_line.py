"""A port of this machine in; where the server behind it listens, and what of vLLM's arguments it was started with, out.

It reads the system's tables of sockets and processes, of which others' may be hidden. A key among the arguments is never given
on: only the arguments that are named here are looked at.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import psutil

from tuner.measure.listening import sockets


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
    flags = {word.partition("=")[0].replace("_", "-") for word in words if word.startswith("--")}
    is_told = "serve" in words and "--config" not in flags
    if not is_told:
        return Listening(address=address, is_told=False)
    return Listening(
        address=address,
        is_told=True,
        max_num_seqs=_number(words, "--max-num-seqs"),
        is_eager="--enforce-eager" in flags,
    )


def _number(words: Sequence[str], flag: str) -> int | None:
    """The last one that is given."""
    found = None
    for word, after in zip(words, [*words[1:], ""], strict=True):
        name, equals, value = word.partition("=")
        if name.replace("_", "-") == flag:
            text = value if equals else after
            found = int(text) if text.isdecimal() else found
    return found
