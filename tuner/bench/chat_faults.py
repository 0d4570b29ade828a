"""What can be wrong with a server that chats, as records, and how both answers were asked for. Pure, and judges nothing."""

from dataclasses import dataclass
from enum import StrEnum

from tuner.workload.advice import Advice


class Severity(StrEnum):
    """`wrong` does not work; a `warning` may be meant, or is of no matter to most; a `note` is only to be known."""

    WRONG = "wrong"
    WARNING = "warning"
    NOTE = "note"


class Kind(StrEnum):
    """What can be found; each is tested."""

    UNREACHABLE = "not reachable"
    ASLEEP = "asleep"
    NO_ANSWER = "no answer"
    PAGE = "a page, not an answer"
    REDIRECT = "redirected"
    KEY = "key refused"
    MODEL = "unknown model"
    NO_ROUTE = "no chat route"
    BUSY = "busy"
    NO_TEMPLATE = "no chat template"
    SYSTEM = "no system role"
    REFUSED = "refused"
    FAILED = "failed"
    FORM = "not in the form"
    EMPTY = "empty answer"
    ENDLESS = "does not stop"
    ENDS_IN_TEXT = "stop mark in the text"
    NOT_STREAMED = "does not stream"
    BUFFERED = "stream is held back"
    CUT = "stream is cut"
    NO_DONE = "no [DONE]"
    NO_USAGE = "no usage"
    WRONG_USAGE = "wrong usage"
    CONTENT_TYPE = "content type"
    DIFFER = "answers differ"
    REASONING = "reasoning"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """`what` is the finding with its numbers, `remedy` what to do about it, empty where there is nothing to do."""

    kind: Kind
    severity: Severity
    what: str
    remedy: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """How both were asked: the model, the most tokens of an answer, whether the same answer was to be expected of both, and
    what the makers of the model advise. `system_refused` is what the server said of a system prompt, where it refused one."""

    model: str
    max_tokens: int
    is_alike: bool
    advice: Advice | None = None
    system_refused: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Speed:
    """Of one user on a server as it was just then: seconds to the first chunk with output, tokens a second from there to the
    last, and seconds of the plain answer; None where it cannot be told."""

    ttft_s: float | None
    tokens_per_s: float | None
    plain_s: float | None


def works(faults: tuple[Fault, ...]) -> bool:
    return all(fault.severity is not Severity.WRONG for fault in faults)


def wrong(kind: Kind, what: str, remedy: str = "") -> Fault:
    return Fault(kind=kind, severity=Severity.WRONG, what=what, remedy=remedy)


def warning(kind: Kind, what: str, remedy: str = "") -> Fault:
    return Fault(kind=kind, severity=Severity.WARNING, what=what, remedy=remedy)
