"""What a person, a page or an agent does with proposals: list, read, approve, reject. Each step is in the audit log.

Approving here only says that a person agreed, and why. The canary runs where an operator runs it, with commands of his own.
"""

import socket
from datetime import UTC, datetime

from tuner.errors import RunError, UsageError
from tuner.launch.processes import is_alive, place
from tuner.record.proposals import Proposals, State, Step, StoredProposal
from tuner.record.store import Store
from tuner.space.words import not_printable
from tuner.study.lease import is_seen

_MOST_WHO, _MOST_WHY = 200, 2000


def listed(store: Store, *states: State, limit: int | None = None, before: int | None = None) -> list[StoredProposal]:
    """The newest first."""
    return Proposals(store).listed(*states, limit=limit, before=before)


def get(store: Store, number: int) -> StoredProposal:
    """Raises UsageError when there is none of that number."""
    return Proposals(store).get(number)


def log(store: Store, number: int | None = None) -> list[Step]:
    """Who did what, when and why, in order: with one proposal, or with all."""
    return Proposals(store).log(number)


def approve(store: Store, number: int, *, by: str, why: str) -> StoredProposal:
    """Note that a person agrees. Raises UsageError for a name or a reason that cannot be meant, RunError where the proposal is
    in no state to be approved."""
    step = _said(number, by, "approved", why)
    Proposals(store).move(number, State.APPROVED, step)
    return get(store, number)


def reject(store: Store, number: int, *, by: str, why: str) -> StoredProposal:
    """Note that it is not wanted; a canary that was left unfinished, too, once it is undone by hand."""
    found = get(store, number)
    step = _said(number, by, "rejected", why)
    if found.state is State.CANARY and not is_unfinished(found):
        raise RunError(f"the canary of proposal {number} is under way: end that command (Ctrl-C), which reverts it")
    Proposals(store).move(number, State.REJECTED, step)
    return get(store, number)


def is_unfinished(proposal: StoredProposal) -> bool:
    """Whether its canary was begun and the tuner that ran it is dead. What runs on another host is taken to live."""
    holder = proposal.holder
    if proposal.state is not State.CANARY or holder is None:
        return False
    if holder.host == socket.gethostname() and _boot(holder.process.place) != _boot(place()):
        return True
    return is_seen(holder.process, holder.host) and not is_alive(holder.process)


def step(number: int | None, who: str, what: str, why: str) -> Step:
    """An entry of the log, now."""
    return Step(proposal=number, at=datetime.now(UTC), who=who, what=what, why=why)


def tuner_itself() -> str:
    """Who did what no person did."""
    return f"tuner on {socket.gethostname()}"


def _boot(place: str | None) -> str | None:
    """What was before the host started anew is dead."""
    return None if place is None else place.partition("/")[0]


def _said(number: int, by: str, what: str, why: str) -> Step:
    for name, text, most in (("by", by, _MOST_WHO), ("why", why, _MOST_WHY)):
        if not text.strip():
            raise UsageError(f"{name} is empty: say who {what} it, and why")
        if len(text) > most:
            raise UsageError(f"{name} has {len(text)} characters, and {most} are the most")
        if trouble := not_printable(text.replace("\n", " ")):
            raise UsageError(f"{name}: {trouble}")
    return step(number, by.strip(), what, why.strip())
