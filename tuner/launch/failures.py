"""A server's log and exit code in, the kind of failure and its root-cause line out. Pure.

The texts are vLLM 0.25 to 0.32's own. Errors of EngineCore and the workers are wrapped again and again on their way up
("Engine core initialization failed. See root cause above."), so the first error line that is not a wrapper is the cause.
"""

import re

from tuner.types import Failed, FailureKind

#: Kinds by text, most specific first.
_KINDS: tuple[tuple[FailureKind, str], ...] = (
    (FailureKind.PORT_IN_USE, r"Address already in use"),
    (
        FailureKind.KV_CACHE_TOO_SMALL,
        r"No available memory for the cache blocks"
        r"|larger than the (available KV cache memory|maximum number of tokens that can be stored in KV cache)"
        r"|Cannot auto-fit max_model_len|on kv cache allocation is less than requested memory for kv",
    ),
    (
        FailureKind.OUT_OF_MEMORY,
        r"CUDA out of memory|OutOfMemoryError|not enough GPU memory|DefaultCPUAllocator: can't allocate memory"
        r"|Free memory on device .* on startup is less than desired|less than desired CPU memory utilization"
        r"|Error in memory profiling",
    ),
    (
        FailureKind.UNSUPPORTED_QUANTIZATION,
        r"Unknown quantization method|Cannot find the config file for|quantization method \S+ is not supported"
        r"|is not supported for quantization method|does not match the quantization method"
        r"|FP8 KV cache .* requires|static_scaled_fp8_quant|__init__\(\) missing \d+ required positional argument.*_config"
        r"|Bfloat16 is only supported on GPUs|kernel.* not (found|support).*quant",
    ),
    (
        FailureKind.MODEL_NOT_FOUND,
        r"HFValidationError|LocalEntryNotFoundError|RepositoryNotFoundError|GatedRepoError|RevisionNotFoundError"
        r"|does not appear to have a file named|Can't load the configuration of|not a valid model identifier"
        r"|Repo id must|Cannot find an appropriate cached snapshot|We couldn't connect to"
        r"|Cannot find any model weights|is neither a local folder",
    ),
    (
        FailureKind.REJECTED,
        r"error: (unrecognized arguments|argument |ambiguous option)|Value error, |validation errors? for \w+Config"
        r"|mutually exclusive|User-specified max_model_len|must be (divisible|greater|a positive)",
    ),
)
_ERROR = re.compile(r"\b(\w+(?:\.\w+)*(?:Error|Exception)): (.+)|(\berror: (?:unrecognized|argument|ambiguous).+)")
_WRAPPER = re.compile(
    r"Engine core initialization failed|EngineCore failed to start|WorkerProc (hit|initialization failed)"
    r"|Worker failed with error|Engine process failed to start|validation errors? for|engine is dead|EngineDeadError"
    r"|leaked|ProcessManager"
)
#: Printed on healthy starts too.
_HARMLESS = re.compile(r"WARNING|Too many open files|could not create a primitive descriptor|INFO ")
_PREFIX = re.compile(r"^(\(\S+(?: pid=\d+)?\)\s+)?((?:ERROR|CRITICAL) \S+ \S+ \[[^\]]+\]\s*)?")
_SECRET = re.compile(r"hf_[A-Za-z0-9]{10,}|sk-[A-Za-z0-9]{10,}")
TAIL_LINES = 60


def classify(log: str, exit_code: int | None) -> Failed:
    """Why a start failed. `exit_code` is None if it was still running at its deadline."""
    lines = [_SECRET.sub("***", line) for line in log.splitlines()]
    tail = "\n".join(lines[-TAIL_LINES:])
    cause = _root_cause(lines)
    if exit_code is None:
        message = f"not ready in time; last line: {cause or _last(lines)}"
        return Failed(kind=FailureKind.START_TIMEOUT, message=message, log_tail=tail)
    if cause is None:
        message = f"the server ended with exit code {exit_code}: {_last(lines)}"
        return Failed(kind=FailureKind.CRASHED, message=message, log_tail=tail)
    kind = next((kind for kind, text in _KINDS if re.search(text, cause)), FailureKind.CRASHED)
    return Failed(kind=kind, message=cause, log_tail=tail)


def refusal(sentence: str) -> FailureKind:
    """The kind of vLLM's refusal when it resolved the settings without starting."""
    kinds = (FailureKind.UNSUPPORTED_QUANTIZATION, FailureKind.MODEL_NOT_FOUND)
    return next((k for k, text in _KINDS if k in kinds and re.search(text, sentence)), FailureKind.REJECTED)


def _root_cause(lines: list[str]) -> str | None:
    """The first error that wraps no other; else the first pydantic 'Value error'; else None."""
    for line in lines:
        text = _PREFIX.sub("", line).strip()
        if text.startswith("Value error, "):
            return text.removeprefix("Value error, ").split(" [type=")[0]
        if _HARMLESS.search(line) or _WRAPPER.search(line):
            continue
        if found := _ERROR.search(text):
            return found[3] or f"{found[1].rsplit('.', 1)[-1]}: {found[2]}"
    return None


def _last(lines: list[str]) -> str:
    return next((_PREFIX.sub("", line).strip() for line in reversed(lines) if line.strip()), "no output")
