"""What the engine tells its simulated servers in the environment: the card's data sheet, so that a server starts without
reading YAML, and what tells launches of one command apart."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass

from tuner.space import gpus

CARD_VARIABLE, SALT_VARIABLE = "TUNER_SIM_CARD", "TUNER_SIM_SALT"


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """The keys `gpu` of a search space (tuner.space.Gpu)."""

    names: tuple[str, ...]
    memory_gib: float | None
    compute_capability: str | None
    bandwidth_gb_per_s: float | None
    tflops: Mapping[str, float]

    @property
    def capability(self) -> gpus.Capability | None:
        """(major, minor), None for the CPU."""
        return gpus.parse_capability(self.compute_capability)


def card_named(name: str) -> Card:
    """The card of the environment, else of the search space `name`. Raises UsageError when there is none."""
    told = os.environ.get(CARD_VARIABLE)
    if told is None:
        from tuner.space.files import load_space  # slow to import, and only needed when a person starts the server

        told = load_space(name).gpu.model_dump_json()
    known = json.loads(told)
    return Card(
        names=tuple(known["names"]),
        memory_gib=known["memory_gib"],
        compute_capability=known["compute_capability"],
        bandwidth_gb_per_s=known["bandwidth_gb_per_s"],
        tflops=known["tflops"],
    )
