"""A server's log and exit code in, the kind of failure and its root-cause line out. Pure.

Errors of EngineCore and the workers are wrapped again and again on their way up ("Engine core initialization failed. See root
cause above."), so the first error that says why is the cause: no wrapper, no error without a sentence that another was raised
from, and above a command that failed what its program said. What was survived is no cause: errors before the server served on,
and the API server's answers to single clients. The hub's errors are the other way round: what is raised last says it best,
what was raised first says which kind it is.
"""

import re
import signal
from collections.abc import Iterable, Sequence
from dataclasses import replace

from tuner.launch.failure_texts import known
from tuner.launch.log_errors import LogError, Weight, errors_of, line_text
from tuner.types import Failed, FailureKind

#: What the hub's own errors decide about.
_OF_THE_HUB = (FailureKind.HUB_UNREACHABLE, FailureKind.MODEL_NOT_FOUND)
#: Raised inside the hub's client; what is raised from them says what they mean.
_INSIDE_HUB = re.compile(
    r"^(Connect\w+|\w*Timeout|ConnectionError|NewConnectionError|MaxRetryError|gaierror|ProxyError|SSLError"
    r"|HTTPError|HTTPStatusError|HfHubHTTPError|OfflineModeIsEnabled|(LocalEntry|Repository|Revision)NotFoundError|GatedRepoError"
    r"|\w*EntryNotFoundError): "
)
_NOISE = re.compile(r"leaked|nanobind|warnings\.warn|\.\.\. skipped remainder|^\W*$")
_SECRET = re.compile(r"hf_[A-Za-z0-9]{10,}|sk-[A-Za-z0-9]{10,}")
_BY_SIGNAL = re.compile(r"(?<=exit code: )-\d+|(?<=': )-\d+")
TAIL_LINES = 60
_GIB = 1024**3
#: What the driver, a desktop and vLLM's own CUDA context take of a card that is free.
_NOBODYS_GIB = 0.5
_NOBODYS_SHARE = 0.05


def classify(
    log: str, exit_code: int | None, *, oom_killed: bool | None = None, memory_bytes: int | None = None
) -> Failed:
    """Why a start failed, or a server died. `exit_code` is None if it was still running at its deadline. `oom_killed` is
    whether the kernel ended a process meanwhile because the host, of `memory_bytes`, had no memory left; None if unknown."""
    lines = [_SECRET.sub("***", line) for line in log.splitlines()]
    tail = "\n".join(lines[-TAIL_LINES:])
    errors = errors_of(lines)
    cause = _cause(errors)
    if exit_code is None:
        message = f"not ready in time; last line: {cause.text if cause else _last(lines)}"
        return Failed(kind=FailureKind.START_TIMEOUT, message=message, log_tail=tail)
    by = _signal(exit_code)
    if cause is None:
        ended = f"was ended by {by}" if by else f"ended with exit code {exit_code}"
        message = f"the server {ended}: {_last(lines)}"
    else:
        message = _sentence(cause.text) + (f" (the server was ended by {by})" if by else "")
    if cause is None or (cause.weight in (Weight.WRAPPER, Weight.DEATH) and not known(cause.text)):
        kind, advice = _by_signal(_signals(errors, exit_code), oom_killed, memory_bytes)
    else:
        kind, found = _kind(cause, errors), known(cause.text)
        advice = found.advice if found and found.kind is kind else ""
    return Failed(kind=kind, message=f"{message}; {advice}" if advice else message, log_tail=tail)


def refusal(sentence: str) -> FailureKind:
    """The kind of vLLM's refusal when it resolved the settings without starting. Its environment is not to blame: it resolved
    the defaults."""
    kinds = (FailureKind.UNSUPPORTED_QUANTIZATION, *_OF_THE_HUB, FailureKind.DISK_FULL)
    found = known(sentence)
    return found.kind if found and found.kind in kinds else FailureKind.REJECTED


def _cause(errors: Sequence[LogError]) -> LogError | None:
    """The first error that says why, unless a process was gone before it; else what a program said before the failure to run
    it; else the least of what there is."""
    says_why = [error for error in errors if error.weight is Weight.CAUSE]
    outside = [error for error in says_why if not _INSIDE_HUB.match(error.text)] or says_why
    died = [error for error in errors if error.weight is Weight.DEATH]
    if outside and not (died and errors.index(died[0]) < errors.index(outside[0])):
        return _better(outside[0], errors)
    for weight in (Weight.PROGRAM, Weight.WARNED, Weight.BARE, Weight.LAST, Weight.FAILED_RUN):
        if of_it := [error for error in errors if error.weight is weight]:
            return of_it[0]
    return next(iter((*died, *errors)), None)


