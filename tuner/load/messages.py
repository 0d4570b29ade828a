"""What the load generator's controller and its worker processes say to each other, and how: pickles over a socket pair.

The controller sends `Orders`, later `End`, then `Stop`; a worker answers with a `Progress` at each tick, and a `Report` to
`Stop`. A socket that ends means that the other side is dead.
"""

import asyncio
import pickle
from array import array
from dataclasses import dataclass
from typing import Any

from tuner.load.prompts import Recipe
from tuner.types import RequestRecord, Target

_LENGTH_BYTES = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Orders:
    """A load's share for worker `number` of `of`: from `start_s` on, those users or arrivals whose number is its own modulo
    `of`. `first_index` keeps the prompts of several loads with one recipe apart."""

    target: Target
    recipe: Recipe
    number: int
    of: int
    start_s: float
    ramp_s: float
    tick_s: float
    first_index: int


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """The window is over: what is due from `end_s` on is load only, and has no record. Nor has what ended before `from_s`."""

    from_s: float
    end_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """Close all requests and report."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """One worker's totals at a tick, since the start. `unanswered` and `unended` are its users whose first request has no first
    token, or no end; `waiting` are the open requests without output, `sampled_open` those that will have a record. The oldest
    open one was due at `oldest_due_s` (inf without one); the longest that has ended took `longest_s`, and as far as can be
    told no sampled open one will take more than `projected_s`. `client_error` is what this machine has refused it. `delay_s`
    and `reads` are the meter's. `prompt_tokens` are of the requests with a first token (0 where lengths are not ours).
    `answered` are four numbers of each request that ended whole since the last tick: when it was due, when its first and its
    last chunk came, its output tokens. Until now these had `answered_events` and `answered_tokens`, and had asked for
    `answered_asked`."""

    tick: int
    time_s: float
    cpu_s: float
    events: int
    ended: int
    failed: int
    first_error: str | None
    client_error: str | None
    open: int
    waiting: int
    sampled_open: int
    unanswered: int
    unended: int
    oldest_due_s: float
    longest_s: float
    projected_s: float
    last_byte_s: float
    delay_s: float
    reads: int
    exhausted: bool
    prompt_tokens: int
    answered: "array[float]"
    answered_events: int
    answered_tokens: int
    answered_asked: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """One worker's records, whether they had a schedule, and by how much its timers were late at which times."""

    has_schedule: bool
    records: tuple[RequestRecord, ...]
    lag_times_s: "array[float]"
    lags_s: "array[float]"


Message = Orders | End | Stop | Progress | Report


def send(writer: asyncio.StreamWriter, message: Message) -> None:
    data = pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL)
    writer.write(len(data).to_bytes(_LENGTH_BYTES, "big") + data)


async def receive(reader: asyncio.StreamReader) -> Any:
    """The next message. Raises EOFError when the other side is gone."""
    try:
        length = int.from_bytes(await reader.readexactly(_LENGTH_BYTES), "big")
        return pickle.loads(await reader.readexactly(length))
    except (asyncio.IncompleteReadError, ConnectionError) as error:
        raise EOFError from error
