"""vLLM's routes with a word tokenizer; each generation request can be given a fault by its number."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from aiohttp import web

from tuner.load.generate import generate_load, learn
from tuner.load.workers import Workers
from tuner.types import Endpoint, LoadResult, Workload

WORDS = {f"w{number}": 300 + number for number in range(64)}
UNKNOWN = 5
MODEL = "demo"
Fault = Callable[[int], str | None]


class FaultServer:
    """`async with FaultServer(fault)`: `fault(number)` names what goes wrong with request `number`, or None.

    `token_s` is the pace of a stream; `group` is how many tokens a chunk after the first holds, `at_once` how many
    requests are served at the same time, in the order in which they came.
    """

    def __init__(
        self,
        fault: Fault = lambda number: None,
        *,
        token_s: float = 0.001,
        group: int = 1,
        at_once: int | None = None,
    ) -> None:
        self._fault = fault
        self._token_s = token_s
        self._group = group
        self._places = asyncio.Semaphore(at_once or 1 << 20)
        self.bodies: list[dict[str, Any]] = []
        self.generated = 0
        self.open = 0
        self.hidden_metric: str | None = None

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_post("/tokenize", self._tokenize)
        app.router.add_post("/detokenize", self._detokenize)
        app.router.add_post("/v1/completions", self._generate)
        app.router.add_post("/v1/chat/completions", self._generate)
        app.router.add_get("/metrics", self._metrics)
        self._runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.base_url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._runner.cleanup()

    def endpoint(self, log: Any) -> Endpoint:
        return Endpoint(base_url=self.base_url, model=MODEL, sessions=(0,), startup_s=0.0, log=log)

    async def load(self, workload: Workload, workers: int = 1, **more: Any) -> LoadResult:
        """What the load generator makes of this server."""
        target = self.endpoint(Path("log"))
        async with Workers(workers) as started:
            return await generate_load(target, await learn(target, workload), started, **more)

    async def _tokenize(self, request: web.Request) -> web.Response:
        body = await request.json()
        tokens = _render(body["messages"], body) if "messages" in body else _ids(body["prompt"])
        return web.json_response({"tokens": tokens, "count": len(tokens)})

    async def _detokenize(self, request: web.Request) -> web.Response:
        ids = {number: word for word, number in WORDS.items()}
        words = [ids[token] for token in (await request.json())["tokens"] if token in ids]
        return web.json_response({"prompt": " ".join(words)})

    async def _metrics(self, request: web.Request) -> web.Response:
        counters = {"generation_tokens": self.generated, "prompt_tokens": 0, "num_preemptions": 0}
        counters |= {"prefix_cache_queries": 0, "prefix_cache_hits": 0}
        counters.pop(self.hidden_metric or "", None)
        lines = [f'vllm:{name}_total{{engine="0"}} {value}' for name, value in counters.items()]
        return web.Response(text="\n".join([*lines, f'vllm:num_requests_running{{engine="0"}} {self.open}', ""]))

    async def _generate(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        fault = self._fault(len(self.bodies))
        self.bodies.append(body)
        if fault == "500":
            return web.json_response({"error": {"message": "engine is dead"}}, status=500)
        if fault == "redirect":
            raise web.HTTPTemporaryRedirect(request.path)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        self.open += 1
        with contextlib.suppress(ConnectionError):
            try:
                async with self._places:
                    await self._stream(request, response, body, fault)
            finally:
                self.open -= 1
        return response

    async def _stream(
        self, request: web.Request, response: web.StreamResponse, body: dict[str, Any], fault: str | None
    ) -> None:
        async for event in self._events(body, fault):
            if event == b"CUT":
                assert request.transport
                request.transport.close()
                return
            for piece in [event[i : i + 1] for i in range(len(event))] if fault == "split" else [event]:
                await response.write(piece)
                await asyncio.sleep(0)

    async def _events(self, body: dict[str, Any], fault: str | None) -> AsyncIterator[bytes]:
        chat, asked = "messages" in body, body["max_tokens"]
        if fault == "empty":
            return
        if fault == "mute":
            await asyncio.sleep(3600)
        if chat:
            yield _event({"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]})
        tokens = {"short": asked - 1, "abort": asked - 1, "endless": 1 << 20}.get(fault or "", asked)
        sent = 0
        while sent < tokens:
            new = min(tokens - sent, self._group if sent else 1)
            await asyncio.sleep(self._token_s * new)
            sent += new
            self.generated += new
            yield _event({"choices": [_choice("wörd ", chat, "abort" if fault == "abort" else None)]})
            if sent == 2:
                for event in _MIDDLE.get(fault or "", ()):
                    yield event
                if fault in ("cut", "error chunk"):
                    return
                if fault == "stall":
                    await asyncio.sleep(3600)
        prompt = len(_render(body["messages"], body) if chat else body["prompt"])
        usage = {"prompt_tokens": prompt + (fault == "wrong prompt"), "completion_tokens": tokens}
        if fault == "broken usage":
            yield b'data: {"choices":[],"usage":{"prompt\n\n'
        elif fault != "no usage":
            yield _event({"choices": [], "usage": usage})
        if fault != "no done":
            yield b"data: [DONE]\n\n"


_MIDDLE = {
    "cut": (b'data: {"choices":[{"te', b"CUT"),
    "error chunk": (
        b'data: {"error": {"message": "EngineCore encountered an issue", "code": 500}}\n\n',
        b"data: [DONE]\n\n",
    ),
    "malformed": (b'data: {"choices": [{"delta"\n\n',),
    "huge": (b"data: " + b"x" * (2 << 20) + b"\n\n",),
}


def _choice(text: str, chat: bool, finish_reason: str | None) -> dict[str, Any]:
    return {"index": 0, "finish_reason": finish_reason} | ({"delta": {"content": text}} if chat else {"text": text})


def _event(value: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode() + b"\n\n"


def _ids(text: str) -> list[int]:
    return [WORDS.get(word, UNKNOWN) for word in text.split()]


def _render(messages: list[dict[str, str]], body: dict[str, Any]) -> list[int]:
    """Three tokens a message, two for the opening of the answer, one less for a message that is continued."""
    tokens = [token for message in messages for token in (1, 2, *_ids(message["content"]), 3)]
    tokens += [1, 2] * bool(body.get("add_generation_prompt"))
    return tokens[:-1] if body.get("continue_final_message") else tokens
