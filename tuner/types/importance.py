"""What each setting of a search was worth, as far as its trials can tell."""

from dataclasses import dataclass
from enum import StrEnum

from tuner.types.settings import Value


class Credit(StrEnum):
    """What is known of a setting's own effect."""

    EFFECT = "has an effect"
    NOTHING = "no effect seen"
    ALIASED = "not told apart"  # it was changed with others, and what it does cannot be told from what they do
    UNKNOWN = "too few trials"
    FIXED = "not varied"


@dataclass(frozen=True, slots=True, kw_only=True)
class Importance:
    """Of one setting. `effect` is by how much the objective at the `best` of its values is above that at the `worst`, as a
    share, the other settings as they were in the trials; [low, high] is its 95 % interval. All of these are None unless its
    credit is EFFECT or NOTHING. Where it is ALIASED, `aliases` names the settings that changed with it. `alone` is how many
    pairs of trials differ in it alone, `values` how many values of it were measured."""

    name: str
    credit: Credit
    values: int
    alone: int = 0
    effect: float | None = None
    low: float | None = None
    high: float | None = None
    best: Value | None = None
    worst: Value | None = None
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Importances:
    """Of one objective, by its `metric`: `settings`, those with the greatest effect first, from `trials` of the `measured`
    ones."""

    metric: str
    trials: int
    measured: int
    settings: tuple[Importance, ...]
