"""A workload in; the requests that its users send, as token counts, out. Endless, seeded, pure.

Conversations carry what was said before, and what of a prompt is in the prefix cache is known from the workload alone. It knows
no text and no server.
"""

import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass

from tuner.types import Workload
from tuner.workload.lengths import draw


@dataclass(frozen=True, slots=True)
class Ask:
    """One request: what it has, of that what an earlier request began with, and what it wants."""

    input_tokens: int
    cached_tokens: int
    output_tokens: int


def conversations(workload: Workload, user: int) -> Iterator[Ask]:
    """What one user asks, one after another. The first answer is a random part of one, as the load generator asks for it:
    else all users would march in step."""
    rng = random.Random(f"{workload.seed}:{user}")
    for number in itertools.count():
        said = 0
        turns = draw(workload.turns, rng) if workload.turns else 1
        for turn in range(turns):
            new, output = draw(workload.input_tokens, rng), draw(workload.output_tokens, rng)
            if number == turn == 0:
                output = rng.randint(1, output)
            prefix = workload.shared_prefix.tokens if workload.shared_prefix else 0
            yield Ask(said + new, said or min(prefix, new - 1), output)
            said += new + output
