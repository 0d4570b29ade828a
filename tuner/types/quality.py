"""What a server answered to fixed questions, to be compared with what another one did."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What the user's own command said of a server: its exit code, and of what it printed a `score`, or by name which answers
    were `right`. None and nothing where it did not say so."""

    exit_code: int
    score: float | None = None
    right: Mapping[str, bool] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """The probes of one launch. `data` is the digest of the questions: others are not compared. `answers` are greedy ones, a
    question each: token ids, or where the server tells none (`are_tokens` is false) the characters' numbers; `nll` is the mean
    negative log-likelihood of a piece of text in nats a token. None is a question that was not answered. `untold` says in a
    sentence each what could not be asked."""

    data: str
    answers: tuple[tuple[int, ...] | None, ...] = ()
    are_tokens: bool = True
    nll: tuple[float | None, ...] = ()
    task: Task | None = None
    untold: tuple[str, ...] = ()

    @property
    def mean_nll(self) -> float | None:
        """Over the pieces, in nats a token; None without any."""
        known = [value for value in self.nll if value is not None]
        return sum(known) / len(known) if known else None
