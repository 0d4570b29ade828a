"""What is looked for on a node in; the engine of a study, asked on a node of a Ray cluster that has it, out.

The one who answers is an actor (engine_on_node.py) that takes none of the node's cards and cores. When it or its node is lost,
another node is asked. With the other ray_*.py the only door to Ray.
"""

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import IO, Any

from tuner.errors import EngineError, TunerError
from tuner.execute.engine_on_node import EngineOnNode
from tuner.execute.messages import Shown, Sought
from tuner.execute.ray_cluster import SPARE_CHILDREN
from tuner.execute.ray_connection import Node, nodes
from tuner.execute.ray_nodes import Survey, last_line, none_fits, room, surveyed
from tuner.launch.engine import CannotFork, EngineInfo
from tuner.launch.job import Tell
from tuner.launch.process import ProcessGroup
from tuner.types import Failed, HostSpeed, Resolved

#: How often it is looked whether the node still lives, and how long one answer may take: vLLM may be imported twice before it.
_LOOK_S = 2.0
_ANSWER_S = 1_500.0
#: How long vLLM on the node may take to end, before its actor is killed, and vLLM with it, by its guard.
_CLOSE_S = 5.0
#: How often a question is asked anew whose node or actor was lost.
_TRIES = 3


@contextmanager
def asking(ray: ModuleType, sought: Sought, tell: Tell) -> Iterator["NodeEngine"]:
    """The engine of a node that has what is looked for; nothing of it is left on the node afterwards. Raises EngineError where
    no node has it."""
    engine = NodeEngine(ray, sought, tell)
    try:
        yield engine
    finally:
        engine.close()


def preferred(found: Survey) -> list[Node]:
    """The nodes that fit, in the order in which they are asked: those with the most cards, then those whose processor most of
    them have, so that the loss of one node changes little of what is comparable. Pure."""
    processors = Counter(found.reports[node.id].processor for node in found.fit)

    def order(node: Node) -> tuple[int, int, str, str]:
        report = found.reports[node.id]
        return -len(report.gpus), -processors[report.processor], node.address, node.id

    return sorted(found.fit, key=order)


class _Lost(Exception):
    """The node that was asked, or the actor on it, is gone; the text says which."""


class NodeEngine:
    """An Engine that forks nothing: servers are started where Ray finds their cards."""

    def __init__(self, ray: ModuleType, sought: Sought, tell: Tell) -> None:
        self._ray, self._sought, self._tell = ray, sought, tell
        self._asking = threading.RLock()
        self._environment: Mapping[str, str] = {}
        self._info: EngineInfo | None = None
        self._actor: Any = None
        self._node: Node | None = None
        self.shown: Shown = self._ask(lambda actor: actor.shown.remote())
        self._sought = replace(sought, python=self.shown.python, is_named=False)

    @property
    def address(self) -> str:
        """Of the node that is asked."""
        return self._node.address if self._node else "none"

    def begin(self, environment: Mapping[str, str]) -> None:
        """Have vLLM imported with these variables; `info` waits for it. Raises EngineError."""
        self._environment = dict(environment)
        self._info = self._ask(lambda actor: actor.begin.remote(self._environment))
        self._sought = replace(self._sought, version=self._info.version)

    @property
    def info(self) -> EngineInfo:
        if self._info is None:
            self.begin(self._environment)
        assert self._info is not None
        return self._info

    @property
    def is_alive(self) -> bool:
        """One that is lost is replaced when it is needed next."""
        return True

    def resolve(self, arguments: tuple[str, ...]) -> Resolved | Failed:
        """Raises EngineError where no node is left that can be asked."""
        found: Resolved | Failed = self._ask(lambda actor: actor.resolve.remote(arguments, self._environment))
        return found

    def host_speed(self, python: Path) -> HostSpeed:
        """Of the node that is asked, in its own interpreter. Raises EngineError."""
        found: HostSpeed = self._ask(lambda actor: actor.host_speed.remote())
        return found

    def fork(self, arguments: tuple[str, ...], environment: Mapping[str, str], log: IO[bytes]) -> ProcessGroup:
        raise CannotFork("its node is chosen by Ray")

    def close(self) -> None:
        """Nothing of it is left on its node."""
        with self._asking, suppress(self._ray.exceptions.RayError):
            if self._actor is not None:
                self._ray.wait([self._actor.close.remote()], timeout=_CLOSE_S)
            self._forget()

    def _ask(self, question: Callable[[Any], Any]) -> Any:
        """The answer, of another node if one is lost."""
        with self._asking:
            for attempt in range(1, _TRIES + 1):
                try:
                    self._actor = self._actor or self._begun()
                    answer = self._answer(question(self._actor))
                except _Lost as lost:
                    why = str(lost)
                    self._forget()
                else:
                    if isinstance(answer, TunerError):
                        raise answer
                    return answer
                if attempt < _TRIES:
                    self._tell(f"{why} while vLLM was asked there: another node is asked")
            raise EngineError(f"{why}, and so it was {_TRIES} times: look at Ray's log of that node")

    def _begun(self) -> Any:
        """An actor on the first node that fits. Raises EngineError."""
        found = surveyed(self._ray, self._sought)
        able = [node for node in preferred(found) if room(node, self._sought)]
        if not able:
            raise EngineError(none_fits(self._ray, self._sought, found.unfit))
        self._node = able[0]
        kind = self._ray.remote(num_cpus=0, num_gpus=0, max_restarts=0)(EngineOnNode)
        where = {"label_selector": {"ray.io/node-id": self._node.id}, "runtime_env": {"env_vars": SPARE_CHILDREN}}
        return kind.options(**where).remote(self._sought)

    def _answer(self, asked: Any) -> Any:
        """Raises _Lost."""
        assert self._node is not None
        for _ in range(int(_ANSWER_S / _LOOK_S)):
            ended, _ = self._ray.wait([asked], timeout=_LOOK_S)
            if ended:
                try:
                    return self._ray.get(asked)
                except (self._ray.exceptions.RayActorError, self._ray.exceptions.ActorUnschedulableError) as error:
                    raise _Lost(f"Ray's worker on node {self.address} died") from error
                except self._ray.exceptions.RayError as error:
                    raise EngineError(f"vLLM cannot be asked on node {self.address}: {last_line(error)}") from error
            if self._node.id not in {node.id for node in nodes(self._ray)}:
                raise _Lost(f"node {self.address} was lost")
        raise EngineError(f"vLLM on node {self.address} did not answer within {_ANSWER_S:.0f} s")

    def _forget(self) -> None:
        if self._actor is not None:
            with suppress(self._ray.exceptions.RayError):
                self._ray.kill(self._actor)
            self._actor = None
