"""What an agent may do: a tool a verb, with what it takes, what it answers, and whether it changes anything.

The limits are those of the service: each tool calls one method of `Verbs`, with the records that HTTP's handlers give it. It
does not know the protocol.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from tuner.errors import choose
from tuner.serve.asked import ExportAsked, NothingAsked, Page, StudyAsked
from tuner.serve.refused import NotThere, Refused
from tuner.serve.shown import BestShown, OptionsShown, StudyPage, StudyShown, TextShown, TrialPage
from tuner.serve.verbs import Verbs

#: Who asks, in the queue's record.
BY = "an agent (MCP)"
_Study = Annotated[str, Field(min_length=1, max_length=200, description="The study's name.")]


class StudyNamed(NothingAsked):
    """A study by its name."""

    study: _Study


class TrialsAsked(Page):
    """A part of a study's trials."""

    study: _Study


class ExportOf(ExportAsked):
    """A file of a study."""

    study: _Study


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """`asked` and `shown` are the types of its input and output. `ends` is whether it takes away what somebody may want,
    `again` whether the same call twice is the same as once."""

    name: str
    title: str
    about: str
    asked: type[BaseModel]
    shown: Any
    run: Callable[[Verbs, Any], object]
    reads: bool = True
    ends: bool = False
    again: bool = True

    def input_schema(self) -> dict[str, Any]:
        return self.asked.model_json_schema()

    def output_schema(self) -> dict[str, Any]:
        return TypeAdapter(self.shown).json_schema(mode="serialization")

    def answer(self, verbs: Verbs, arguments: Mapping[str, object]) -> object:
        """Raises Refused, and what the verb raises."""
        try:
            asked = self.asked.model_validate(dict(arguments))
        except ValidationError as error:
            raise Refused(_sentence(error, self.asked)) from None
        return self.run(verbs, asked)

    def plain(self, shown: object) -> Any:
        """As JSON has it."""
        return TypeAdapter(self.shown).dump_python(shown, mode="json")


TOOLS: tuple[Tool, ...] = (
    Tool(
        name="options",
        title="What a study may name",
        about="The models, cards, workloads, objectives, engines, formats and limits that a study may name here. Call this"
        " first. Engine sim simulates the card and takes seconds; vllm runs on this machine's GPU and takes hours.",
        asked=NothingAsked,
        shown=OptionsShown,
        run=lambda verbs, asked: verbs.options(),
    ),
    Tool(
        name="list_studies",
        title="List studies",
        about="The studies, the newest first, each with its state, its best trial and its verdict.",
        asked=Page,
        shown=StudyPage,
        run=lambda verbs, asked: verbs.studies(asked),
    ),
    Tool(
        name="create_study",
        title="Start a study",
        about="Queue a study that looks for the launch settings of vLLM that are best for a card, a model and a workload. It"
        " takes the GPU for as long as it runs; ask `show_study` how far it is.",
        asked=StudyAsked,
        shown=StudyShown,
        run=lambda verbs, asked: verbs.create(asked, BY),
        reads=False,
        again=False,
    ),
    Tool(
        name="show_study",
        title="Show a study",
        about="How far a study is, and what it says. `unreal` is SIMULATED or REPLAYED where nothing was measured.",
        asked=StudyNamed,
        shown=StudyShown,
        run=lambda verbs, asked: verbs.study(asked.study),
    ),
    Tool(
        name="pause_study",
        title="Pause a study",
        about="Stop a study for now: every finished trial is kept, and `resume_study` goes on.",
        asked=StudyNamed,
        shown=StudyShown,
        run=lambda verbs, asked: verbs.pause(asked.study),
        reads=False,
        again=False,
    ),
    Tool(
        name="resume_study",
        title="Resume a study",
        about="Queue a study again that was paused or has failed.",
        asked=StudyNamed,
        shown=StudyShown,
        run=lambda verbs, asked: verbs.resume(asked.study),
        reads=False,
        again=False,
    ),
    Tool(
        name="cancel_study",
        title="Cancel a study",
        about="End a study for good. What was measured is kept.",
        asked=StudyNamed,
        shown=StudyShown,
        run=lambda verbs, asked: verbs.cancel(asked.study),
        reads=False,
        ends=True,
        again=False,
    ),
    Tool(
        name="list_trials",
        title="List trials",
        about="A study's trials by number: settings that differ from vLLM's defaults, what was measured, why one failed.",
        asked=TrialsAsked,
        shown=TrialPage,
        run=lambda verbs, asked: verbs.trials(asked.study, Page(limit=asked.limit, after=asked.after)),
    ),
    Tool(
        name="best",
        title="What a study recommends",
        about="The trial that a study recommends, its command, and the verdict: whether it is verified against the defaults.",
        asked=StudyNamed,
        shown=BestShown,
        run=lambda verbs, asked: verbs.best(asked.study),
    ),
    Tool(
        name="export",
        title="A file to deploy",
        about="The launch config of what a study recommends, or of a trial, as text in one of the formats of `options`.",
        asked=ExportOf,
        shown=TextShown,
        run=lambda verbs, asked: verbs.export(asked.study, ExportAsked(**asked.model_dump(exclude={"study"}))),
    ),
)


def tool_named(name: str) -> Tool:
    """Raises NotThere."""
    names = [tool.name for tool in TOOLS]
    if name not in names:
        raise NotThere(f"there is no tool {name[:60]!r}{choose(name[:60], names)}")
    return TOOLS[names.index(name)]


def _sentence(error: ValidationError, asked: type[BaseModel]) -> str:
    """The first thing that is wrong, by its name."""
    first = error.errors(include_url=False)[0]
    place = ".".join(map(str, first["loc"]))[:80]
    if first["type"] == "extra_forbidden":
        return f"there is no {place!r} to say here{choose(place, asked.model_fields)}"
    if first["type"] == "missing":
        return f"{place} is required"
    message = str(first["msg"]).removeprefix("Value error, ")
    return f"{place}: {message[0].lower()}{message[1:]}" if place else message