def _better(cause: LogError, errors: Sequence[LogError]) -> LogError:
    """What NCCL itself warned of says more than the error that was made of it; else its last error goes with that."""
    if "NCCL" not in cause.text:
        return cause
    warned = [error for error in errors if error.weight is Weight.WARNED and "NCCL WARN" in error.text]
    if told := next((error for error in warned if known(error.text)), None):
        return told
    last = next((error.text for error in (*warned, *errors) if error.weight in (Weight.LAST, Weight.WARNED)), "")
    return replace(cause, text=f"{cause.text}; {last}") if last else cause


def _kind(cause: LogError, errors: Sequence[LogError]) -> FailureKind:
    found = known(cause.text)
    kind = found.kind if found else None
    if kind is FailureKind.GPU_MEMORY_HELD and _was_free(cause.text):
        return FailureKind.OUT_OF_MEMORY
    if kind in _OF_THE_HUB:
        inside = (error.text for error in errors if _INSIDE_HUB.match(error.text))
        whole = known("\n".join((*inside, cause.text)))
        kind = whole.kind if whole and whole.kind in _OF_THE_HUB else kind
    is_kernel = "CUDA error" in cause.text and kind is not FailureKind.GPU_UNSUPPORTED
    if cause.quantization and kind in (None, FailureKind.GPU_UNSUPPORTED) and not is_kernel:
        return FailureKind.UNSUPPORTED_QUANTIZATION
    if kind:
        return kind
    if cause.refuses:
        return FailureKind.REJECTED
    return FailureKind.ENVIRONMENT if _before_any_setting(cause) else FailureKind.CRASHED


def _was_free(text: str) -> bool:
    """Whether vLLM says of the card's memory that as good as all of it was free: then more than there is was asked for."""
    found = re.search(r"\(([\d.]+)/([\d.]+) GiB\)", text)
    return found is not None and float(found[2]) - float(found[1]) <= max(
        _NOBODYS_GIB, _NOBODYS_SHARE * float(found[2])
    )


def _before_any_setting(cause: LogError) -> bool:
    """Whether something failed to be imported before vLLM had read its settings."""
    return cause.importing and bool(
        re.match(r"(ImportError|ModuleNotFoundError|AttributeError|SyntaxError)\b", cause.text)
    )


def _by_signal(signals: Iterable[str], oom_killed: bool | None, memory_bytes: int | None) -> tuple[FailureKind, str]:
    """The kind of a death that nothing was written of, and what is likely."""
    found = set(signals)
    if "SIGKILL" in found and oom_killed is not False:
        has = f", {memory_bytes / _GIB:.1f} GiB," if memory_bytes else ""
        sure = "the kernel's OOM killer did it" if oom_killed else "the kernel's OOM killer is likely"
        return FailureKind.HOST_MEMORY, f"{sure}: the memory of the host{has} was not enough (see dmesg)"
    for name in ("SIGBUS", "SIGILL"):
        if name in found and (what := known(name)):
            return what.kind, what.advice
    return FailureKind.CRASHED, ""


def _signals(errors: Sequence[LogError], exit_code: int) -> list[str]:
    """The names of the signals that ended the server or processes of it."""
    codes = [int(code) for error in errors for code in _BY_SIGNAL.findall(error.text)]
    return [name for code in (*codes, exit_code) if (name := _signal(code))]


def _signal(exit_code: int) -> str | None:
    """The name of the signal that ended a process, from Popen's -9 or a shell's 137."""
    number = -exit_code if exit_code < 0 else exit_code - 128
    return signal.Signals(number).name if number in {*signal.Signals} else None


def _sentence(text: str) -> str:
    """vLLM's text, with the names of signals, and without the cause that it promises and that is not there."""
    text = _BY_SIGNAL.sub(lambda code: f"{_signal(int(code[0]))}", text)
    return text.replace("See root cause above. ", "The engine died and wrote no cause. ")


def _last(lines: Sequence[str]) -> str:
    return next((line_text(line) for line in reversed(lines) if not _NOISE.search(line)), "no output")
