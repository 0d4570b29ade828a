"""The routes of the API, declared once: what each takes, answers and is called. The server and the OpenAPI document are made of
them. What a verb does is not known here.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from pydantic import BaseModel

from tuner.serve.asked import Decided, ExportAsked, Nothing, NothingAsked, Page, ReportAsked, StudyAsked
from tuner.serve.proposals import ProposalPage, ProposalShown, decide_proposal, proposal, proposals
from tuner.serve.reports import report_of
from tuner.serve.shown import BestShown, HealthShown, OptionsShown, StudyPage, StudyShown, TextShown, TrialPage
from tuner.serve.verbs import Verbs

PREFIX = "/api/v1"
EVENTS, HEALTH, OPENAPI = f"{PREFIX}/studies/{{name}}/events", f"{PREFIX}/health", f"{PREFIX}/openapi.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """A request that was found right: what stands in its path, its query and its body. `by` is who asks."""

    verbs: Verbs
    path: Mapping[str, str]
    query: BaseModel
    body: BaseModel
    by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """`call` blocks. `answer` is the type of what it gives, which `status` stands for; `refusals` are the others that it has of
    its own."""

    method: str
    path: str
    name: str
    about: str
    call: Callable[[Asking], object]
    answer: type
    status: int = 200
    query: type[BaseModel] = NothingAsked
    body: type[BaseModel] | None = None
    refusals: tuple[int, ...] = field(default=())


def _page(asking: Asking) -> Page:
    assert isinstance(asking.query, Page)
    return asking.query


def _create(asking: Asking) -> object:
    assert isinstance(asking.body, StudyAsked)
    return asking.verbs.create(asking.body, asking.by)


def _export(asking: Asking) -> object:
    assert isinstance(asking.query, ExportAsked)
    return asking.verbs.export(asking.path["name"], asking.query)


def _report(asking: Asking) -> object:
    assert isinstance(asking.query, ReportAsked)
    return report_of(asking.verbs, asking.path["name"], asking.query.format)


def _decide(is_approved: bool) -> Callable[[Asking], object]:
    def call(asking: Asking) -> object:
        assert isinstance(asking.body, Decided)
        return decide_proposal(asking.verbs, asking.path["id"], asking.body, is_approved=is_approved)

    return call


_STUDY, _PROPOSAL = f"{PREFIX}/studies/{{name}}", f"{PREFIX}/proposals/{{id}}"
ROUTES = (
    Route(
        method="GET",
        path=f"{PREFIX}/options",
        name="options",
        about="What a request may name.",
        call=lambda asking: asking.verbs.options(),
        answer=OptionsShown,
    ),
    Route(
        method="GET",
        path=f"{PREFIX}/studies",
        name="listStudies",
        about="The studies, the newest first.",
        call=lambda asking: asking.verbs.studies(_page(asking)),
        answer=StudyPage,
        query=Page,
    ),
    Route(
        method="POST",
        path=f"{PREFIX}/studies",
        name="createStudy",
        about="Queue a study.",
        call=_create,
        answer=StudyShown,
        status=201,
        body=StudyAsked,
        refusals=(409,),
    ),
    Route(
        method="GET",
        path=_STUDY,
        name="study",
        about="A study, with what it says.",
        call=lambda asking: asking.verbs.study(asking.path["name"]),
        answer=StudyShown,
        refusals=(404,),
    ),
    *(
        Route(
            method="POST",
            path=f"{_STUDY}/{name}",
            name=f"{name}Study",
            about=about,
            call=call,
            answer=StudyShown,
            body=Nothing,
            refusals=(404, 409),
        )
        for name, about, call in (
            (
                "pause",
                "Stop it for now; what is finished is kept.",
                lambda asking: asking.verbs.pause(asking.path["name"]),
            ),
            (
                "resume",
                "Go on with one that is paused or failed.",
                lambda asking: asking.verbs.resume(asking.path["name"]),
            ),
            ("cancel", "End it; what was measured is kept.", lambda asking: asking.verbs.cancel(asking.path["name"])),
        )
    ),
    Route(
        method="GET",
        path=f"{_STUDY}/trials",
        name="listTrials",
        about="The trials of a study, by number.",
        call=lambda asking: asking.verbs.trials(asking.path["name"], _page(asking)),
        answer=TrialPage,
        query=Page,
        refusals=(404,),
    ),
    Route(
        method="GET",
        path=f"{_STUDY}/best",
        name="best",
        about="What a study recommends.",
        call=lambda asking: asking.verbs.best(asking.path["name"]),
        answer=BestShown,
        refusals=(404, 409),
    ),
    Route(
        method="GET",
        path=f"{_STUDY}/export",
        name="export",
        about="A file to deploy one trial with, or what the study recommends.",
        call=_export,
        answer=TextShown,
        query=ExportAsked,
        refusals=(404, 409),
    ),
    Route(
        method="GET",
        path=f"{_STUDY}/report",
        name="report",
        about="The report of a study.",
        call=_report,
        answer=TextShown,
        query=ReportAsked,
        refusals=(404, 409),
    ),
    Route(
        method="GET",
        path=f"{PREFIX}/proposals",
        name="listProposals",
        about="Configs that are proposed for servers in production.",
        call=lambda asking: proposals(asking.verbs, _page(asking)),
        answer=ProposalPage,
        query=Page,
    ),
    Route(
        method="GET",
        path=_PROPOSAL,
        name="proposal",
        about="One proposal.",
        call=lambda asking: proposal(asking.verbs, asking.path["id"]),
        answer=ProposalShown,
        refusals=(404,),
    ),
    *(
        Route(
            method="POST",
            path=f"{_PROPOSAL}/{name}",
            name=f"{name}Proposal",
            about=about,
            call=_decide(name == "approve"),
            answer=ProposalShown,
            body=Decided,
            refusals=(404, 409),
        )
        for name, about in (
            ("approve", "Approve it: the canary may begin."),
            ("reject", "Reject it: nothing is changed."),
        )
    ),
)

#: Answered by the server itself.
HEALTH_ROUTE = Route(
    method="GET",
    path=HEALTH,
    name="health",
    about="Whether the database is reachable and the queue is run. Needs no token.",
    call=lambda asking: None,
    answer=HealthShown,
    refusals=(503,),
)
