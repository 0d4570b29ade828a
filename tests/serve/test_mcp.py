"""An agent's client, the SDK's own, talks over stdio to a real `tuner mcp`: it can do what REST can, and nothing else."""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest
from anyio.from_thread import start_blocking_portal
from commands import tuner
from conftest import REPOSITORY
from mcp import Client, MCPError, StdioServerParameters
from mcp_types import CallToolResult, TextContent, TextResourceContents

from tuner.serve.mcp_tools import TOOLS
from tuner.serve.routes import ROUTES

#: A simulated study of a few seconds.
SIMULATED = {"gpu": "t4", "engine": "sim", "sampler": "random", "users": 4, "trials": 3, "verify": 0}
SHORT: dict[str, Any] = SIMULATED | {"warmup": 1.0, "window": 2.0, "max_window": 3.0}
ENDED = ("finished", "failed", "cancelled")
LONG_S = 300.0


def command(folder: Path, *more: str) -> list[str]:
    return [
        sys.executable,
        "-m",
        "tuner",
        "mcp",
        "--storage",
        str(folder / "t.db"),
        "--log-dir",
        str(folder / "logs"),
        *more,
    ]


def environment() -> dict[str, str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("TUNER_")}
    return clean | {"PYTHONPATH": str(REPOSITORY)}


@asynccontextmanager
async def agent(folder: Path, *more: str) -> AsyncIterator[Client]:
    program, *arguments = command(folder, *more)
    server = StdioServerParameters(command=program, args=arguments, env=environment(), cwd=folder)
    async with Client(server, read_timeout_seconds=60) as client:
        yield client


def talk(folder: Path, said: Callable[[Client], Awaitable[None]], *more: str) -> None:
    async def whole() -> None:
        async with agent(folder, *more) as client:
            await said(client)

    asyncio.run(whole())


def text(answer: CallToolResult) -> str:
    (content,) = answer.content
    assert isinstance(content, TextContent)
    return content.text


async def told(client: Client, tool: str, **arguments: Any) -> Any:
    answer = await client.call_tool(tool, arguments)
    assert not answer.is_error, text(answer)
    return answer.structured_content


async def until_ended(client: Client, study: str) -> Any:
    end = time.monotonic() + LONG_S
    while (shown := await told(client, "study", study=study))["state"] not in ENDED and time.monotonic() < end:
        await asyncio.sleep(0.5)
    return shown


def test_the_tools_are_the_routes_but_for_what_a_person_decides() -> None:
    assert {tool.route.name for tool in TOOLS.values()} == {route.name for route in ROUTES} - {
        "approveProposal",
        "rejectProposal",
    }
    assert all(tool.reads is (tool.route.method == "GET") for tool in TOOLS.values())


def test_each_tool_says_what_it_takes_and_answers_and_whether_it_changes_anything(tmp_path: Path) -> None:
    async def said(client: Client) -> None:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert set(tools) == set(TOOLS)
        for tool in tools.values():
            for schema in (tool.input_schema, tool.output_schema):
                assert schema is not None
                jsonschema.Draft202012Validator.check_schema(schema)
                assert schema["type"] == "object"
            assert tool.input_schema["additionalProperties"] is False
            assert tool.annotations is not None
            assert tool.annotations.open_world_hint is False
        changing = {name for name, tool in tools.items() if tool.annotations and not tool.annotations.read_only_hint}
        assert changing == {"create_study", "pause_study", "resume_study", "cancel_study"}
        assert [n for n, tool in tools.items() if tool.annotations and tool.annotations.destructive_hint] == [
            "cancel_study"
        ]
        assert tools["create_study"].input_schema["required"] == ["gpu"]
        assert tools["export"].input_schema["required"] == ["study"]

    talk(tmp_path, said)


