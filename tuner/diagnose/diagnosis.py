"""A diagnosis: findings with their evidence, their rivals and their remedies. Records only."""

from dataclasses import dataclass
from typing import Literal

from tuner.diagnose.causes import Cause
from tuner.types import Value

Direction = Literal["raise", "lower", "set"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Remedy:
    """A setting that moves a cause. `value` is the one to try next, None where only the direction is known. `gain` is what a
    prediction says of it, relative (0.1: the objective is 10 % better), None where nothing predicts. `why` is a phrase."""

    name: str
    direction: Direction
    value: Value | None = None
    gain: float | None = None
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rival:
    """Another cause that would look alike, and what would tell the two apart."""

    cause: Cause
    apart: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """`strength` is how surely the evidence tells this cause, 0..1: an order, no probability. `evidence` are sentences with
    the numbers, `words` says in plain English what it means."""

    cause: Cause
    strength: float
    evidence: tuple[str, ...]
    rivals: tuple[Rival, ...] = ()
    remedies: tuple[Remedy, ...] = ()
    words: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """The surest finding first; never empty."""

    findings: tuple[Finding, ...]

    def __post_init__(self) -> None:
        assert self.findings, "a diagnosis has a finding, if only that the evidence is insufficient"

    @property
    def first(self) -> Finding:
        """The verdict."""
        return self.findings[0]
