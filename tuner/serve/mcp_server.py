"""The verbs of the service over the Model Context Protocol, on stdin and stdout: the only door to its Python SDK.

What a tool takes and answers is in mcp_tools.py. Only the protocol is written to stdout; the log is on stderr.
"""

import logging
import os
import signal
import time
from collections.abc import Callable
from importlib.metadata import version
from typing import Any
from urllib.parse import quote, unquote

import anyio
import mcp_types
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server
from mcp.shared.exceptions import MCPError

from tuner.errors import StorageError, TunerError
from tuner.serve.mcp_tools import TOOLS, Tool, tool_named
from tuner.serve.refused import Refused
from tuner.serve.verbs import Verbs
from tuner.serve.working import Worker

_STEP_S = 0.5
#: How long the studies have to end when the agent has gone; they are told to at once.
_END_S = 8.0
_INSTRUCTIONS = (
    "tuner finds the launch settings of vLLM that are best for a GPU, a model and its users, by measuring them. Call `options`"
    " first: only what it names can be asked for. `create_study` queues a study, `study` tells how far it is, `best` and"
    " `export` give what it recommends. What is not verified, or SIMULATED, says so: say it, too."
)
_REPORT = "tuner://studies/{study}/report"
_FAILED = "the server failed at this: its log says why"
_UNUSABLE = "the database cannot be used now: the server's log says why"
_log = logging.getLogger("tuner.serve")
_Params = mcp_types.PaginatedRequestParams | None


def serve_stdio(verbs: Verbs, worker: Worker | None) -> None:
    """Until the agent closes its end, or SIGINT or SIGTERM. `worker` runs the studies that are queued; None leaves them to
    another service. The verbs are closed."""

    def end() -> None:
        if worker is not None:
            worker.stop(_END_S)
        verbs.close()

    anyio.run(_serve, _Handlers(verbs).server(), worker, end)


async def _serve(server: Server[Any], worker: Worker | None, end: Callable[[], None]) -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(_end_on_signals, end)
        if worker is not None:
            group.start_soon(_work, worker)
        async with stdio_server() as (reading, writing):
            await server.run(reading, writing, server.create_initialization_options())
        group.cancel_scope.cancel()
    await anyio.to_thread.run_sync(end)


async def _end_on_signals(end: Callable[[], None]) -> None:
    """A thread of the SDK waits for stdin, and nothing but the end of the process ends that."""
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async for number in signals:
            await anyio.to_thread.run_sync(end)
            logging.shutdown()
            os._exit(128 + number)


async def _work(worker: Worker) -> None:
    """A database that refuses is asked again."""
    while True:
        try:
            await anyio.to_thread.run_sync(worker.step)
        except StorageError as error:
            _log.warning("the queue waits: %s", error)
        await anyio.sleep(_STEP_S)


class _Handlers:
    """What the protocol asks for. Each blocks in a thread."""

    def __init__(self, verbs: Verbs) -> None:
        self._verbs = verbs

    def server(self) -> Server[Any]:
        return Server(
            "tuner",
            version=version("tuner"),
            instructions=_INSTRUCTIONS,
            on_list_tools=self._list_tools,
            on_call_tool=self._call_tool,
            on_list_resources=self._list_resources,
            on_list_resource_templates=self._list_templates,
            on_read_resource=self._read_resource,
        )

    async def _list_tools(self, _: Any, params: _Params) -> mcp_types.ListToolsResult:
        return mcp_types.ListToolsResult(tools=[_described(tool) for tool in TOOLS.values()])

    async def _call_tool(self, _: Any, params: mcp_types.CallToolRequestParams) -> mcp_types.CallToolResult:
        return await anyio.to_thread.run_sync(self._called, params.name, params.arguments or {})

    async def _list_resources(self, _: Any, params: _Params) -> mcp_types.ListResourcesResult:
        after = None if params is None else params.cursor
        answer = await anyio.to_thread.run_sync(self._called, "list_studies", {} if after is None else {"after": after})
        found = _right(answer).structured_content
        return mcp_types.ListResourcesResult(
            resources=[_report(study) for study in found["studies"] if study["trials_finished"]],
            next_cursor=found["next"],
        )

    async def _list_templates(self, _: Any, params: _Params) -> mcp_types.ListResourceTemplatesResult:
        about = mcp_types.ResourceTemplate(
            name="The report of a study", uri_template=_REPORT, mime_type="text/markdown"
        )
        return mcp_types.ListResourceTemplatesResult(resource_templates=[about])

    async def _read_resource(self, _: Any, params: mcp_types.ReadResourceRequestParams) -> mcp_types.ReadResourceResult:
        uri = str(params.uri)
        before, after = _REPORT.split("{study}")
        if not (uri.startswith(before) and uri.endswith(after) and len(uri) > len(before) + len(after)):
            raise MCPError(mcp_types.INVALID_PARAMS, f"there is no resource {uri[:200]!r}: they are called {_REPORT}")
        asked = {"study": unquote(uri[len(before) : -len(after)]), "format": "markdown"}
        answer = _right(await anyio.to_thread.run_sync(self._called, "report", asked))
        text = mcp_types.TextResourceContents(
            uri=uri, mime_type="text/markdown", text=answer.structured_content["text"]
        )
        return mcp_types.ReadResourceResult(contents=[text])

    def _called(self, name: str, arguments: dict[str, Any]) -> mcp_types.CallToolResult:
        """What is refused is the tool's error, in one sentence, for the agent to read."""
        began = time.perf_counter()
        try:
            tool = tool_named(name)
            found = tool.call(self._verbs, arguments)
            answer = _text(tool.text(found), tool.plain(found))
        except Refused as error:
            answer = _text(str(error), is_error=True)
        except TunerError:
            _log.exception("%s", name[:60])
            answer = _text(_UNUSABLE, is_error=True)
        except Exception:  # noqa: BLE001  the boundary: one call must not end the server, and tells nothing of our inside
            _log.exception("%s", name[:60])
            answer = _text(_FAILED, is_error=True)
        _log.debug("%s: %.0f ms", name[:60], (time.perf_counter() - began) * 1000)
        return answer


def _described(tool: Tool) -> mcp_types.Tool:
    return mcp_types.Tool(
        name=tool.name,
        description=tool.about,
        input_schema=tool.input_schema(),
        output_schema=tool.output_schema(),
        annotations=mcp_types.ToolAnnotations(
            read_only_hint=tool.reads,
            destructive_hint=tool.ends,
            idempotent_hint=tool.reads,
            open_world_hint=False,
        ),
    )


def _text(text: str, structured: object = None, *, is_error: bool = False) -> mcp_types.CallToolResult:
    whole = text.encode("utf-8", "backslashreplace").decode()  # a lone surrogate of a client has no UTF-8
    content = mcp_types.TextContent(type="text", text=whole)
    return mcp_types.CallToolResult(content=[content], structured_content=structured, is_error=is_error)


def _right(answer: mcp_types.CallToolResult) -> mcp_types.CallToolResult:
    """Raises MCPError with the sentence of one that is wrong."""
    if answer.is_error:
        (content,) = answer.content
        assert isinstance(content, mcp_types.TextContent)
        raise MCPError(mcp_types.INVALID_PARAMS, content.text)
    return answer


def _report(study: dict[str, Any]) -> mcp_types.Resource:
    verdict = study["verdict"]
    return mcp_types.Resource(
        name=f"Report of {study['name']}",
        uri=_REPORT.replace("{study}", quote(study["name"], safe="")),
        description=verdict["sentence"] if verdict else f"{study['state']}: nothing is decided yet",
        mime_type="text/markdown",
    )
