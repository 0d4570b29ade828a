"""What a node of a cluster is asked of its vLLM and of itself in; answers, or the error instead of one, out. Runs on the node.

It holds vLLM, imported once (launch/fork_server.py), and dies with whoever started it; so does what it holds. It knows no Ray.
"""

from collections.abc import Callable, Mapping
from typing import TypeVar

from tuner.errors import TunerError
from tuner.execute.messages import Shown, Sought
from tuner.execute.node_environment import cards_of_node, forget_scheduler, show_all_cards
from tuner.execute.on_node import python_of_node
from tuner.launch import mps
from tuner.launch.conditions import processor, revision
from tuner.launch.engine import EngineInfo
from tuner.launch.fork_server import ForkServer
from tuner.launch.host_speed import measure_host
from tuner.measure.gpu import tells_energy
from tuner.types import Failed, HostSpeed, Resolved

Found = TypeVar("Found")


class EngineOnNode:
    """Answers one question after another. An error is answered, not raised: Ray would make another of it."""

    def __init__(self, sought: Sought) -> None:
        forget_scheduler()
        show_all_cards()
        self._sought = sought
        self._engine: ForkServer | None = None

    def shown(self) -> Shown | TunerError:
        return _answered(self._shown)

    def begin(self, environment: Mapping[str, str]) -> EngineInfo | TunerError:
        """Import vLLM, once what is searched is known; the answer is the engine's own."""
        return _answered(lambda: self._begun(environment).info)

    def resolve(self, arguments: tuple[str, ...], environment: Mapping[str, str]) -> Resolved | Failed | TunerError:
        return _answered(lambda: self._begun(environment).resolve(arguments))

    def host_speed(self) -> HostSpeed | TunerError:
        return _answered(lambda: measure_host(python_of_node(self._sought)))

    def close(self) -> None:
        """Nothing of vLLM is left."""
        if self._engine is not None:
            self._engine.close()
            self._engine = None

    def _shown(self) -> Shown:
        cards = cards_of_node()
        return Shown(
            cards=cards,
            tell_energy=frozenset(gpu.uuid for gpu in cards.gpus if tells_energy(gpu.uuid)),
            python=python_of_node(self._sought),
            processor=processor(),
            revision=revision(self._sought.model),
            mps=mps.is_there(),
        )

    def _begun(self, environment: Mapping[str, str]) -> ForkServer:
        if self._engine is None:
            self._engine = ForkServer(python_of_node(self._sought), environment)
        return self._engine


def _answered(ask: Callable[[], Found]) -> Found | TunerError:
    try:
        return ask()
    except TunerError as error:
        return error
