"""Who is told what happens while a study runs: the terminal, a page, or a test. Only the protocol, two of
them as one, and one that several threads tell."""

import threading
from collections.abc import Sequence
from typing import Protocol

from tuner.types import Proposal, Trial, Underway


class Watch(Protocol):
    """Who is told what happens: the terminal, or a test. A phase, or how far a load is, is that of `trial`; of the one that
    began last where that is None."""

    def study_continues(self, finished: Sequence[Trial], best: Trial | None) -> None: ...
    def trial_begins(self, proposal: Proposal, of: int) -> None: ...
    def phase(self, name: str, trial: int | None = None) -> None: ...
    def underway(self, state: Underway, trial: int | None = None) -> None: ...
    def trial_ended(self, trial: Trial, best: Trial | None) -> None: ...
    def verification_begins(self, role: str, launch: int, of: int) -> None: ...
    def note(self, text: str) -> None: ...
    def detail(self, text: str) -> None: ...


class Both:
    """Two are told the same."""

    def __init__(self, first: Watch, second: Watch) -> None:
        self._all = (first, second)

    def study_continues(self, finished: Sequence[Trial], best: Trial | None) -> None:
        for one in self._all:
            one.study_continues(finished, best)

    def trial_begins(self, proposal: Proposal, of: int) -> None:
        for one in self._all:
            one.trial_begins(proposal, of)

    def phase(self, name: str, trial: int | None = None) -> None:
        for one in self._all:
            one.phase(name, trial)

    def underway(self, state: Underway, trial: int | None = None) -> None:
        for one in self._all:
            one.underway(state, trial)

    def trial_ended(self, trial: Trial, best: Trial | None) -> None:
        for one in self._all:
            one.trial_ended(trial, best)

    def verification_begins(self, role: str, launch: int, of: int) -> None:
        for one in self._all:
            one.verification_begins(role, launch, of)

    def note(self, text: str) -> None:
        for one in self._all:
            one.note(text)

    def detail(self, text: str) -> None:
        for one in self._all:
            one.detail(text)


class Shared:
    """Told by several threads, of several trials at once; `of` is who is told of one of them."""

    def __init__(self, watch: Watch, trial: int | None = None, lock: "threading.RLock | None" = None) -> None:
        self._watch, self._trial, self._lock = watch, trial, lock or threading.RLock()

    def of(self, trial: int) -> "Shared":
        return Shared(self._watch, trial, self._lock)

    def study_continues(self, finished: Sequence[Trial], best: Trial | None) -> None:
        with self._lock:
            self._watch.study_continues(finished, best)

    def trial_begins(self, proposal: Proposal, of: int) -> None:
        with self._lock:
            self._watch.trial_begins(proposal, of)

    def phase(self, name: str, trial: int | None = None) -> None:
        with self._lock:
            self._watch.phase(name, self._trial if trial is None else trial)

    def underway(self, state: Underway, trial: int | None = None) -> None:
        with self._lock:
            self._watch.underway(state, self._trial if trial is None else trial)

    def trial_ended(self, trial: Trial, best: Trial | None) -> None:
        with self._lock:
            self._watch.trial_ended(trial, best)

    def verification_begins(self, role: str, launch: int, of: int) -> None:
        with self._lock:
            self._watch.verification_begins(role, launch, of)

    def note(self, text: str) -> None:
        with self._lock:
            self._watch.note(text)

    def detail(self, text: str) -> None:
        with self._lock:
            self._watch.detail(text)
