"""The verbs of the service over the Model Context Protocol, on stdin and stdout: the only door to its Python SDK.

What a tool does, takes and answers is in mcp_tools.py. Only the protocol is written to stdout.
"""

import json
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from typing import Any
from urllib.parse import quote, unquote

import anyio
import mcp_types
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server
from mcp.shared.exceptions import MCPError
from pydantic import ValidationError

from tuner.errors import TunerError
from tuner.serve.asked import Page
from tuner.serve.mcp_tools import TOOLS, Tool, tool_named
from tuner.serve.shown import TextShown
from tuner.serve.verbs import Verbs

_INSTRUCTIONS = (
    "tuner finds the launch settings of vLLM that are best for a GPU, a model and its users, by measuring them. Call `options`"
    " first: only what it names can be asked for. `create_study` queues a study, `show_study` tells how far it is, `best` and"
    " `export` give what it recommends. What is not verified, or SIMULATED, says so: say it, too."
)
_BEST = "tuner://studies/{study}/best"
#: Called with a sentence for a fault of tuner's own, whose details stay here.
Log = Callable[[str], None]
_Context = Any


def serve_stdio(verbs: Verbs, log: Log) -> None:
    """Until the client closes its end."""
    anyio.run(partial(_serve, _server(verbs, log)))


async def _serve(server: Server[Any]) -> None:
    async with stdio_server() as (reading, writing):
        await server.run(reading, writing, server.create_initialization_options())


def _server(verbs: Verbs, log: Log) -> Server[Any]:
    async def list_tools(
        context: _Context, params: mcp_types.PaginatedRequestParams | None
    ) -> mcp_types.ListToolsResult:
        return mcp_types.ListToolsResult(tools=[_described(tool) for tool in TOOLS])

    async def call_tool(context: _Context, params: mcp_types.CallToolRequestParams) -> mcp_types.CallToolResult:
        return await anyio.to_thread.run_sync(_called, verbs, params.name, params.arguments or {}, log)

    async def list_resources(
        context: _Context, params: mcp_types.PaginatedRequestParams | None
    ) -> mcp_types.ListResourcesResult:
        after = None if params is None else params.cursor
        return await anyio.to_thread.run_sync(_resources, verbs, after)

    async def list_templates(
        context: _Context, params: mcp_types.PaginatedRequestParams | None
    ) -> mcp_types.ListResourceTemplatesResult:
        return mcp_types.ListResourceTemplatesResult(resource_templates=[_template()])

    async def read_resource(
        context: _Context, params: mcp_types.ReadResourceRequestParams
    ) -> mcp_types.ReadResourceResult:
        return await anyio.to_thread.run_sync(_read, verbs, str(params.uri), log)

    return Server(
        "tuner",
        version=version("tuner"),
        instructions=_INSTRUCTIONS,
        on_list_tools=list_tools,
        on_call_tool=call_tool,
        on_list_resources=list_resources,
        on_list_resource_templates=list_templates,
        on_read_resource=read_resource,
    )


def _described(tool: Tool) -> mcp_types.Tool:
    return mcp_types.Tool(
        name=tool.name,
        title=tool.title,
        description=tool.about,
        input_schema=tool.input_schema(),
        output_schema=tool.output_schema(),
        annotations=mcp_types.ToolAnnotations(
            title=tool.title,
            read_only_hint=tool.reads,
            destructive_hint=tool.ends,
            idempotent_hint=tool.again,
            open_world_hint=False,
        ),
    )


def _called(verbs: Verbs, name: str, arguments: dict[str, Any], log: Log) -> mcp_types.CallToolResult:
    """What is refused is the tool's error, for the agent to read."""
    try:
        tool = tool_named(name)
        shown = tool.answer(verbs, arguments)
    except TunerError as error:
        return _text(str(error), is_error=True)
    except Exception as error:  # noqa: BLE001  the boundary: one call must not end the server
        log(f"{name[:60]}: {type(error).__name__}: {error}")
        return _text("tuner itself failed at this; its log on stderr says how", is_error=True)
    plain = tool.plain(shown)
    text = shown.text if isinstance(shown, TextShown) else json.dumps(plain, ensure_ascii=False)
    return _text(text, structured=plain)


def _text(text: str, *, is_error: bool = False, structured: object = None) -> mcp_types.CallToolResult:
    content = mcp_types.TextContent(type="text", text=text)
    return mcp_types.CallToolResult(content=[content], structured_content=structured, is_error=is_error)


def _resources(verbs: Verbs, after: str | None) -> mcp_types.ListResourcesResult:
    try:
        page = verbs.studies(Page(after=after))
    except ValidationError:
        raise MCPError(mcp_types.INVALID_PARAMS, "cursor: this is no end of a page of this list") from None
    except TunerError as error:
        raise MCPError(mcp_types.INVALID_PARAMS, str(error)) from None
    found = [
        mcp_types.Resource(
            name=f"{study.name}, what it recommends",
            uri=_BEST.replace("{study}", quote(study.name, safe="")),
            description=study.verdict.sentence if study.verdict else f"{study.state}: nothing is decided yet",
            mime_type="application/json",
        )
        for study in page.studies
        if study.trials_finished
    ]
    return mcp_types.ListResourcesResult(resources=found, next_cursor=page.next)


def _template() -> mcp_types.ResourceTemplate:
    return mcp_types.ResourceTemplate(
        name="What a study recommends",
        uri_template=_BEST,
        description="The trial, its command and the verdict, as the tool `best` answers.",
        mime_type="application/json",
    )


def _read(verbs: Verbs, uri: str, log: Log) -> mcp_types.ReadResourceResult:
    before, after = _BEST.split("{study}")
    study = unquote(uri[len(before) : len(uri) - len(after)])
    if not (uri.startswith(before) and uri.endswith(after) and study):
        raise MCPError(mcp_types.INVALID_PARAMS, f"there is no resource {uri[:200]!r}: they are called {_BEST}")
    answer = _called(verbs, "best", {"study": study}, log)
    (content,) = answer.content
    assert isinstance(content, mcp_types.TextContent)
    if answer.is_error:
        raise MCPError(mcp_types.INVALID_PARAMS, content.text)
    found = mcp_types.TextResourceContents(uri=uri, mime_type="application/json", text=content.text)
    return mcp_types.ReadResourceResult(contents=[found])
