"""The lines of a vLLM server's log in; the errors that may be the cause of its end, weighed, in the log's order, out. Pure.

Several processes write into one log, so a sentence that goes on in the next line goes on in the next line of the same process.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum, auto


class Weight(Enum):
    """What an error is worth as a cause."""

    CAUSE = auto()  # says why
    PROGRAM = auto()  # what a compiler or a linker said
    LAST = auto()  # NCCL's last error, which is a line of its own
    WARNED = auto()  # what was only warned of, but is never written on a healthy host
    BARE = auto()  # an exception without a sentence
    FAILED_RUN = auto()  # that another program failed
    DEATH = auto()  # that a process is gone
    WRAPPER = auto()  # that something below failed


@dataclass(frozen=True, slots=True)
class LogError:
    """An error's text, whether vLLM refuses the settings by it, whether a quantization's code raised it, and whether vLLM was
    still being imported."""

    text: str
    weight: Weight = Weight.CAUSE
    refuses: bool = False
    quantization: bool = False
    importing: bool = False


@dataclass(frozen=True, slots=True)
class _Line:
    """`text` is without the prefixes of process and level; `before` and `after` are the same process's."""

    text: str
    speaker: str
    level: str
    before: str = ""
    after: str = ""


_ANSI = re.compile(r"\x1b\[[\d;]*m")
_SPEAKER = re.compile(r"^(?:\([\w.:-]+(?:[ ,][\w.:-]*)*(?: ?pid=\d+[^()]*)?\)\s+|\[rank\d+\]:\s*)+")
_LEVEL = re.compile(r"^(ERROR|CRITICAL|WARNING|INFO|DEBUG)[: ]\s*(?:[\d-]+ [\d:.,]+ )?(?:\[[^\]]+\]|[\w.]+:\d+\])?\s*")
_NAMED = re.compile(
    r"(?:^|[\s.(])((?:\w*(?:Error|Exception|Timeout)|NVMLError_\w+|gaierror|OfflineModeIsEnabled|InvalidCxxCompiler)): .+"
)
#: Exceptions of any name, by the module before it.
_DOTTED = re.compile(r"^(?:[a-z_]\w*\.)+([A-Z]\w+): .+")
_BARE = re.compile(r"(?:\w+\.)*(\w*(?:Error|Exception))")
_REPR = re.compile(r"""^(\w+(?:Error|Exception))\((['"])(.+)\2,?\)$""")
_USAGE = re.compile(r"[\w. -]+: error: (.+)")
_VALUE = re.compile(r"(?:Value error|Assertion failed), (.+?)(?: \[type=.*)?")
_FATAL = re.compile(
    r"^(?:Failed: (?:Cuda|CUDA|NCCL|Nccl) error .+|what\(\):\s+(.+)|Fatal Python error: .+|\S+: symbol lookup error: .+"
    r"|.*error while loading shared libraries: .+|\*\*\* SIG(?:BUS|ILL) received.*|Illegal instruction.*|Bus error.*)$"
)
_DEATH = re.compile(r"((?:[Ee]ngine ?[Cc]ore|Worker|RayWorker)[^:]*(?:died|exited) unexpectedly(?: \([^)]*\))?)")
_WRAPPER = re.compile(
    r"Engine core initialization failed|EngineCore failed to start|WorkerProc (hit|initialization failed)"
    r"|Worker failed with error|Engine process failed to start|validation errors? for|engine is dead|EngineDeadError"
    r"|Failed core proc|EngineCore encountered|RuntimeError: cancelled|SystemExit|exited unexpectedly"
    r"|background loop has errored"
)
_FAILED_RUN = re.compile(
    r"returned non-zero exit status|CalledProcessError|SubprocException|Ninja build failed|Error building extension"
    r"|Internal Triton PTX codegen error|PTXASError|Failed to compile|CompilationError: at |BackendCompilerFailed"
    r"|Failed to (infer device type|build|load .*extension)"
)
_PROGRAM = re.compile(
    r"fatal error: |(?:ptxas|nvcc|cicc|fatbinary|clang)\s*(?:fatal|error)\s*: |cannot find -l|^ninja: (?:error|fatal)"
    r"|LLVM ERROR: |#error |^error: command |: error: "
    r"|(?:^|: )(?:/\S+/)?(?:nvcc|gcc|g\+\+|cc|c\+\+|ninja|ld|ptxas|clang)\S*: .*not found"
    r"|^\S*ld\S*: .*(?:cannot|No space)|[Cc]ommand not found"
)
#: What is only warned of, but explains a failure that does not say why.
_WARNED = re.compile(
    r"NCCL WARN .*|CUDA initialization: .*|Can't initialize NVML.*|Failed to import from vllm\._C.*|.*\bXid\b.*"
    r"|.*Out of memory: Kill.*|.*compiled using NumPy 1.*|.*not compatible with the current PyTorch installation.*"
    r"|.*[Dd]river/library version mismatch.*|.*insufficient shared memory.*|.*shared memory segment.*"
)
#: Printed on healthy starts and stops too.
_HARMLESS = re.compile(
    r"Warning: |could not create a primitive descriptor|NCCL INFO|leaked|ProcessManager|warnings\.warn"
    r"|Exception ignored in"
)
_RAISED_FROM = re.compile(r"(The above exception was the direct cause|During handling of the above exception)")
_READY = "Application startup complete"
_CONFIGURED = "Initializing a V1 LLM engine"
_IMPORTED = re.compile(r"non-default args|vLLM API server version|" + _CONFIGURED)
_SERVES = re.compile(r'"POST /v1/\S+ HTTP/[\d.]+" 200|generation throughput: (?!0\.0 )[\d.]+')
_QUANTIZATION = "/quantization/"


