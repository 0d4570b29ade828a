"""Requests in, tokens in vLLM's words when the simulated scheduler makes them, out: the routes of the server.

Time is simulated: `speed` of its seconds pass in a real one. The server does not know what its clients measure.
"""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from time import perf_counter

from tuner.predict.copies import Copies
from tuner.predict.memory import Memory
from tuner.predict.serve import Event, Server
from tuner.predict.settings import Settings
from tuner.sim import requests
from tuner.sim.http import STREAM_END, STREAM_HEAD, Connection, Request, chunk
from tuner.sim.log import VERSION
from tuner.sim.page import Counts, page
from tuner.sim.prefix import PrefixCache
from tuner.sim.requests import Asked, BadRequest
from tuner.sim.tokens import ANSWER_ID, Tokenizer
from tuner.sim.wire import DONE, Answer, Prompt, error

#: Where time is faster than real, an answer comes in about so many events, of at least so many tokens: else neither the
#: client nor this process could keep up with it.
_EVENTS, _LEAST_TOKENS = 8, 16
#: What is due and cannot happen is tried again after so long.
_RETRY_S = 1e-3
_TEXT = "text/plain; version=1.0.0; charset=utf-8"


@dataclass(slots=True, eq=False)
class _Open:
    """A request whose answer has not ended."""

    connection: Connection
    asked: Asked
    answer: Answer
    at_s: float
    told: int = 0
    first_s: float = 0.0


