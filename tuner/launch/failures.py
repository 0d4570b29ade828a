"""A server's log and exit code in, the kind of failure and its root-cause line out. Pure.

The texts are vLLM 0.25 to 0.32's own. Errors of EngineCore and the workers are wrapped again and again on their way up
("Engine core initialization failed. See root cause above."), so the first error line that is not a wrapper is the cause.
The hub's errors are the other way round: what is raised last says it best, what was raised first says which kind it is.
"""

import re
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tuner.types import Failed, FailureKind

#: Kinds by text, most specific first.
_KINDS: tuple[tuple[FailureKind, str], ...] = (
    (FailureKind.PORT_IN_USE, r"(?i:address already in use)|EADDRINUSE"),
    (FailureKind.START_TIMEOUT, r"Timed out waiting for engine core processes to start"),
    (FailureKind.GPU_MEMORY_CHANGED, r"Error in memory profiling"),
    (
        FailureKind.KV_CACHE_TOO_SMALL,
        r"No available memory for the cache blocks|No free blocks available"
        r"|larger than the (available KV cache memory|maximum number of tokens that can be stored in KV cache)"
        r"|Cannot auto-fit max_model_len|less than requested memory for kv \(-",
    ),
    (
        FailureKind.OUT_OF_MEMORY,
        r"(?i:out of memory)|OutOfMemoryError|MemoryError|not enough GPU memory|ALLOC_FAILED|std::bad_alloc"
        r"|can't allocate memory|Cannot allocate memory|Free memory on device .* on startup is less than"
        r"|less than desired CPU memory utilization|on kv cache allocation is less than requested memory for kv"
        r"|exceed the desired GPU memory utilization",
    ),
    (
        FailureKind.UNSUPPORTED_QUANTIZATION,
        r"Unknown quantization method|Cannot find the config file for|quantization method \S+ is not supported"
        r"|is not supported for quantization method|does not match the quantization method"
        r"|(?i:quantization|quantization scheme) is (currently )?not supported|kernel that can implement"
        r"|FP8 KV cache .* requires|kv_cache_dtype not supported|static_scaled_fp8_quant"
        r"|No module named '(humming|torchao|quark|auto_round|compressed_tensors|fp_quant)"
        r"|Config.__init__\(\) missing \d+ required positional|Bfloat16 is only supported on GPUs",
    ),
    (
        FailureKind.MODEL_NOT_FOUND,
        r"outgoing traffic has been disabled|offline mode is enabled|40[134] Client Error|'40[134] ",
    ),
    (
        FailureKind.HUB_UNREACHABLE,
        r"We couldn't connect to|connection error when trying to load|check your connection"
        r"|(429|5\d\d) (Client|Server) Error|'(429|5\d\d) |HTTPSConnectionPool|Read timed out|read operation timed out"
        r"|name resolution|Name or service not known|Connect(Error|Timeout): |ReadTimeout: ",
    ),
    (
        FailureKind.MODEL_NOT_FOUND,
        r"HFValidationError|LocalEntryNotFoundError|RepositoryNotFoundError|GatedRepoError|RevisionNotFoundError|gated repo"
        r"|does not appear to have|Can't load (the configuration|tokenizer)|instantiate the backend tokenizer"
        r"|not a valid model identifier|Repo id must|Invalid repository ID or local directory|is not a valid git identifier"
        r"|Cannot find an appropriate cached snapshot|Cannot find any model weights|is neither a local folder"
        r"|is not a valid JSON file|JSONDecodeError|SafetensorError",
    ),
    (
        FailureKind.REJECTED,
        r"No common block size|Not enough allowed NUMA nodes|No valid .*attention backend|Selected backend"
        r"|User-specified max_model_len|must be (divisible|greater|a positive)|number of available GPUs|invalid device ordinal",
    ),
)
_QUANTIZATION = "/quantization/"
#: What the hub's own errors decide about.
_OF_THE_HUB = (FailureKind.HUB_UNREACHABLE, FailureKind.MODEL_NOT_FOUND)
_ERROR = re.compile(r"\b(\w*(?:Error|Exception|Timeout)|gaierror|OfflineModeIsEnabled): .+")
_BARE = re.compile(r"(?:\w+\.)*(\w*(?:Error|Exception))")
_USAGE = re.compile(r"[\w. -]+: error: (.+)")
_VALUE = re.compile(r"(?:Value error|Assertion failed), (.+?)(?: \[type=.*)?")
_DEATH = re.compile(
    r"((?:[Ee]ngine ?[Cc]ore|Worker|RayWorker)[^:]*(?:died|exited) unexpectedly(?: \([^)]*\))?)|Fatal Python error: .+"
)
_WRAPPER = re.compile(
    r"Engine core initialization failed|EngineCore failed to start|WorkerProc (hit|initialization failed)"
    r"|Worker failed with error|Engine process failed to start|validation errors? for|engine is dead|EngineDeadError"
    r"|Failed core proc"
)
#: Raised inside the hub's client; what is raised from them says what they mean.
_INSIDE_HUB = re.compile(
    r"^(Connect\w+|\w*Timeout|ConnectionError|NewConnectionError|MaxRetryError|gaierror|ProxyError|SSLError"
    r"|HTTPError|HTTPStatusError|HfHubHTTPError|OfflineModeIsEnabled|(LocalEntry|Repository|Revision)NotFoundError|GatedRepoError"
    r"|\w*EntryNotFoundError): "
)
#: Printed on healthy starts and stops too.
_HARMLESS = re.compile(
    r"WARNING|Warning: |Too many open files|could not create a primitive descriptor|INFO |leaked|ProcessManager|warnings\.warn"
)
_NOISE = re.compile(r"leaked|nanobind|warnings\.warn|\.\.\. skipped remainder|^\W*$")
_PREFIX = re.compile(r"^(\(\S+(?: pid=\d+)?\)\s+)?((?:ERROR|CRITICAL) \S+ \S+ \[[^\]]+\]\s*)?")
_SECRET = re.compile(r"hf_[A-Za-z0-9]{10,}|sk-[A-Za-z0-9]{10,}")
TAIL_LINES = 60


