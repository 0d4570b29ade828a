"""The routes of the service in; tools for an agent out: the same verbs, records, limits and sentences. It knows no protocol.

An agent decides nothing about servers in production: approving and rejecting a proposal is a person's, and no tool.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter

from tuner.errors import choose
from tuner.serve.reading import read_body, read_query
from tuner.serve.refused import NotThere, Refused
from tuner.serve.routes import ROUTES, Asking, Route
from tuner.serve.shown import TextShown
from tuner.serve.verbs import Verbs

#: Who asks, as the queue notes it.
BY = "an agent (MCP)"
MAX_BYTES = 65_536
_MAX_NAME = 200
_A_PERSONS = ("approveProposal", "rejectProposal")
_ENDS = ("cancelStudy",)
#: What an agent has to know beside what the route says.
_MORE: Mapping[str, str] = {
    "options": " Call this first: only what it names can be asked for. Engine sim simulates the card and takes seconds; vllm"
    " runs on this machine's GPU, for hours.",
    "createStudy": " It looks for the launch settings of vLLM that are best for a card, a model and a workload. Ask `study` how"
    " far it is.",
    "study": " `state` says how far it is; `unreal` is SIMULATED or REPLAYED where nothing was measured.",
    "best": " Its verdict says whether it is verified against vLLM's defaults: say it where you tell of it.",
    "export": " `format` is one of those that `options` names.",
    "report": " Ask for `markdown`: html is a page for people.",
}
_WORD = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """A route, as a tool. `key` is what the name in its path is called here, None where there is none."""

    route: Route
    name: str
    key: str | None

    @property
    def about(self) -> str:
        return self.route.about + _MORE.get(self.route.name, "")

    @property
    def reads(self) -> bool:
        return self.route.method == "GET"

    @property
    def ends(self) -> bool:
        """Whether it takes away what somebody may want."""
        return self.route.name in _ENDS

    def input_schema(self) -> dict[str, Any]:
        schema = (self.route.body or self.route.query).model_json_schema()
        properties = schema.setdefault("properties", {})
        if self.key is not None:
            about = f"The {self.key}'s name, or its number where it has one."
            name = {"type": ["string", "integer"], "minLength": 1, "maxLength": _MAX_NAME, "description": about}
            schema["properties"] = {self.key: name, **properties}
            schema["required"] = [self.key, *schema.get("required", ())]
        return schema

    def output_schema(self) -> dict[str, Any]:
        return TypeAdapter(self.route.answer).json_schema(mode="serialization")

    def call(self, verbs: Verbs, arguments: Mapping[str, object]) -> object:
        """It blocks. Raises Refused, and what the verb raises."""
        left = dict(arguments)
        text = json.dumps(left)
        if len(text) > MAX_BYTES:
            raise Refused(f"the arguments are larger than {MAX_BYTES} bytes")
        path = {} if self.key is None else {_in_path(self.route): self._name(left)}
        query = read_query(self.route.query, {} if self.route.body else left)  # type: ignore[arg-type]  # it checks
        body = query if self.route.body is None else read_body(self.route.body, json.dumps(left).encode())
        return self.route.call(Asking(verbs=verbs, path=path, query=query, body=body, by=BY))

    def _name(self, arguments: dict[str, object]) -> str:
        assert self.key is not None
        name = arguments.pop(self.key, None)
        if isinstance(name, int) and not isinstance(name, bool):
            name = str(name)
        if not isinstance(name, str) or not 0 < len(name) <= _MAX_NAME:
            raise Refused(f"{self.key}: expected a name of 1 to {_MAX_NAME} characters")
        return name

    def plain(self, found: object) -> Any:
        """As JSON has it."""
        answer: TypeAdapter[Any] = TypeAdapter(self.route.answer)
        return answer.dump_python(found, mode="json")

    def text(self, found: object) -> str:
        """As an agent reads it: a file as it is, all else as JSON."""
        return found.text if isinstance(found, TextShown) else json.dumps(self.plain(found), ensure_ascii=False)


def _in_path(route: Route) -> str:
    (name,) = _WORD.findall(route.path)
    return str(name)


def _tool(route: Route) -> Tool:
    keys = {"name": "study", "id": "proposal"}
    named = [keys[word] for word in _WORD.findall(route.path)]
    word = re.sub("([A-Z])", r"_\1", route.name).lower()
    return Tool(route=route, name=word, key=named[0] if named else None)


TOOLS: Mapping[str, Tool] = {tool.name: tool for tool in map(_tool, ROUTES) if tool.route.name not in _A_PERSONS}


def tool_named(name: str) -> Tool:
    """Raises NotThere."""
    if name not in TOOLS:
        raise NotThere(f"there is no tool {name[:60]!r}{choose(name[:60], TOOLS)}")
    return TOOLS[name]
