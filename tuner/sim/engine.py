"""Answers for the simulated engine as vLLM would: what it is, and what it makes of arguments. Starts nothing.

In: the card's search space. Out: settings, from tuner.predict, or vLLM's refusal of them.
"""

from collections.abc import Mapping
from functools import cache
from typing import IO

from tuner.launch.engine import CannotFork, EngineInfo
from tuner.launch.process import ProcessGroup
from tuner.predict.settings import resolve
from tuner.predict.shape import Shape, read_shape
from tuner.predict.unpredicted import with_unpredicted
from tuner.sim.arguments import Refused, known_arguments, parse
from tuner.space.engines import ENGINES
from tuner.space.search_space import Gpu
from tuner.types import Failed, FailureKind, Resolved
from tuner.types.resolved import digest_of

VERSION = "SIMULATED vLLM 0.32"


class SimEngine:
    """A `Engine` for one card."""

    def __init__(self, gpu: Gpu) -> None:
        self._gpu = gpu
        self._shape = cache(read_shape)
        self._info = EngineInfo(version=VERSION, platform="cuda", arguments=known_arguments() | {ENGINES}, import_s=0.0)

    @property
    def info(self) -> EngineInfo:
        return self._info

    @property
    def is_alive(self) -> bool:
        return True

    def shape(self, model: str) -> Shape:
        """Raises UsageError for a model that cannot be simulated."""
        return self._shape(model)

    def resolve(self, arguments: tuple[str, ...]) -> Resolved | Failed:
        """The settings that `vllm serve *arguments` would use, or its refusal. Raises UsageError as `shape` does."""
        try:
            given = parse(arguments)
        except Refused as refused:
            return Failed(kind=FailureKind.REJECTED, message=str(refused))
        settings = resolve(given.params, self.shape(given.model), self._gpu)
        if isinstance(settings, Failed):
            return settings
        told = with_unpredicted(settings, given.passed_over)
        return Resolved(settings=told, digest=digest_of(given.model, told))

    def fork(self, arguments: tuple[str, ...], environment: Mapping[str, str], log: IO[bytes]) -> ProcessGroup:
        raise CannotFork("a simulated server has nothing to import")
