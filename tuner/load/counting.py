"""An answer whose server did not count its tokens in; their number out, by the server's own tokenizer."""

import asyncio
import contextlib
import json

from tuner.load.connection import Connections, address_of
from tuner.load.prompts import PlannedRequest
from tuner.load.stream import NoUsage, StreamError, Usage
from tuner.types import Target

_MAX_BYTES = 64 << 20
_TIMEOUT_S = 10.0


class _Body:
    """Takes an answer that is no stream."""

    is_done = True

    def __init__(self) -> None:
        self.data = bytearray()

    def feed(self, data: bytes, now_s: float) -> None:
        if len(self.data) < _MAX_BYTES:
            self.data += data


class Counter:
    """Asks /tokenize, over the load's own connections, until it is seen that there is none."""

    def __init__(self, connections: Connections, target: Target) -> None:
        self._connections, self._model = connections, target.model
        self._address = address_of(target, "tokenize")
        self._is_there = True

    async def usage(self, request: PlannedRequest, text: str, chunks: int) -> Usage:
        """Of a request and the text of its answer, which came in so many chunks: it has not fewer tokens, though it may be
        written in fewer. Raises NoUsage where there is no tokenizer that answers, OSError where the
        server cannot be reached."""
        prompt_tokens = request.input_tokens
        if prompt_tokens is None:
            sent = json.loads(request.body)
            prompt_tokens = await self._count({key: sent[key] for key in ("messages", "prompt") if key in sent})
        completion_tokens = await self._count({"prompt": text, "add_special_tokens": False})
        return Usage(prompt_tokens=prompt_tokens, completion_tokens=max(completion_tokens, chunks))

    async def _count(self, what: dict[str, object]) -> int:
        body = _Body()
        if self._is_there:
            data = json.dumps({"model": self._model, **what}).encode()
            with contextlib.suppress(StreamError, TimeoutError):  # e.g. HTTP 404
                async with asyncio.timeout(_TIMEOUT_S):
                    await self._connections.exchange(self._address.request(data), body)
            match _json(bytes(body.data)):
                case {"count": int(count)}:
                    return count
                case {"tokens": [*tokens]}:
                    return len(tokens)
        self._is_there = False
        raise NoUsage("the stream ended without usage, and the server has no /tokenize to count by")


def _json(data: bytes) -> object:
    try:
        return json.loads(data)
    except ValueError:
        return None
