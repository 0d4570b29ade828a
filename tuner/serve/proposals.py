"""Proposals of configs for servers in production, as the API has them: list, read, approve, reject.

Approving says that a person agrees, and no more: a canary is run by an operator, with commands that no request can say.
"""

from dataclasses import dataclass
from datetime import datetime

from tuner.errors import RunError, StorageError, UsageError
from tuner.record.proposals import Difference, Step, StoredProposal
from tuner.record.store import Store
from tuner.retune.proposals import approve, get, listed, log, reject
from tuner.serve.asked import Decided, Page
from tuner.serve.refused import InTheWay, NotThere, Refused
from tuner.serve.tokens import number_after, text_token
from tuner.serve.verbs import Verbs


@dataclass(frozen=True, slots=True, kw_only=True)
class ProposalShown:
    """A config that is proposed instead of the one that servers have, and the log of what became of it, which a list leaves
    out."""

    id: int
    state: str
    urls: tuple[str, ...]
    drift: str
    study_before: str
    study_after: str
    trial: int | None
    verdict: str | None
    gain: float | None
    settings_changes: tuple[Difference, ...]
    workload_changes: tuple[Difference, ...]
    created_at: datetime
    changed_at: datetime
    log: tuple[Step, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ProposalPage:
    """The newest first. `next` begins the next page; None at the end."""

    proposals: tuple[ProposalShown, ...]
    next: str | None


def proposals(verbs: Verbs, page: Page) -> ProposalPage:
    before = None if page.after is None else number_after(page.after)
    found = listed(verbs.reading, limit=page.limit + 1, before=before)
    shown = tuple(_shown(one) for one in found[: page.limit])
    return ProposalPage(proposals=shown, next=text_token(str(shown[-1].id)) if len(found) > page.limit else None)


def proposal(verbs: Verbs, id: str) -> ProposalShown:
    """Raises NotThere."""
    number = _known(verbs.reading, id)
    return _shown(get(verbs.reading, number), log(verbs.reading, number))


def decide_proposal(verbs: Verbs, id: str, decided: Decided, *, is_approved: bool) -> ProposalShown:
    """Raises NotThere, InTheWay where its state does not allow it, Refused for a name or a reason that cannot be meant."""
    number = _known(verbs.reading, id)
    try:
        (approve if is_approved else reject)(verbs.writing, number, by=decided.by, why=decided.why)
    except StorageError:
        raise
    except RunError as error:
        raise InTheWay(str(error)) from None
    except UsageError as error:
        raise Refused(str(error)) from None
    return proposal(verbs, id)


def _known(store: Store, id: str) -> int:
    if not (id.isascii() and id.isdecimal() and len(id) <= 9):
        raise NotThere(f"there is no proposal {id!r}: they have numbers")
    try:
        return get(store, int(id)).number
    except UsageError:
        raise NotThere(f"there is no proposal {id}") from None


def _shown(one: StoredProposal, steps: list[Step] | None = None) -> ProposalShown:
    return ProposalShown(
        id=one.number,
        state=one.state.value,
        urls=one.urls,
        drift=one.drift,
        study_before=one.study_before,
        study_after=one.study_after,
        trial=one.trial,
        verdict=one.verdict,
        gain=one.gain,
        settings_changes=one.settings_changes,
        workload_changes=one.workload_changes,
        created_at=one.created_at,
        changed_at=one.changed_at,
        log=tuple(steps or ()),
    )
