"""A surface in, what a study runs on out: a host that answers for the engine, and what answers a job instead of a launch.

Nothing is launched. It does not know who asks, or why.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from tuner.decide.early import stopped
from tuner.decide.objective import Objective
from tuner.decide.slo import Slo
from tuner.launch.engine import CannotFork, EngineInfo
from tuner.launch.job import Job, RunTrial, Tell
from tuner.launch.process import ProcessGroup
from tuner.launch.vllm import Seen
from tuner.replay.clock import VirtualClock
from tuner.replay.file import Header, SurfaceFile, check_named, read_surface
from tuner.replay.points import NEIGHBOURS, Answer, Points, points_of
from tuner.space.gpus import UNSET
from tuner.space.parameters import Categorical, Int, Parameter
from tuner.space.search_space import SearchSpace
from tuner.types import Failed, FailureKind, Mark, Measured, Outcome, Resolved, Value
from tuner.types.resolved import digest_of
from tuner.types.settings import flag, option


class Surface:
    """A file of recorded measurements. It answers once `within` has said of which space its points are."""

    def __init__(self, file: SurfaceFile) -> None:
        self._file = file
        self._points: Points | None = None

    @property
    def header(self) -> Header:
        """What the file says of itself: GPU, model, engine, workload."""
        return self._file.header

    def names(self, parameters: Iterable[str]) -> bool:
        """Whether a line names one of these."""
        return not self._named.isdisjoint(parameters)

    @property
    def _named(self) -> frozenset[str]:
        return frozenset(
            (*(self.header.defaults or {}), *(name for one in self._file.recordings for name in one.params))
        )

    def searched(self, space: SearchSpace) -> SearchSpace:
        """The space without those parameters of its groups that no line names: they were never searched."""
        known = self._named
        never = {name for name, p in space.parameters.items() if p.group is not None and name not in known}
        return space if len(never) == len(space.parameters) else space.without(never)

    @property
    def fingerprint_text(self) -> str:
        """The engine's version. The file's content is a part of it, so that a study only goes on with the same surface."""
        version = self.header.engine_version or "of an unknown version"
        engine = version if "vLLM" in version else f"vLLM {version}"
        return f"REPLAYED {engine}, surface {self._file.digest[:16]}"

    def describe(self) -> str:
        """One line for the screen."""
        points = len({frozenset(recording.params.items()) for recording in self._file.recordings})
        how = "nearest point"
        if self.header.answer == "interpolate":
            how = f"interpolated between the {NEIGHBOURS} nearest points"
        return f"REPLAYED from {self._file.path}: {points:,} points, {how}"

    def check(self, objectives: Sequence[Objective], slos: Sequence[Slo]) -> None:
        """Raises UsageError with the line of a measurement that lacks what these are of."""
        check_named(self._file, objectives, slos)

    def within(self, space: SearchSpace) -> Points:
        """Its points as those of this space, from now on. Raises UsageError with the line that has no place in it."""
        self._points = points_of(self._file, space)
        return self._points

    def runner(self, clock: VirtualClock) -> RunTrial:
        """What answers a job instead of a launch. The same job is always answered alike; launches of the same settings may
        differ where the file has several recordings of them."""

        async def run(job: Job, seen: Seen, phase: Tell, note: Tell) -> Outcome:
            assert self._points is not None, "the surface's space is not known"
            phase("replaying")
            answer = _as_far_as_needed(self._points.answer(job.params, f"{job.workload.seed} {job.log.stem}"), job)
            note(f"replayed: {answer.origin}")
            if job.timeout_s is not None and answer.took_s > job.timeout_s:
                clock.advance(job.timeout_s)
                message = f"not done within {job.timeout_s:g} s (--trial-timeout); it took {answer.took_s:g} s"
                return Failed(kind=FailureKind.TRIAL_TIMEOUT, message=message)
            clock.advance(answer.took_s)
            return _counted(answer.outcome, job.gpu_count)

        return run


def _counted(outcome: Outcome, gpus: int | None) -> Outcome:
    """A measurement with how many GPUs served it, where its recording does not say."""
    if not isinstance(outcome, Measured) or outcome.load.gpus is not None:
        return outcome
    return replace(outcome, load=replace(outcome.load, gpus=gpus))


def _as_far_as_needed(answer: Answer, job: Job) -> Answer:
    """What a launch would have told whose window is stopped as soon as it cannot outdo what it has to: its numbers are those of
    the record, and it takes less time."""
    found = answer.outcome
    if job.outdo is None or not isinstance(found, Measured) or Mark.STOPPED_EARLY in found.marks:
        return answer
    window_s, value = found.load.window_s, found.load.output_throughput
    if window_s is None or value is None:
        return answer
    ended = stopped(job.outdo, value, window_s)
    if ended is None or ended[0] >= answer.took_s:
        return answer
    past_s, seen = ended
    load = replace(found.load, window_s=past_s)
    marks = (*found.marks, Mark.STOPPED_EARLY)
    outcome = replace(found, load=load, marks=marks, at_best=seen.at_best / seen.value)
    return replace(answer, outcome=outcome, took_s=max(past_s, answer.took_s - window_s + past_s))


def open_surface(path: Path) -> Surface:
    """Raises UsageError "path:line: ..." for a file that cannot be replayed."""
    return Surface(read_surface(path))


class ReplayEngine:
    """Answers as that vLLM would which the surface is a recording of: its defaults, and what it refused."""

    def __init__(self, surface: Surface, space: SearchSpace) -> None:
        """Raises UsageError if the surface is none of this space."""
        self._space, self._points = space, surface.within(space)
        self._info = EngineInfo(
            version=surface.fingerprint_text,
            platform="cuda" if space.gpu.names else "cpu",
            arguments=frozenset({*space.parameters, *space.fixed}),
            import_s=0.0,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    @property
    def info(self) -> EngineInfo:
        return self._info

    @property
    def is_alive(self) -> bool:
        return True

    def resolve(self, arguments: tuple[str, ...]) -> Resolved | Failed:
        """The recorded defaults with what is passed instead, or the recorded refusal.

        A quantized checkpoint hides its quantization, which no argument names then: those settings are refused when they are
        launched.
        """
        try:
            passed = {
                name: value
                for name, parameter in self._space.parameters.items()
                if (value := _passed(arguments, name, parameter, self._points.defaults[name])) is not None
            }
        except _NotRecorded as error:
            return Failed(kind=FailureKind.REJECTED, message=str(error))
        resolved = {**self._space.fixed, **self._points.defaults, **passed}
        if "--served-model-name" in arguments and "quantization" in self._space.parameters:
            del resolved["quantization"]
            return Resolved(settings=resolved, digest=digest_of(arguments[0], resolved))
        answer = self._points.answer(passed, "")
        if isinstance(answer.outcome, Failed) and answer.outcome.kind is FailureKind.REJECTED:
            return replace(answer.outcome, message=f"{answer.outcome.message} ({answer.origin})")
        return Resolved(settings=resolved, digest=digest_of(arguments[0], resolved))

    def fork(self, arguments: tuple[str, ...], environment: Mapping[str, str], log: IO[bytes]) -> ProcessGroup:
        raise CannotFork("a replay launches nothing")


class _NotRecorded(Exception):
    """A sentence."""


def _passed(arguments: tuple[str, ...], name: str, parameter: Parameter, default: Value) -> Value | None:
    """The value of an argument; None where it is not passed. Raises _NotRecorded for one that no recording can have."""
    if isinstance(parameter, Categorical):
        choices = (choice for choice in (*parameter.choices, default) if choice != UNSET)
        passed = [choice for choice in choices if _stands_in(flag(name, choice), arguments)]
        if not passed and option(name) in arguments:
            raise _NotRecorded(f"no value of {name} was recorded that is {_words_after(arguments, name)!r}")
        return max(passed, key=lambda choice: len(flag(name, choice)), default=None)  # a list that begins as another
    if option(name) not in arguments:
        return None
    text = _words_after(arguments, name)
    try:
        return int(text) if isinstance(parameter, Int) else float(text)
    except ValueError as error:
        raise _NotRecorded(f"{name} is a number, and {text!r} is none") from error


def _words_after(arguments: tuple[str, ...], name: str) -> str:
    """All of them, where there are several."""
    at = arguments.index(option(name)) + 1
    end = next((i for i in range(at, len(arguments)) if arguments[i].startswith("--")), len(arguments))
    return " ".join(arguments[at:end])


def _stands_in(words: tuple[str, ...], arguments: tuple[str, ...]) -> bool:
    return any(arguments[at : at + len(words)] == words for at, word in enumerate(arguments) if word == words[0])