def test_a_study_is_started_and_told_of_to_its_end(tmp_path: Path) -> None:
    async def said(client: Client) -> None:
        schemas = {tool.name: tool.output_schema for tool in (await client.list_tools()).tools}
        options = await told(client, "options")
        assert "sim" in options["engines"]
        begun = await told(client, "create_study", study="mine", model=options["models"][0], **SHORT)
        assert begun["state"] in ("queued", "running")
        shown = await until_ended(client, "mine")
        assert (shown["state"], shown["unreal"]) == ("finished", "SIMULATED"), shown
        best = await told(client, "best", study="mine")
        trials = await told(client, "list_trials", study="mine", limit=2)
        assert [trial["trial"] for trial in trials["trials"]] == [0, 1]
        rest = await told(client, "list_trials", study="mine", after=trials["next"])
        assert rest["trials"][0]["trial"] == 2
        exported = await client.call_tool("export", {"study": "mine", "trial": best["trial"]["trial"]})
        assert "SIMULATED" in text(exported)
        assert "vllm serve" in text(exported)
        for name, answer in (("best", best), ("list_trials", trials), ("options", options)):
            jsonschema.validate(answer, schemas[name])
        assert (await told(client, "list_studies"))["studies"][0]["name"] == "mine"
        (report,) = (await client.list_resources()).resources
        assert str(report.uri) == "tuner://studies/mine/report"
        (page,) = (await client.read_resource(report.uri)).contents
        assert isinstance(page, TextResourceContents)
        assert page.mime_type == "text/markdown"
        assert "SIMULATED" in page.text
        whole = await told(client, "report", study="mine", format="json")
        assert whole["content_type"] == "application/json"

    talk(tmp_path, said)


@pytest.mark.parametrize(
    ("tool", "arguments", "why"),
    [
        ("create_study", {"gpu": "t4", "model": "/etc/passwd"}, "model: "),
        ("create_study", {"gpu": "t4", "model": "somebody/else"}, "model: somebody/else is not allowed here"),
        ("create_study", {"gpu": "t4", "workload": "../../etc/passwd"}, "workload: "),
        ("create_study", {"gpu": "t4", "engine": "replay"}, "engine: "),
        ("create_study", {"gpu": "t4", "vllm_python": "/bin/sh"}, "vllm_python: there is no such field"),
        ("create_study", {"gpu": "t4", "engine_arg": ["load_format=dummy"]}, "engine_arg: load_format is not allowed here"),
        ("create_study", {"gpu": "t4", "engine_arg": ["--port=1; reboot"]}, "engine_arg"),
        ("create_study", {"gpu": "t4", "study": "a; rm -rf ~"}, "study: "),
        ("create_study", {"gpu": "t4", "study": "../a"}, "study: "),
        ("create_study", {"gpu": "t4", "trials": "many"}, "trials: "),
        ("create_study", {"gpu": "t4", "trials": 10**9}, "trials: "),
        ("create_study", {"gpu": "t4", "slo": ["$(reboot)"]}, "slo"),
        ("create_study", {"gpu": "t4", "hf_token": "HOME"}, "HOME"),
        ("create_study", {"gpu": "x" * 100_000}, "larger than"),
        ("create_study", {}, "gpu: "),
        ("study", {"study": "nobody's"}, "there is no study"),
        ("study", {}, "study: expected a name"),
        ("study", {"study": 7}, "there is no study '7'"),
        ("study", {"study": True}, "study: expected a name"),
        ("proposal", {"proposal": 7}, "there is no proposal"),
        ("proposal", {"proposal": "x; id"}, "there is no proposal"),
        ("export", {"study": "none", "format": "../x"}, "format: "),
        ("export", {"study": "none", "output": "/tmp/x"}, "output: there is no such field"),
        ("list_trials", {"study": "none", "limit": 10**6}, "limit: "),
        ("list_studies", {"after": "%00"}, "after: "),
        ("approve_proposal", {"proposal": "1", "by": "me", "why": "x"}, "there is no tool 'approve_proposal'"),
        ("shell", {"command": "id"}, "there is no tool 'shell'"),
    ],
)  # fmt: skip
def test_what_is_refused_is_the_tools_error_in_one_sentence(
    refusing: Callable[[str, dict[str, Any]], CallToolResult], tool: str, arguments: dict[str, Any], why: str
) -> None:
    answer = refusing(tool, arguments)
    assert answer.is_error
    assert why in text(answer)
    assert "\n" not in text(answer)
    assert answer.structured_content is None


