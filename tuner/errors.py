"""The errors that tuner raises on purpose; whoever catches TunerError catches them all.

TunerError                 one sentence: what was wrong, where, what to do
├── UsageError             the user's input: flag, YAML, model path, database, study name     exit 2
└── RunError               the world: something tuner needs failed or is missing              exit 1
    ├── InstallError       the engine's environment cannot be built
    ├── EngineError        vLLM is missing, too old, or cannot be asked
    ├── StorageError       the database cannot be read or written, or has a newer schema
    └── LaunchError        one launch failed: carries a `Failed`, becomes the trial's outcome
"""

import errno
import os
from collections.abc import Iterable

from tuner.types import Failed


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """` (did you mean 'NAME'?)` for a word that is near a known one, to stand in a sentence after it; else nothing."""
    from difflib import get_close_matches  # only where something is wrong

    by_case = {name.lower(): name for name in known}
    near = get_close_matches(word.lower(), by_case, n=1, cutoff=0.6)
    return f" (did you mean {by_case[near[0]]!r}?)" if near else ""


def choose(word: str, known: Iterable[str]) -> str:
    """The same, and all that is known."""
    names = tuple(known)
    return f"{did_you_mean(word, names)}: choose one of {', '.join(names)}"


def is_full(error: OSError) -> bool:
    """Whether the disk, or the user's quota of it, is what was refused."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)


def system_words(problem: OSError) -> str:
    """Of what a connection met, such as "Connection refused", without a number: those of TLS and of names that are not found
    are none of the system's, and mean something else there."""
    is_tls = hasattr(problem, "library")  # ssl.SSLError alone has one
    if is_tls or (problem.errno or 0) <= 0:
        return problem.strerror or str(problem)
    return os.strerror(problem.errno or 0)


class TunerError(Exception):
    """Base of all errors; its text is one sentence for the user. `exit_code` is what the process ends with."""

    exit_code = 1


class UsageError(TunerError):
    """The user's input cannot be used."""

    exit_code = 2


class RunError(TunerError):
    """Something that tuner needs failed."""


class InstallError(RunError):
    """The engine's environment cannot be built."""


class EngineError(RunError):
    """vLLM is missing, too old, or cannot be asked."""


class StorageError(RunError):
    """The database cannot be read or written."""


class LaunchError(RunError):
    """One launch failed. `failed` is the trial's outcome."""

    def __init__(self, failed: Failed) -> None:
        super().__init__(failed.message)
        self.failed = failed
