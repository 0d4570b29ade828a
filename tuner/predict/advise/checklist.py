"""What is known of a model, a card, a load and a server in; the deployment checklist, a line each with its evidence, out. Pure.

What nobody looked at is `not known`, and says why. What is predicted says so. It asks no server and reads no file.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from tuner.predict.advise.case import Case
from tuner.types import Workload


class Level(StrEnum):
    """How a line of the checklist stands."""

    OK = "ok"
    WARNING = "warning"
    WRONG = "wrong"
    UNKNOWN = "not known"


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """`evidence` has the numbers that say so, `remedy` what to do, empty where there is nothing."""

    name: str
    level: Level
    evidence: str
    remedy: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFiles:
    """What a model's folder says of the end of an answer: the ids in generation_config.json, else in config.json; and whether a
    chat template is there."""

    end_ids: tuple[int, ...]
    source: str
    has_template: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyFound:
    """A study of this model and card: when its last launch ended, whether all of it is done, what it answers, and by how many
    launches that was verified (0: not)."""

    name: str
    ended_at: datetime | None
    is_finished: bool
    answer: str
    launches: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenServer:
    """What was read of a server that runs; None is what it does not tell. `sent` requests were sent at once, and `running_max`
    were seen to run together. `max_num_seqs`, which each of `engines` has, `is_eager` and `address` (where it listens) are from
    its process on this machine; with `has_process` what its command line does not name is at its default. `streaming` and
    `stopping` are of the two conversations. `hits` is the share of prompt tokens that came from the prefix cache so far."""

    model: str
    is_here: bool
    is_secure: bool
    is_vllm: bool
    sent: int = 0
    running_max: float | None = None
    max_model_len: int | None = None
    kv_cache_tokens: int | None = None
    prefix_caching: bool | None = None
    hits: float | None = None
    has_process: bool = False
    max_num_seqs: int | None = None
    engines: int = 1
    is_eager: bool | None = None
    address: str | None = None
    needs_key: bool | None = None
    streaming: tuple[Level, str, str] = (Level.UNKNOWN, "not tried", "")
    stopping: tuple[Level, str, str] = (Level.UNKNOWN, "not tried", "")

    @property
    def most_at_once(self) -> int | None:
        """Requests that its engines run together at the most."""
        return None if self.max_num_seqs is None else self.max_num_seqs * self.engines


@dataclass(frozen=True, kw_only=True)
class Facts:
    """`case` is None where the model's shape cannot be read, `why_not` says why, or why nothing is predicted of it; then
    `is_predicted` is False. `seen` is None without a URL. `studies` are those of the database, None where it cannot be read,
    and `database` is its name or the reason."""

    workload: Workload
    case: Case | None
    is_predicted: bool
    why_not: str
    files: ModelFiles | None
    seen: SeenServer | None
    studies: Sequence[StudyFound] | None
    database: str
    now: datetime
    is_cpu: bool = False


#: What the lines that need a server say without one.
NO_URL = "no --url"


def line(name: str, level: Level, evidence: str, remedy: str = "") -> Line:
    return Line(name=name, level=level, evidence=evidence, remedy=remedy)


def ok(name: str, evidence: str) -> Line:
    return Line(name=name, level=Level.OK, evidence=evidence)


def warning(name: str, evidence: str, remedy: str) -> Line:
    return Line(name=name, level=Level.WARNING, evidence=evidence, remedy=remedy)


def wrong(name: str, evidence: str, remedy: str = "") -> Line:
    return Line(name=name, level=Level.WRONG, evidence=evidence, remedy=remedy)


def unknown(name: str, why: str) -> Line:
    """What nobody looked at, and why."""
    return Line(name=name, level=Level.UNKNOWN, evidence=why or NO_URL)
