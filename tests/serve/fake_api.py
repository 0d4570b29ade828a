"""The answers of the service's API, for what the real one cannot be made to do on demand: refuse, ask for a token, be slow,
break a stream, vanish, and hold a study whose name is markup.
"""

import asyncio
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from aiohttp import web
from waiting import free_port

from tuner.serve.pages import add_page

Shown = dict[str, Any]
MARKUP = '<img src=x onerror=alert(1)> & "it\'s" #1/2?'
_BEGAN = datetime(2026, 11, 29, 8, tzinfo=UTC)


def study(name: str, **more: object) -> Shown:
    return {
        "name": name,
        "model": "DeepSeek-R1-Distill-Qwen-1.5B",
        "gpu": "t4",
        "workload": "chat",
        "objective": ["throughput"],
        "slo": ["ttft_p99=500ms"],
        "state": "running",
        "message": None,
        "created_at": _BEGAN.isoformat(),
        "trials_finished": 3,
        "trials_wanted": 10,
        "best": {"trial": 2, "value": 3201.25, "metric": "output_throughput", "unit": "tok/s"},
        "verdict": None,
        "unreal": "SIMULATED",
        **more,
    }


def trial(number: int, throughput: float | None = 1000.0, **more: object) -> Shown:
    metrics = {"output_throughput": throughput, "ttft_p99_s": 0.4, "tpot_p99_s": 0.0256, "gpu_utilization": 0.875}
    return {
        "trial": number,
        "state": "finished",
        "status": "measured",
        "settings": {} if number == 0 else {"max_num_seqs": 16 * number},
        "is_default": number == 0,
        "metrics": {} if throughput is None else metrics,
        "failure": None,
        "marks": [],
        "started_at": (_BEGAN + timedelta(minutes=number)).isoformat(),
        **more,
    }


FAILED = trial(3, None, status="oom", failure={"kind": "oom", "message": f"CUDA out of memory: {MARKUP}"})
OPTIONS: Shown = {
    "models": ["DeepSeek-R1-Distill-Qwen-1.5B"],
    "gpus": [{"name": "t4", "gpu": "Tesla T4"}, {"name": "cpu", "gpu": None}],
    "workloads": ["chat", "reasoning-r1"],
    "objectives": ["throughput", "ttft_p99"],
    "samplers": ["model", "tpe"],
    "engines": ["vllm", "sim"],
    "formats": ["command", "yaml", "json"],
}
REPORT = f"""<!doctype html><html lang="en"><head><title>r</title><style>p {{ color: rgb(1, 2, 3) }}</style></head>
<body><p id="told">A report</p><script>
document.getElementById("told").textContent = "A report that ran";
try {{ parent.document.title = "reached" }} catch {{ document.body.dataset.apart = "yes" }}
fetch("/api/v1/health").catch(() => document.body.dataset.silent = "yes")
</script>{"<p>line</p>" * 50}</body></html>"""


