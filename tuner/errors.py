"""The errors that tuner raises on purpose; whoever catches TunerError catches them all.

TunerError                 one sentence: what was wrong, where, what to do
├── UsageError             the user's input: flag, YAML, model path, database, study name     exit 2
└── RunError               the world: something tuner needs failed or is missing              exit 1
    ├── InstallError       the engine's environment cannot be built
    ├── EngineError        vLLM is missing, too old, or cannot be asked
    ├── StorageError       the database cannot be read or written, or has a newer schema
    └── LaunchError        one launch failed: carries a `Failed`, becomes the trial's outcome
"""

from tuner.types import Failed


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