class SimulatedServer:
    """An `Application` of tuner.sim.http. `model` is what clients call it; its time begins with its first request."""

    def __init__(
        self,
        scheduler: Server | Copies,
        settings: Settings,
        memory: Memory,
        tokenizer: Tokenizer,
        model: str,
        speed: float,
        clock: Callable[[], float] = perf_counter,
    ) -> None:
        self._scheduler, self._settings, self._memory = scheduler, settings, memory
        self._tokenizer, self._model, self._speed, self._clock = tokenizer, model, speed, clock
        self._began_s = clock()
        self._created_s = int(time.time())
        blocks = memory.kv_cache_tokens // settings.block_size if settings.enable_prefix_caching else 0
        self._prefixes = PrefixCache(settings.block_size, blocks)
        self._open: dict[int, _Open] = {}
        self._numbers: dict[Connection, int] = {}
        self._count = 0
        self._counts = Counts(settings.max_model_len)
        self._routes: Mapping[tuple[str, str], Callable[[Connection, bytes], None]] = {
            ("POST", "/v1/completions"): lambda connection, body: self._generate(connection, body, chat=False),
            ("POST", "/v1/chat/completions"): lambda connection, body: self._generate(connection, body, chat=True),
            ("POST", "/tokenize"): self._tokenize,
            ("POST", "/detokenize"): self._detokenize,
            ("GET", "/v1/models"): self._models,
            ("GET", "/health"): lambda connection, body: connection.answer(200, b""),
            ("GET", "/ping"): lambda connection, body: connection.answer(200, b""),
            ("POST", "/ping"): lambda connection, body: connection.answer(200, b""),
            ("GET", "/version"): lambda connection, body: _json(connection, {"version": VERSION}),
            ("GET", "/metrics"): lambda connection, body: connection.answer(200, self._page(), _TEXT),
        }

    # what the loop calls

    def handle(self, connection: Connection, request: Request) -> None:
        route = self._routes.get((request.method, request.path))
        if route is None:
            known = any(path == request.path for _, path in self._routes)
            status, phrase = (405, "Method Not Allowed") if known else (404, "Not Found")
            _json(connection, {"detail": phrase}, status)
            return
        try:
            route(connection, request.body)
        except BadRequest as problem:
            connection.answer(problem.status, error(str(problem), problem.status, problem.kind, problem.parameter))

    def gone(self, connection: Connection) -> None:
        number = self._numbers.pop(connection, None)
        if number is not None:
            self._scheduler.abort(number)
            open_request = self._open.pop(number)
            self._counts.finish("abort", len(open_request.asked.prompt), open_request.told, 0.0, 0.0)

    def due(self) -> float | None:
        now_s = self._now_s()
        for event in self._scheduler.advance(now_s):
            self._tell(event)
        next_s = self._scheduler.next_s
        if next_s is None:
            return None
        if next_s <= now_s:  # it was due and could not happen: what waits does not fit into the KV cache
            return _RETRY_S
        return max((next_s - self._now_s()) / self._speed, 0.0)

    # answers

    def _generate(self, connection: Connection, body: bytes, chat: bool) -> None:
        asked = requests.read(body, chat, self._model, self._tokenizer, self._settings.max_model_len)
        self._count += 1
        number, now_s = self._count, self._now_s()
        prompt = Prompt(
            number=number,
            chat=chat,
            model=self._model,
            created_s=self._created_s,
            tokens=len(asked.prompt),
            usage=asked.usage,
            running_usage=asked.running_usage,
        )
        self._open[number] = _Open(connection, asked, Answer(prompt, self._tokenizer.answer_word), now_s)
        self._numbers[connection] = number
        self._scheduler.submit(
            number,
            len(asked.prompt),
            asked.output_tokens,
            now_s,
            cached_tokens=self._prefixes.find(asked.prompt),
            every=self._every(asked) if asked.stream else 0,
        )
        if asked.stream:
            connection.send(STREAM_HEAD)

    def _every(self, asked: Asked) -> int:
        """How many tokens an event has after the first one."""
        if self._speed <= 1:
            return self._settings.stream_interval
        return max(self._settings.stream_interval, _LEAST_TOKENS, -(-asked.output_tokens // _EVENTS))

    def _tell(self, event: Event) -> None:
        one = self._open[event.number]
        asked, is_first = one.asked, one.told == 0
        one.told += event.tokens
        self._counts.generation_tokens += event.tokens
        if is_first:
            one.first_s = event.time_s
            self._prefixes.keep(asked.prompt)
        if event.finished:
            self._finish(one, event)
        elif asked.stream:
            data = chunk(one.answer.event(event.tokens, one.told))
            one.connection.send(chunk(one.answer.opening()) + data if is_first and asked.chat else data)

    def _finish(self, one: _Open, event: Event) -> None:
        asked, answer = one.asked, one.answer
        del self._open[event.number]
        del self._numbers[one.connection]
        self._counts.finish(
            asked.finish_reason, len(asked.prompt), one.told, one.first_s - one.at_s, event.time_s - one.at_s
        )
        self._prefixes.keep([*asked.prompt, *[ANSWER_ID] * one.told])
        if not asked.stream:
            one.connection.answer(200, answer.whole(one.told, asked.finish_reason))
            return
        is_only = one.told == event.tokens and asked.chat
        parts = [answer.opening()] if is_only else []
        parts += [answer.event(event.tokens, one.told, asked.finish_reason), answer.closing(one.told), DONE]
        one.connection.send(b"".join(chunk(part) for part in parts if part) + STREAM_END)
        one.connection.end()

    def _tokenize(self, connection: Connection, body: bytes) -> None:
        fields = requests.parsed(body)
        requests.known_model(fields, self._model)
        try:
            chat = "messages" in fields
            ids = self._tokenizer.encode_chat(fields) if chat else self._tokenizer.encode(fields["prompt"])
        except (KeyError, TypeError, AttributeError) as problem:
            raise BadRequest(f"the request cannot be read: {problem!r}") from problem
        longest = self._settings.max_model_len
        _json(connection, {"count": len(ids), "max_model_len": longest, "tokens": ids, "token_strs": None})

    def _detokenize(self, connection: Connection, body: bytes) -> None:
        fields = requests.parsed(body)
        requests.known_model(fields, self._model)
        try:
            text = self._tokenizer.decode(fields["tokens"])
        except (KeyError, TypeError) as problem:
            raise BadRequest(f"the request cannot be read: {problem!r}") from problem
        _json(connection, {"prompt": text})

    def _models(self, connection: Connection, body: bytes) -> None:
        card = {"id": self._model, "object": "model", "created": self._created_s, "owned_by": "tuner-sim"}
        card |= {"root": self._model, "parent": None, "max_model_len": self._settings.max_model_len, "permission": []}
        _json(connection, {"object": "list", "data": [card]})

    def _page(self) -> bytes:
        scheduler, memory = self._scheduler, self._memory
        gauges = {
            "num_requests_running": scheduler.running,
            "num_requests_waiting": scheduler.waiting,
            "kv_cache_usage_perc": scheduler.kv_cache_usage,
        }
        counters = {
            "prefix_cache_queries": self._prefixes.queries,
            "prefix_cache_hits": self._prefixes.hits,
            "num_preemptions": scheduler.preemptions,
            "prompt_tokens": scheduler.prompt_tokens,
        }
        settings = self._settings
        info = {
            "block_size": settings.block_size,
            "cache_dtype": settings.kv_cache_dtype,
            "enable_prefix_caching": settings.enable_prefix_caching,
            "gpu_memory_utilization": settings.gpu_memory_utilization / settings.engines_per_gpu,
            "kv_cache_max_concurrency": memory.kv_cache_tokens / settings.max_model_len,
            "kv_cache_size_tokens": memory.kv_cache_tokens,
            "num_gpu_blocks": memory.kv_cache_tokens // settings.block_size,
        }
        return page(self._counts, gauges, counters, info, self._model).encode()

    def _now_s(self) -> float:
        return (self._clock() - self._began_s) * self._speed


def _json(connection: Connection, content: Mapping[str, object], status: int = 200) -> None:
    connection.answer(status, json.dumps(content, separators=(",", ":")).encode())