@pytest.fixture(scope="module")
def refusing(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """One server for all of them, which has queued nothing at the end."""
    opened = agent(tmp_path_factory.mktemp("refusing"), "--no-queue")
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(opened) as client:
        yield lambda tool, arguments: portal.call(client.call_tool, tool, arguments)
        listed = portal.call(client.call_tool, "list_studies", {})
    assert listed.structured_content == {"studies": [], "next": None}


@pytest.mark.parametrize("uri", ["file:///etc/passwd", "tuner://studies//report", "tuner://studies/none/report"])
def test_resources_that_are_none(tmp_path: Path, uri: str) -> None:
    async def said(client: Client) -> None:
        with pytest.raises(MCPError, match="there is no"):
            await client.read_resource(uri)

    talk(tmp_path, said, "--no-queue")


def test_what_is_queued_waits_for_a_service_where_none_is_run_here(tmp_path: Path) -> None:
    async def said(client: Client) -> None:
        await told(client, "create_study", study="mine", **SHORT)
        await asyncio.sleep(1.5)
        assert (await told(client, "study", study="mine"))["state"] == "queued"
        assert (await told(client, "cancel_study", study="mine"))["state"] == "cancelled"
        again = await client.call_tool("cancel_study", {"study": "mine"})
        assert text(again) == "study 'mine' is cancelled: only one that has not ended can be cancelled"

    talk(tmp_path, said, "--no-queue")


def test_a_study_goes_on_when_the_agent_comes_back(tmp_path: Path) -> None:
    async def leaving(client: Client) -> None:
        await told(client, "create_study", study="mine", **{**SHORT, "trials": 4})
        end = time.monotonic() + LONG_S
        while not (await told(client, "study", study="mine"))["trials_finished"] and time.monotonic() < end:
            await asyncio.sleep(0.2)

    async def coming_back(client: Client) -> None:
        assert (await until_ended(client, "mine"))["state"] == "finished"
        trials = (await told(client, "list_trials", study="mine"))["trials"]
        assert {trial["trial"] for trial in trials if trial["state"] == "finished"} >= set(range(4))

    talk(tmp_path, leaving)
    talk(tmp_path, coming_back)


def spoken_to(folder: Path) -> "subprocess.Popen[str]":
    """The server, with pipes for all that it hears and says."""
    pipe = subprocess.PIPE
    return subprocess.Popen(
        command(folder), stdin=pipe, stdout=pipe, stderr=pipe, text=True, cwd=folder, env=environment()
    )


def test_only_the_protocol_is_on_stdout_and_it_ends_with_its_stdin(tmp_path: Path) -> None:
    me = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
    asked: list[dict[str, object]] = [
        {"id": 1, "method": "initialize", "params": me},
        {"method": "notifications/initialized"},
        {"id": 2, "method": "tools/call", "params": {"name": "create_study", "arguments": {**SHORT, "study": "mine"}}},
        {"id": 3, "method": "tools/call", "params": {"name": "nothing"}},
    ]  # fmt: skip
    lines = "".join(json.dumps({"jsonrpc": "2.0", **one}) + "\n" for one in asked) + "no JSON at all\n"
    with spoken_to(tmp_path) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        server.stdin.write(lines)
        server.stdin.flush()
        found = [json.loads(server.stdout.readline()) for _ in range(3)]
        server.stdin.close()
        server.stdin = None
        out, err = server.communicate(timeout=LONG_S)
    assert server.returncode == 0, err
    assert sorted(one["id"] for one in found) == [1, 2, 3]
    assert all(json.loads(line)["jsonrpc"] == "2.0" for line in out.splitlines())
    assert "Traceback" not in err
    assert "Warning" not in err


def test_a_signal_ends_it_also_while_the_agent_is_silent(tmp_path: Path) -> None:
    with spoken_to(tmp_path) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        server.stdin.write('{"jsonrpc": "2.0", "id": 1, "method": "ping"}\n')
        server.stdin.flush()
        server.stdout.readline()
        server.send_signal(signal.SIGTERM)
        assert server.wait(timeout=60) == 128 + signal.SIGTERM
        assert server.stderr is not None
        assert "Traceback" not in server.stderr.read()


def test_without_the_extra_one_sentence_says_how_to_get_it(tmp_path: Path) -> None:
    program = "import sys; sys.modules['mcp'] = None; sys.argv = ['tuner', 'mcp']; from tuner.cli import run; run()"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "Error: `tuner mcp` needs the MCP SDK: pip install 'tuner[mcp]'\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("--allow", "nowhere.yaml"), "--allow nowhere.yaml"),
        (("--model", "mine"), "--model 'mine': expected NAME=PATH_OR_REPO"),
        (("--storage", "mysql://a/b"), "--storage does not know 'mysql'"),
    ],
)
def test_bad_options_are_one_sentence_and_nothing_on_stdout(
    tmp_path: Path, arguments: tuple[str, ...], why: str
) -> None:
    done = tuner(tmp_path, "mcp", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert why in done.stderr
    assert done.stderr.count("\n") == 1


def test_the_document_names_every_tool() -> None:
    document = (REPOSITORY / "docs" / "mcp.md").read_text()
    assert {word for word in re.findall(r"`(\w+)`", document) if "_" in word or word in TOOLS} == set(TOOLS)
