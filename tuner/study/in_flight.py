"""Attempts in, their outcomes out as they end: the launches of a search that run at once, each in a slot.

It proposes nothing, and stores nothing.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from tuner.execute.pool import Pool
from tuner.execute.slot import Slot
from tuner.launch.vllm import Launch, Seen
from tuner.study.attempt import Attempt, equals
from tuner.types import Outcome, Place, Proposal

#: Is told of each server as it is started.
Run = Callable[[Attempt, Slot, Seen], Outcome]


@dataclass(slots=True)
class _Flight:
    """`beside` is how many others ran at once with it, at the most; `host` and `gpus` are those of another host."""

    attempt: Attempt
    beside: int
    slot: Slot
    host: str | None = None
    gpus: tuple[str, ...] = ()

    def seen(self, launch: Launch) -> None:
        self.host, self.gpus = launch.host, tuple(gpu.uuid for gpu in launch.gpus)

    @property
    def place(self) -> Place:
        gpus = self.gpus or tuple(gpu.uuid for gpu in self.slot.gpus)
        return Place(slot=self.slot.number, gpus=gpus, beside=self.beside, host=self.host)


class InFlight:
    """Of one run of a search. Where there is one slot, a launch is run by whoever begins it, and has ended by then. What runs
    when the block ends is cancelled, and waited for."""

    def __init__(self, slots: Sequence[Slot]) -> None:
        self._slots = tuple(slots)
        self._pool = Pool(slots) if len(self._slots) > 1 else None
        self._flights: dict[Future[Outcome], _Flight] = {}

    def __len__(self) -> int:
        return len(self._flights)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pool is not None:
            self._pool.close()

    @property
    def free(self) -> int:
        """How many slots have nothing to do."""
        return len(self._slots) - len(self._flights)

    @property
    def proposals(self) -> list[Proposal]:
        """Of the trials."""
        return [flight.attempt.proposal for flight in self._flights.values() if not flight.attempt.is_check]

    @property
    def searched(self) -> int:
        """How many of them the search proposed."""
        return sum(proposal.baseline is None for proposal in self.proposals)

    def has_equal(self, attempt: Attempt) -> bool:
        """Whether the same server is being launched."""
        return any(equals(flight.attempt, attempt) for flight in self._flights.values())

    def begin(self, attempt: Attempt, launch: Run) -> None:
        """Raises what a launch in the only slot does."""
        flight = _Flight(attempt, len(self._flights), self._slots[0])
        for other in self._flights.values():
            other.beside = max(other.beside, len(self._flights))

        def run(slot: Slot) -> Outcome:
            flight.slot = slot
            return launch(attempt, slot, flight.seen)

        if self._pool is not None:
            self._flights[self._pool.submit(run)] = flight
            return
        done: Future[Outcome] = Future()
        done.set_result(run(self._slots[0]))
        self._flights[done] = flight

    def landed(self) -> tuple[Attempt, Outcome, Place]:
        """The first that ends, once it has. Raises what its launch did."""
        done, _ = wait(self._flights, return_when=FIRST_COMPLETED)
        first = min(done, key=lambda future: self._flights[future].attempt.number)
        flight = self._flights.pop(first)
        return flight.attempt, first.result(), flight.place