@dataclass
class FakeApi:
    """What it answers can be changed while it runs. `asked` are the requests: method, path with query, headers, body."""

    studies: dict[str, Shown] = field(default_factory=lambda: {"live": study("live")})
    trials: dict[str, list[Shown]] = field(default_factory=dict)
    proposals: list[Shown] = field(default_factory=list)
    token: str | None = None
    is_gone: bool = False
    slow_s: float = 0.0
    refusal: tuple[int, Shown] | None = None
    asked: list[tuple[str, str, Mapping[str, str], str]] = field(default_factory=list)
    _events: list[tuple[int, str, str]] = field(default_factory=list)
    _streams: list["asyncio.Queue[tuple[int, str, str] | None]"] = field(default_factory=list)
    _loop: asyncio.AbstractEventLoop | None = None

    def push(self, event: str, data: object) -> None:
        """To all that watch."""
        assert self._loop
        told = (len(self._events) + 1, event, json.dumps(data))
        self._events.append(told)
        for stream in list(self._streams):
            self._loop.call_soon_threadsafe(stream.put_nowait, told)

    def cut(self) -> None:
        """Every stream ends."""
        assert self._loop
        for stream in list(self._streams):
            self._loop.call_soon_threadsafe(stream.put_nowait, None)

    def watchers(self) -> int:
        return len(self._streams)

    def posted(self, path: str) -> list[Any]:
        """The bodies that were sent to that path."""
        return [json.loads(body) for method, to, _, body in self.asked if method == "POST" and to == f"/api/v1{path}"]

    def application(self) -> web.Application:
        @web.middleware
        async def door(request: web.Request, handler: Any) -> web.StreamResponse:
            return await self._door(request, handler)

        app = web.Application(middlewares=[door])
        add_page(app)
        get, post = app.router.add_get, app.router.add_post
        root = "/api/v1"
        get(f"{root}/health", self._health)
        get(f"{root}/options", self._options)
        get(f"{root}/studies", self._studies)
        post(f"{root}/studies", self._create)
        get(f"{root}/studies/{{name}}", self._study)
        get(f"{root}/studies/{{name}}/trials", self._trials)
        get(f"{root}/studies/{{name}}/events", self._watch)
        get(f"{root}/studies/{{name}}/export", self._export)
        get(f"{root}/studies/{{name}}/report", self._report)
        post(f"{root}/studies/{{name}}/{{verb}}", self._act)
        get(f"{root}/proposals", self._proposals)
        get(f"{root}/proposals/{{id}}", self._proposal)
        post(f"{root}/proposals/{{id}}/{{verb}}", self._answer)
        app.on_startup.append(self._begin)
        return app

    async def _begin(self, app: web.Application) -> None:
        self._loop = asyncio.get_running_loop()

    async def _door(self, request: web.Request, handler: Any) -> web.StreamResponse:
        if not request.path.startswith("/api/"):
            return await handler(request)  # type: ignore[no-any-return]
        body = await request.text()
        self.asked.append((request.method, request.path_qs, dict(request.headers), body))
        if self.is_gone:
            assert request.transport
            request.transport.abort()
            raise web.HTTPServiceUnavailable
        await asyncio.sleep(self.slow_s)
        if self.token is not None and request.headers.get("Authorization") != f"Bearer {self.token}":
            return web.json_response({"error": "a token is needed"}, status=401)
        if request.method == "POST":
            assert request.headers["X-Tuner"] == "1"
            assert request.content_type == "application/json"
            if self.refusal is not None:
                return web.json_response(self.refusal[1], status=self.refusal[0])
        return await handler(request)  # type: ignore[no-any-return]

    async def _health(self, request: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def _options(self, request: web.Request) -> web.Response:
        return web.json_response(OPTIONS)

    async def _studies(self, request: web.Request) -> web.Response:
        found, at = list(self.studies.values()), int(request.query.get("after", "0"))
        limit = int(request.query["limit"])
        more = str(at + limit) if at + limit < len(found) else None
        return web.json_response({"studies": found[at : at + limit], "next": more})

    async def _create(self, request: web.Request) -> web.Response:
        made = study((await request.json()).get("study") or "new", state="queued", trials_finished=0, best=None)
        self.studies[made["name"]] = made
        return web.json_response(made, status=201)

    def _found(self, request: web.Request) -> Shown:
        name = request.match_info["name"]
        if name not in self.studies:
            raise web.HTTPNotFound(
                text=json.dumps({"error": f"there is no study {name!r}"}), content_type="application/json"
            )
        return self.studies[name]

    async def _study(self, request: web.Request) -> web.Response:
        return web.json_response(self._found(request))

    async def _trials(self, request: web.Request) -> web.Response:
        found, at = self.trials.get(self._found(request)["name"], []), int(request.query.get("after", "0"))
        limit = int(request.query["limit"])
        more = str(at + limit) if at + limit < len(found) else None
        return web.json_response({"trials": found[at : at + limit], "next": more})

    async def _watch(self, request: web.Request) -> web.StreamResponse:
        self._found(request)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-cache"})
        await response.prepare(request)
        await response.write(b": here\n\n")
        mine: asyncio.Queue[tuple[int, str, str] | None] = asyncio.Queue()
        last = request.headers.get("Last-Event-ID")
        for missed in self._events[int(last) :] if last else []:
            mine.put_nowait(missed)
        self._streams.append(mine)
        try:
            while (told := await mine.get()) is not None:
                await response.write(f"id: {told[0]}\nevent: {told[1]}\ndata: {told[2]}\n\n".encode())
        finally:
            self._streams.remove(mine)
        return response

    async def _export(self, request: web.Request) -> web.Response:
        kind = request.query["format"]
        headers = {"Content-Disposition": f'attachment; filename="{kind}-trial-2.txt"'}
        return web.Response(text=f"# SIMULATED\n# {kind}\n", headers=headers)

    async def _report(self, request: web.Request) -> web.Response:
        return web.Response(text=REPORT, content_type="text/html")

    async def _act(self, request: web.Request) -> web.Response:
        found = self._found(request)
        states = {"pause": "paused", "resume": "running", "cancel": "cancelled"}
        found["state"] = states[request.match_info["verb"]]
        return web.json_response(found)

    async def _proposals(self, request: web.Request) -> web.Response:
        return web.json_response({"proposals": self.proposals})

    async def _proposal(self, request: web.Request) -> web.Response:
        return web.json_response(next(one for one in self.proposals if str(one["id"]) == request.match_info["id"]))

    async def _answer(self, request: web.Request) -> web.Response:
        found = next(one for one in self.proposals if str(one["id"]) == request.match_info["id"])
        found["state"] = {"approve": "approved", "reject": "rejected"}[request.match_info["verb"]]
        return web.json_response(found)


@contextmanager
def served(api: FakeApi) -> Iterator[str]:
    """The URL of it, in a thread of its own, which ends with the block."""
    port, ready, over = free_port(), threading.Event(), threading.Event()

    async def run() -> None:
        runner = web.AppRunner(api.application(), shutdown_timeout=0.1, handler_cancellation=True)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        ready.set()
        await asyncio.to_thread(over.wait)
        api.cut()
        await runner.cleanup()

    thread = threading.Thread(target=asyncio.run, args=(run(),))
    thread.start()
    try:
        assert ready.wait(30)
        yield f"http://127.0.0.1:{port}"
    finally:
        over.set()
        thread.join(30)