def classify(log: str, exit_code: int | None) -> Failed:
    """Why a start failed, or a server died. `exit_code` is None if it was still running at its deadline."""
    lines = [_SECRET.sub("***", line) for line in log.splitlines()]
    tail = "\n".join(lines[-TAIL_LINES:])
    errors = list(_errors(lines))
    cause = _cause(errors)
    if exit_code is None:
        message = f"not ready in time; last line: {cause.text if cause else _last(lines)}"
        return Failed(kind=FailureKind.START_TIMEOUT, message=message, log_tail=tail)
    by = _signal(exit_code)
    if cause is None:
        ended = f"was ended by {by}" if by else f"ended with exit code {exit_code}"
        return Failed(kind=FailureKind.CRASHED, message=f"the server {ended}: {_last(lines)}", log_tail=tail)
    message = _sentence(cause.text) + (f" (the server was ended by {by})" if by else "")
    return Failed(kind=_kind(cause, errors), message=message, log_tail=tail)


def refusal(sentence: str) -> FailureKind:
    """The kind of vLLM's refusal when it resolved the settings without starting."""
    kinds = (FailureKind.UNSUPPORTED_QUANTIZATION, *_OF_THE_HUB)
    return found if (found := _by_text(sentence)) in kinds else FailureKind.REJECTED


@dataclass(frozen=True, slots=True)
class _Error:
    """An error's text, whether vLLM refuses the settings by it, and whether a quantization's code raised it."""

    text: str
    refuses: bool = False
    quantization: bool = False


def _errors(lines: Sequence[str]) -> Iterator[_Error]:
    """All that may be a cause, in the log's order. A text that ends in a colon goes on in the next line."""
    before, frame, configuring = "", "", True
    texts = [_PREFIX.sub("", line).strip() for line in lines]
    for line, text, after in zip(lines, texts, [*texts[1:], ""][: len(texts)], strict=True):
        if error := _value_error(text, before):
            yield error
        elif (found := _DEATH.search(text)) or (not _HARMLESS.search(line) and (found := _ERROR.search(text))):
            refuses = configuring and found[1] in ("ValueError", "NotImplementedError")
            whole = f"{found[0]} {after}" if text.endswith(":") else found[0]
            yield _Error(whole.strip(), refuses, quantization=_QUANTIZATION in frame)
        elif found := _BARE.fullmatch(text):
            yield _Error(f"{found[1]} at {before}", quantization=_QUANTIZATION in frame)
        configuring = configuring and "Initializing a V1 LLM engine" not in line
        frame = text if text.startswith('File "') and "/vllm/" in text else frame
        before = text if text.strip("^~ ") else before


def _value_error(text: str, before: str) -> _Error | None:
    """pydantic's and argparse's own ways to refuse a value; they have no exception's name on the line."""
    if found := _VALUE.fullmatch(text) or _USAGE.fullmatch(text):
        return _Error(found[1], refuses=True)
    if text.startswith("Input should be "):
        return _Error(f"{before}: {text.split(' [type=')[0]}", refuses=True)
    return None


def _cause(errors: Sequence[_Error]) -> _Error | None:
    """The first error that wraps no other and is not from inside the hub's client; failing that, the first of what there is."""
    own = [error for error in errors if not _WRAPPER.search(error.text)]
    return next((error for error in own if not _INSIDE_HUB.match(error.text)), next(iter((*own, *errors)), None))


def _kind(cause: _Error, errors: Sequence[_Error]) -> FailureKind:
    found = _by_text(cause.text)
    if found in _OF_THE_HUB:
        inside = (error.text for error in errors if _INSIDE_HUB.match(error.text))
        found = _by_text("\n".join((*inside, cause.text)))
    if found:
        return found
    if cause.quantization and "CUDA error" not in cause.text:
        return FailureKind.UNSUPPORTED_QUANTIZATION
    return FailureKind.REJECTED if cause.refuses else FailureKind.CRASHED


def _by_text(text: str) -> FailureKind | None:
    return next((kind for kind, pattern in _KINDS if re.search(pattern, text)), None)


def _signal(exit_code: int) -> str | None:
    """The name of the signal that ended a process, from Popen's -9 or a shell's 137."""
    number = -exit_code if exit_code < 0 else exit_code - 128
    return signal.Signals(number).name if number in {*signal.Signals} else None


def _sentence(text: str) -> str:
    """vLLM's text, with the names of signals, and without the cause that it promises and that is not there."""
    text = re.sub(r"(?<=exit code: )-\d+|(?<=': )-\d+", lambda code: f"{_signal(int(code[0]))}", text)
    return text.replace("See root cause above. ", "The engine died and wrote no cause. ")


def _last(lines: Sequence[str]) -> str:
    return next((_PREFIX.sub("", line).strip() for line in reversed(lines) if not _NOISE.search(line)), "no output")
