"""A study in, what is new of it out, as server-sent events: asked again and again by whoever has somebody to tell.

Trials and the study itself are read from the database, so that it does not matter who runs it; states and notes from the file
that the process of a job writes. An event's id says how far both were told, so that who was cut off goes on there. It blocks,
and knows no clients.
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter

from tuner.serve.child import Places
from tuner.serve.shown import StudyShown, TrialShown
from tuner.serve.verbs import Verbs
from tuner.study.events import Begin, End, Event, Note, State, events_in

#: So much of a file is read at once, and looked at from its end for the newest state.
_MOST_BYTES, _TAIL_BYTES = 262_144, 65_536
_ID = re.compile(r"(\d{1,15})-(-?\d{1,9})")
_STUDY, _TRIAL = TypeAdapter(StudyShown), TypeAdapter(TrialShown)
_STATE, _NOTE = TypeAdapter(State), TypeAdapter(Note)


@dataclass(frozen=True, slots=True)
class Place:
    """How far was told: of the file in bytes, of the trials by number."""

    offset: int
    trial: int

    @classmethod
    def parse(cls, text: str | None) -> "Place | None":
        """None for what is no id of ours."""
        found = _ID.fullmatch(text or "")
        return None if found is None else cls(int(found[1]), int(found[2]))


class Following:
    """From its making on."""

    def __init__(self, verbs: Verbs, places: Places, study: str) -> None:
        """Raises NotThere."""
        self._verbs, self._places, self._study = verbs, places, study
        self._token = verbs.token(study)
        self._place = Place(self._size(), verbs.last_trial(study))
        self._shown: StudyShown | None = None
        self._state = _newest(events_in(_read(self._file(), self._place.offset - _TAIL_BYTES, _TAIL_BYTES)))

    def now(self) -> bytes:
        """For who comes new: the study as it is, and what it does."""
        shown = self._verbs.study(self._study)
        self._shown = self._shown or shown
        study = self._event("study", _STUDY.dump_json(shown))
        is_known = (
            self._state is not None and shown.state == "running"
        )  # of a process that was killed no end is written
        return study + (self._event("state", _told(self._state)) if self._state and is_known else b"")

    def since(self, place: Place) -> bytes:
        """For who was cut off there: notes and trials since, then the same."""
        missed = b""
        if place.offset < self._place.offset:
            events = events_in(_read(self._file(), place.offset, min(_MOST_BYTES, self._place.offset - place.offset)))
            missed = b"".join(self._event("note", _told(event)) for event in events if isinstance(event, Note))
        trials = [
            one for one in self._verbs.trials_after(self._study, place.trial, 200) if one.trial <= self._place.trial
        ]
        missed += b"".join(self._event("trial", _TRIAL.dump_json(trial)) for trial in trials)
        return missed + self.now()

    def news(self, *, everything: bool) -> bytes:
        """What is new in the file, and with `everything` in the database. Raises NotThere once the study is deleted."""
        found = self._from_the_file()
        return found + (self._from_the_database() if everything else b"")

    def _from_the_file(self) -> bytes:
        data = _read(self._file(), self._place.offset, _MOST_BYTES)
        whole = data[: data.rfind(b"\n") + 1]
        self._place = Place(self._place.offset + len(whole), self._place.trial)
        events = events_in(whole)
        before, self._state = self._state, _newest(events, self._state)
        told = b"".join(self._event("note", _told(event)) for event in events if isinstance(event, Note))
        if self._state is not None and self._state != before:
            told += self._event("state", _told(self._state))
        return told

    def _from_the_database(self) -> bytes:
        if (token := self._verbs.token(self._study)) != self._token:  # deleted, and asked for again
            self._token, self._place, self._state = token, Place(0, -1), None
        told = b""
        for trial in self._verbs.trials_after(self._study, self._place.trial):
            self._place = Place(self._place.offset, trial.trial)
            told += self._event("trial", _TRIAL.dump_json(trial))
        if (shown := self._verbs.study(self._study)) != self._shown:
            self._shown = shown
            told += self._event("study", _STUDY.dump_json(shown))
        return told

    def _event(self, name: str, data: bytes) -> bytes:
        """JSON has no line breaks."""
        return b"event: %s\nid: %d-%d\ndata: %s\n\n" % (name.encode(), self._place.offset, self._place.trial, data)

    def _file(self) -> Path | None:
        return None if self._token is None else self._places.events(self._token)

    def _size(self) -> int:
        file = self._file()
        return file.stat().st_size if file is not None and file.exists() else 0


def _newest(events: list[Event], before: State | None = None) -> State | None:
    """None of a run that ended, or that has just begun."""
    for event in reversed(events):
        if isinstance(event, State):
            return event
        if isinstance(event, Begin | End):
            return None
    return before


def _told(event: State | Note) -> bytes:
    """Without its name, which stands before it."""
    adapter: TypeAdapter[State] | TypeAdapter[Note] = _STATE if isinstance(event, State) else _NOTE
    return adapter.dump_json(event, exclude={"event"})  # type: ignore[arg-type]


def _read(path: Path | None, offset: int, most: int) -> bytes:
    if path is None:
        return b""
    try:
        with path.open("rb") as file:
            file.seek(max(0, offset), os.SEEK_SET)
            return file.read(most)
    except OSError:
        return b""
