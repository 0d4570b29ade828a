"""A workload in; the requests that its users send, as token counts, out. Endless, seeded, pure.

Conversations carry what was said before, and what of a prompt is in the prefix cache is known from the workload alone. It knows
no text and no server.
"""

import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from tuner.types import Workload
from tuner.workload.lengths import draw
from tuner.workload.under_way import UnderWay


@dataclass(frozen=True, slots=True)
class Ask:
    """One request: what it has, of that what an earlier request began with, and what it wants."""

    input_tokens: int
    cached_tokens: int
    output_tokens: int


def conversations(workload: Workload, user: int) -> Iterator[Ask]:
    """What one user asks, one after another. A user of a closed loop is in the middle of a request, as with the load
    generator."""
    rng, prefix = (
        random.Random(f"{workload.seed}:{user}"),
        workload.shared_prefix.tokens if workload.shared_prefix else 0,
    )
    said, turns = 0, None
    if workload.users is not None:
        begun = _under_way(workload).of(user)
        yield Ask(begun.input_tokens, min(prefix, begun.input_tokens - 1), begun.left_tokens)
        said, turns = begun.input_tokens + begun.left_tokens, begun.whole.turns_left
    for _ in itertools.count():
        if turns is None:
            said, turns = 0, draw(workload.turns, rng) if workload.turns else 1
        for _ in range(turns):
            new, output = draw(workload.input_tokens, rng), draw(workload.output_tokens, rng)
            yield Ask(said + new, said or min(prefix, new - 1), output)
            said += new + output
        turns = None


@lru_cache(maxsize=8)
def _under_way(workload: Workload) -> UnderWay:
    return UnderWay(workload)
