"""Proposals of configs for servers in production: the place where the API meets what watches those. There are none yet."""

from dataclasses import dataclass

from tuner.serve.asked import Decided
from tuner.serve.refused import NotThere
from tuner.serve.verbs import Verbs


@dataclass(frozen=True, slots=True, kw_only=True)
class ProposalShown:
    """A config that is proposed instead of the one that a server has."""

    id: str
    study: str
    state: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ProposalPage:
    """All that are there."""

    proposals: tuple[ProposalShown, ...]


def proposals(verbs: Verbs) -> ProposalPage:
    return ProposalPage(proposals=())


def proposal(verbs: Verbs, id: str) -> ProposalShown:
    raise NotThere(f"there is no proposal {id!r}")


def decide_proposal(verbs: Verbs, id: str, decided: Decided, *, is_approved: bool) -> ProposalShown:
    return proposal(verbs, id)
