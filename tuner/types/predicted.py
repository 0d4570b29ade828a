"""What the model of a server says of a trial before it is launched."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from tuner.types.failure import Failed


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A predicted number, in its metric's unit; 95 of 100 measurements of it lie between `low` and `high`."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Predicted:
    """Of one trial: `metrics` by the names that a measurement has, or why it would not start (`failed`). `known` says what the
    model had seen then (tuner.predict.uncertainty.Known), `launches` of how many launches of the study it had learned."""

    known: str
    launches: int = 0
    metrics: Mapping[str, Estimate] = field(default_factory=dict)
    failed: Failed | None = None
