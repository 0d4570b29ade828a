"""Loads of one study that run at once on one host: when each may begin, and whether they disturb one another.

In: the defaults measured alone, and their very server loaded again beside other loads (an A/A check). Out: turns for the loads.
Nobody's load begins before that of the defaults has ended. Until it is known they run together and are marked; where they
disturb one another, or that could not be told, one runs at a time while other servers start. It launches nothing, and knows no
other host's loads.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from time import monotonic

from tuner.decide.neighbours import MOST_LOOKS, Disturbance, Told, disturbance, is_fit
from tuner.decide.rank import defaults_of
from tuner.errors import LaunchError
from tuner.execute.slot import Slot
from tuner.launch.job import Again, Reload, Tell, Turn, Turns, at_once
from tuner.record.neighbours import is_of, keep_checked, kept_checked
from tuner.record.store import Store
from tuner.study.setup import Setup
from tuner.study.trial import run_trial
from tuner.study.turns import Loads
from tuner.types import Measured, Trial

_POLL_S = 0.1
#: How long a check waits for half of the other slots to be under load, and the share of them, as a mean, beside which it says
#: something.
_PATIENCE_S, _LEAST_LOADED = 300.0, 0.25


class Neighbours:
    """Of one run of a search; turns and checks are those of the threads of all slots, all else is asked by one thread."""

    def __init__(self, setup: Setup, store: Store, tell: Tell) -> None:
        """Slots that run elsewhere have no neighbours here, and recordings disturb nobody. Raises StorageError."""
        self._setup, self._store, self._tell = setup, store, tell
        self._slots = sum(slot.run is None for slot in setup.slots) if setup.run is run_trial else 1
        self._found: Disturbance | None = None
        self._loads, self._is_checking, self._is_kept = Loads(), False, False
        kept = kept_checked(store, setup.study) if self._slots > 1 else None
        if kept is not None and is_of(kept, self._slots):
            self._is_kept = True
            self._heed(kept.found)

    def keeps_free(self, finished: Sequence[Trial], left: int) -> int:
        """How many slots no trial may have: one where the defaults are to be launched again, because the run that measured them
        did not check. `left` is how many launches have not ended yet."""
        return int(self._is_due(finished, left))

    def needs_check(self, finished: Sequence[Trial], left: int, running: int) -> bool:
        """Whether they are to be launched again now; where they had failed, or could not be compared with, that would tell
        nothing. Raises StorageError."""
        if self._is_due(finished, left) and not _are_comparable(finished):
            self._heed(Disturbance(told=Told.UNCLEAR))
            self._keep()
        return running > 0 and self._is_due(finished, left)

    def begin(self, left: int, *, is_first: bool) -> Again | None:
        """The defaults are launched; what is done with their server once it is measured, None where all is known, or it is not
        worth it. `left` are the launches beside and after this one; where it `is_first`, the load of none begins before."""
        self._loads.held = is_first and self._slots > 1
        self._is_checking = self._found is None and self._is_worth_it(left)
        return self.check if self._is_checking else None

    def end(self, *, is_first: bool) -> None:
        """That launch has ended; what was found is kept. Where a second one has found nothing, none will. Raises
        StorageError."""
        self._loads.held = self._is_checking = False
        if self._found is None and not is_first:
            self._heed(Disturbance(told=Told.UNCLEAR))
        self._keep()

    def turns_of(self, slot: Slot, *, is_default: bool = False) -> Turns:
        """Those of a launch in the slot."""
        if self._slots < 2 or slot.run is not None:
            return at_once
        return self._loads.alone if is_default else self._loads.turn

    async def check(self, alone: Measured, reload: Reload, phase: Tell) -> None:
        """Load the server that was measured alone again, beside others, until it is known whether these disturb it."""
        found, beside = Disturbance(told=Told.UNCLEAR), list[Measured]()
        for _ in range(MOST_LOOKS if is_fit(alone) else 0):
            if (measured := await self._look(reload, phase)) is None:
                break
            beside.append(measured)
            found = disturbance(alone, beside, self._setup.objectives)
            if found.told is not Told.UNCLEAR:
                break
        self._heed(found)

    async def _look(self, reload: Reload, phase: Tell) -> Measured | None:
        """What the same server does beside others; None where that could not be seen."""
        seen = list[Turn]()

        @asynccontextmanager
        async def turns(phase: Tell) -> AsyncIterator[Turn]:
            async with self._loads.turn(phase) as turn:
                yield turn
            seen.append(turn)

        end_s = monotonic() + _PATIENCE_S
        phase("waiting until others are under load")
        while 2 * self._loads.count < self._slots - 1:
            if monotonic() > end_s:
                return None
            await asyncio.sleep(_POLL_S)
        phase("once more, beside others")
        try:
            measured = await reload(turns)
        except LaunchError:
            return None
        return measured if seen[0].others >= _LEAST_LOADED * (self._slots - 1) else None

    def _is_due(self, finished: Sequence[Trial], left: int) -> bool:
        is_known = self._found is not None or self._is_checking
        return not is_known and self._is_worth_it(left) and defaults_of(finished) is not None

    def _is_worth_it(self, left: int) -> bool:
        return self._slots > 1 and left >= 2 * self._slots - 1

    def _keep(self) -> None:
        """Once, and not in the thread of a slot: where the database refuses it, no measurement is lost with it."""
        if self._found is not None and not self._is_kept:
            keep_checked(self._store, self._setup.study, self._found, self._slots)
            self._is_kept = True

    def _heed(self, found: Disturbance) -> None:
        self._found = found
        self._loads.at_once = self._loads.are_harmless = found.is_undisturbed
        self._tell(_sentence(found))


def _are_comparable(finished: Sequence[Trial]) -> bool:
    """Whether anything can be compared with what the defaults did."""
    defaults = defaults_of(finished)
    return defaults is not None and isinstance(defaults.outcome, Measured) and is_fit(defaults.outcome)


def _sentence(found: Disturbance) -> str:
    if found.slower is None or found.low is None or found.high is None:
        what = "there is no measurement of vLLM's defaults, alone and beside others, that could be compared"
    else:
        times = "once" if found.launches == 1 else f"{found.launches} times"
        word = "slower" if found.slower >= 0 else "faster"
        what = (
            f"vLLM's defaults, loaded again {times} beside others, were {abs(found.slower):.1%} {word} than alone (slower by"
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
