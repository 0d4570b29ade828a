"""What an engine must be able to do before anything is launched: say what it is, and what it would make of settings."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import IO, Protocol

from tuner.launch.process import ProcessGroup
from tuner.types import Failed, Params


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """What the engine says of itself. `arguments` are the names that `vllm serve` takes, those of nested configs with dots;
    `import_s` is what one import of it took."""

    version: str
    platform: str
    arguments: frozenset[str]
    import_s: float

    def lacks(self, names: Iterable[str]) -> list[str]:
        """Those that the engine does not take, sorted. Of a part whose whole has no parts that are told (a dictionary of the
        model's, say), vLLM alone can tell."""
        return sorted(name for name in names if not self._takes(name))

    def _takes(self, name: str) -> bool:
        if name in self.arguments:
            return True
        whole = name.rpartition(".")[0]
        is_told = any(known.startswith(f"{whole}.") for known in self.arguments)
        return bool(whole) and not is_told and self._takes(whole)


class CannotFork(Exception):
    """This server must be started plainly; the text says why."""


class Engine(Protocol):
    """Answers for an engine."""

    @property
    def info(self) -> EngineInfo:
        """Raises EngineError if the engine cannot be used."""
        ...

    @property
    def is_alive(self) -> bool: ...

    def resolve(self, arguments: tuple[str, ...]) -> Params | Failed:
        """The settings that `vllm serve *arguments` would use, or its refusal. Raises EngineError if it cannot be asked."""
        ...

    def fork(self, arguments: tuple[str, ...], environment: Mapping[str, str], log: IO[bytes]) -> ProcessGroup:
        """A server of these arguments that imports nothing. Raises CannotFork, EngineError."""
        ...
