"""What happens in a study in, lines of JSON in a file out, and back: how whoever started `tuner optimize` follows it.

A run writes a `Begin`, then states and notes as they come, and an `End` unless it is killed. Each line is written at once, so
that a reader sees whole lines. A file that cannot be written is given up: nothing of a study depends on it.
"""

import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter, ValidationError

from tuner.errors import TunerError
from tuner.types import Failed, Proposal, Trial, Twin, Underway

#: A state is written as often at the most.
EVERY_S = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Begin:
    """The process of the run."""

    event: Literal["begin"] = "begin"
    pid: int


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What a study does: its `phase`, in trial `trial`, of how many launches it is the first to come. What is not known is
    None. `past_s` of at most `most_s` seconds of the load are over."""

    event: Literal["state"] = "state"
    phase: str
    trial: int | None = None
    of: int | None = None
    past_s: float | None = None
    most_s: float | None = None
    output_throughput: float | None = None
    gpu_utilization: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """A sentence."""

    event: Literal["note"] = "note"
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """How the run ended; `message` is the sentence of one that failed."""

    event: Literal["end"] = "end"
    how: Literal["finished", "failed", "interrupted"]
    message: str | None = None


Event = Begin | State | Note | End
_LINE: TypeAdapter[Event] = TypeAdapter(Annotated[Event, Field(discriminator="event")])


def events_in(lines: bytes) -> list[Event]:
    """What whole lines tell; one that tells nothing is left out."""
    found = []
    for line in lines.splitlines():
        with suppress(ValidationError):
            found.append(_LINE.validate_json(line))
    return found


class EventLog:
    """A Watch that writes what it is told. As a context manager it writes how the block ended. `busy` tells the share of time
    that the GPUs work, None where nobody can."""

    def __init__(self, path: Path, busy: Callable[[], float | None] = lambda: None) -> None:
        self.busy = busy
        self._state, self._told_s, self._is_over = State(phase="starting"), 0.0, False
        self._file: int | None = None
        with suppress(OSError):
            self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def __enter__(self) -> "EventLog":
        self._write(Begin(pid=os.getpid()))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if isinstance(error, KeyboardInterrupt):
            self.end("interrupted")
        elif isinstance(error, TunerError):
            self.end("failed", str(error))
        elif error is not None:
            self.end("failed", f"it ended by an error of its own ({type(error).__name__}): its log has more")
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def end(self, how: Literal["finished", "failed", "interrupted"], message: str | None = None) -> None:
        """Only the first one counts."""
        if not self._is_over:
            self._is_over = True
            self._write(End(how=how, message=message))

    def study_continues(self, finished: Sequence[Trial], best: Trial | None) -> None:
        launched = sum(trial.attempts > 0 for trial in finished)
        self.note(f"{launched} {'trial is' if launched == 1 else 'trials are'} finished already")

    def trial_begins(self, proposal: Proposal, of: int) -> None:
        self._tell(State(phase="proposing", trial=proposal.number, of=of))

    def phase(self, name: str, trial: int | None = None) -> None:
        self._tell(State(phase=name, trial=self._state.trial if trial is None else trial, of=self._state.of))

    def underway(self, state: Underway, trial: int | None = None) -> None:
        if trial is not None and trial != self._state.trial:
            return  # of several that run at once the one is told that has told its phase last
        self._state = replace(
            self._state, past_s=state.past_s, most_s=state.most_s, output_throughput=state.tokens_per_s
        )
        if time.monotonic() >= self._told_s + EVERY_S:
            self._tell(replace(self._state, gpu_utilization=self.busy()))

    def trial_ended(self, trial: Trial, best: Trial | None) -> None:
        if isinstance(trial.outcome, Failed):
            self.note(f"trial {trial.number}: {trial.outcome.kind.value}: {trial.outcome.message}")
        elif isinstance(trial.outcome, Twin):
            self.note(f"trial {trial.number} is not launched, for it equals trial {trial.outcome.equals}")

    def verification_begins(self, role: str, launch: int, of: int) -> None:
        self._tell(State(phase=f"launching {role} again, {launch} of at most {of}"))

    def note(self, text: str) -> None:
        self._write(Note(text=text))

    def detail(self, text: str) -> None:
        return

    def _tell(self, state: State) -> None:
        self._state, self._told_s = state, time.monotonic()
        self._write(state)

    def _write(self, event: Event) -> None:
        if self._file is not None:
            with suppress(OSError):  # a full disk
                os.write(self._file, _LINE.dump_json(event, exclude_none=True) + b"\n")