def errors_of(lines: Sequence[str]) -> list[LogError]:
    """All that may be the cause of the server's end."""
    found: list[tuple[int, str, LogError]] = []
    read = _read(lines)
    served = [number for number, line in enumerate(read) if _READY in line.text or _SERVES.search(line.text)]
    ready = next((number for number, line in enumerate(read) if _READY in line.text), len(read))
    configuring, importing, frames = True, True, dict[str, tuple[str, bool]]()
    for number, line in enumerate(read):
        importing = importing and not _IMPORTED.search(line.text)
        if _RAISED_FROM.match(line.text) and found and found[-1][2].weight is Weight.BARE:
            found.pop()
        frame, quantized = frames.get(line.speaker, ("", False))
        if error := _error(line, configuring):
            quantization = quantized if error.text.startswith("NotImplementedError") else _QUANTIZATION in frame
            found.append((number, line.speaker, replace(error, quantization=quantization, importing=importing)))
            quantized = False
        elif line.text.startswith("Traceback "):
            frame, quantized = "", False
        if line.text.startswith('File "') and "/vllm/" in line.text:
            frame, quantized = line.text, quantized or _QUANTIZATION in line.text
        frames[line.speaker] = frame, quantized
        configuring = configuring and _CONFIGURED not in line.text
    return _not_survived(found, served, ready)


def line_text(line: str) -> str:
    """A line without the prefixes of process and level."""
    return _LEVEL.sub("", _SPEAKER.sub("", _ANSI.sub("", line).strip())).strip()


def _not_survived(found: Sequence[tuple[int, str, LogError]], served: Sequence[int], ready: int) -> list[LogError]:
    """Without what the server lived on after, as long as there is a cause left: errors before its start was complete or before
    it served two more requests, and the API server's answers to single clients."""
    last = max(served[-2] if len(served) > 1 else -1, ready if ready in served else -1)
    own = [
        error
        for number, speaker, error in found
        if number > last and not (number > ready and "APIServer" in speaker and error.weight is Weight.CAUSE)
    ]
    says_why = (Weight.CAUSE, Weight.PROGRAM, Weight.BARE, Weight.DEATH)
    return own if any(error.weight in says_why for error in own) else [error for _, _, error in found]


def _read(lines: Sequence[str]) -> list[_Line]:
    read: list[_Line] = []
    last: dict[str, int] = {}
    for number, raw in enumerate(lines):
        plain = _ANSI.sub("", raw).strip()
        speaker = found[0] if (found := _SPEAKER.match(plain)) else ""
        level = found[1] if (found := _LEVEL.match(plain[len(speaker) :])) else ""
        text = line_text(raw)
        previous = last.get(speaker)
        before = ""
        if previous is not None:
            read[previous] = replace(read[previous], after=text)
            says = read[previous].text.strip("^~ ")
            before = read[previous].text if says else read[previous].before
        read.append(_Line(text, speaker, level, before))
        last[speaker] = number
    return read


def _error(line: _Line, configuring: bool) -> LogError | None:
    if warned := _WARNED.search(line.text):
        return LogError(warned[0], Weight.WARNED)
    if line.before == "Last error:" and line.text:
        return LogError(line.text, Weight.LAST)
    if line.level not in ("INFO", "DEBUG") and (died := _DEATH.search(line.text)):
        return LogError(died[1], Weight.DEATH)
    if line.level in ("INFO", "DEBUG", "WARNING"):
        return None
    if error := _value_error(line.text, line.before):
        return error
    if _HARMLESS.search(line.text):
        return None
    return _said(line) or _named(line, configuring)


def _said(line: _Line) -> LogError | None:
    """What programs and C++ print."""
    if fatal := _FATAL.match(line.text):
        return LogError(fatal[1] or fatal[0])
    if _PROGRAM.search(line.text) and not _NAMED.match(line.text) and not _DOTTED.match(line.text):
        return LogError(line.text, Weight.PROGRAM)
    return None


def _named(line: _Line, configuring: bool) -> LogError | None:
    """An exception."""
    text = line.text
    if as_repr := _REPR.match(text):
        return LogError(f"{as_repr[1]}: {as_repr[3]}")
    dotted = _DOTTED.match(text)
    named = _NAMED.search(text)
    if not (dotted or named):
        bare = _BARE.fullmatch(text)
        return LogError(f"{bare[1]} at {line.before}", Weight.BARE) if bare else None
    name = dotted[1] if dotted else named[1] if named else ""
    start = dotted.start(1) if dotted else named.start(1) if named else 0
    whole = (f"{text[start:]} {line.after}" if text.endswith(":") else text[start:]).strip()
    if _WRAPPER.search(whole):
        return LogError(whole, Weight.WRAPPER)
    if _FAILED_RUN.search(whole):
        return LogError(whole, Weight.FAILED_RUN)
    return LogError(whole, refuses=configuring and name in ("ValueError", "NotImplementedError"))


def _value_error(text: str, before: str) -> LogError | None:
    """pydantic's and argparse's own ways to refuse a value; they have no exception's name on the line."""
    if (found := _VALUE.fullmatch(text)) or (
        (found := _USAGE.fullmatch(text)) and re.match(r"(\S*vllm|\S*python|usage)", text) is not None
    ):
        return LogError(found[1], refuses=True)
    if text.startswith("Input should be "):
        return LogError(f"{before}: {text.split(' [type=')[0]}", refuses=True)
    return None
