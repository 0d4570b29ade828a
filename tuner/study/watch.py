"""Who is told what happens while a study runs: the terminal, a page, or a test. Only the protocol, and two of them as one."""

from collections.abc import Sequence
from typing import Protocol

from tuner.types import Proposal, Trial, Underway


class Watch(Protocol):
    """Who is told what happens: the terminal, or a test."""

    def study_continues(self, finished: Sequence[Trial], best: Trial | None) -> None: ...
    def trial_begins(self, proposal: Proposal, of: int) -> None: ...
    def phase(self, name: str) -> None: ...
    def underway(self, state: Underway) -> None: ...
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

    def phase(self, name: str) -> None:
        for one in self._all:
            one.phase(name)

    def underway(self, state: Underway) -> None:
        for one in self._all:
            one.underway(state)

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
