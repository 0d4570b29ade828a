"""Loads of one study that run at once on one host: when each may begin, and whether they disturb one another.

In: the defaults measured alone, and launched again beside other loads (an A/A check). Out: turns for the loads. Until it is
known they run together and are marked; where they disturb one another, or that could not be told, one runs at a time while
other servers start. It launches nothing, and knows no other host's loads.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from time import monotonic

from tuner.decide.neighbours import MOST_LOOKS, Disturbance, Told, disturbance, is_fit
from tuner.decide.rank import defaults_of
from tuner.execute.slot import Slot
from tuner.launch.job import Tell, Turn, Turns, at_once
from tuner.record.neighbours import is_of, keep_checked, kept_checked
from tuner.record.store import Store
from tuner.study.setup import Setup
from tuner.study.trial import run_trial
from tuner.study.turns import Loads
from tuner.types import Measured, Outcome, Trial

_POLL_S = 0.1
#: How long a check waits for half of the other slots to be under load, and the share of them, as a mean, beside which it says
#: something.
_PATIENCE_S, _LEAST_LOADED = 120.0, 0.25


class Neighbours:
    """Of one run of a search; turns are taken by the threads of all slots, all else is asked by one thread."""

    def __init__(self, setup: Setup, store: Store, tell: Tell) -> None:
        """Slots that run elsewhere have no neighbours here, and recordings disturb nobody. Raises StorageError."""
        self._setup, self._store, self._tell = setup, store, tell
        self._slots = sum(slot.run is None for slot in setup.slots) if setup.run is run_trial else 1
        self._found: Disturbance | None = None
        self._loads, self._beside = Loads(), list[Measured]()
        self._looks, self._is_checking, self._loaded = 0, False, 0.0
        kept = kept_checked(store, setup.study) if self._slots > 1 else None
        if kept is not None and is_of(kept, self._slots):
            self._heed(kept.found)

    def keeps_free(self, finished: Sequence[Trial], left: int) -> int:
        """How many slots no trial may have: one where a check is due. `left` is how many launches have not ended yet."""
        return int(self._is_due(finished, left))

    def needs_check(self, finished: Sequence[Trial], left: int, running: int) -> bool:
        """Whether the defaults are to be launched again now, in a turn of `check`: `judge` has to be told what came of it."""
        if self._is_due(finished, left) and _alone(finished) is None:
            self._settle(Disturbance(told=Told.UNCLEAR))
        self._is_checking = needs = running > 0 and self._is_due(finished, left)
        return needs

    @property
    def label(self) -> str:
        """What tells the logs of checks apart."""
        return f"-neighbours-{self._looks + 1}"

    def judge(self, finished: Sequence[Trial], beside: Outcome) -> None:
        """What a check found; it is settled then, or another one is due. Raises StorageError."""
        self._is_checking, self._looks = False, self._looks + 1
        if isinstance(beside, Measured) and self._loaded >= _LEAST_LOADED * (self._slots - 1):
            self._beside.append(beside)
        alone, found = _alone(finished), Disturbance(told=Told.UNCLEAR)
        if alone and self._beside:
            found = disturbance(alone, self._beside, self._setup.objectives)
        if found.told is not Told.UNCLEAR or self._looks >= MOST_LOOKS:
            self._settle(found)

    def turns_of(self, slot: Slot) -> Turns:
        """Those of a trial in the slot."""
        return self._loads.turn if self._slots > 1 and slot.run is None else at_once

    @asynccontextmanager
    async def check(self, phase: Tell) -> AsyncIterator[Turn]:
        """The turn of a check's load."""
        end_s = monotonic() + _PATIENCE_S
        phase("waiting until others are under load")
        while 2 * self._loads.count < self._slots - 1 and monotonic() < end_s:
            await asyncio.sleep(_POLL_S)
        async with self._loads.turn(phase) as turn:
            yield turn
        self._loaded = turn.others

    def _is_due(self, finished: Sequence[Trial], left: int) -> bool:
        """Once the defaults are measured, while enough is left to be launched that it is worth knowing."""
        if self._slots < 2 or self._found is not None or self._is_checking or defaults_of(finished) is None:
            return False
        return left >= 2 * self._slots - 1

    def _settle(self, found: Disturbance) -> None:
        keep_checked(self._store, self._setup.study, found, self._slots)
        self._heed(found)

    def _heed(self, found: Disturbance) -> None:
        self._found = found
        self._loads.at_once = self._loads.are_harmless = found.is_undisturbed
        self._tell(_sentence(found))


def _alone(finished: Sequence[Trial]) -> Measured | None:
    """What the defaults did, where it can be compared with."""
    defaults = defaults_of(finished)
    outcome = defaults.outcome if defaults else None
    return outcome if isinstance(outcome, Measured) and is_fit(outcome) else None


def _sentence(found: Disturbance) -> str:
    if found.slower is None or found.low is None or found.high is None:
        what = "there is no measurement of vLLM's defaults, alone and beside others, that could be compared"
    else:
        times = "once" if found.launches == 1 else f"{found.launches} times"
        word = "slower" if found.slower >= 0 else "faster"
        what = (
            f"vLLM's defaults, launched again {times} beside others, were {abs(found.slower):.1%} {word} than alone (slower by"
            f" {found.low:+.1%} to {found.high:+.1%})"
        )
    if found.is_undisturbed:
        return f"launches at once do not disturb one another: {what}"
    how = (
        "launches at once disturb one another"
        if found.told is Told.DISTURBED
        else "launches at once may disturb one another"
    )
    return f"{how}: {what}; from here on one is under load at a time, while others start"
