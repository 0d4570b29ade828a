"""A server that is none of ours, in a thread: its answers are what a test says, byte by byte and moment by moment.

A token comes each STEP_S after a prefill of PREFILL_S, so TTFT and TPOT are known.
"""

import asyncio
import json
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Self

PREFILL_S, STEP_S = 0.04, 0.01
MODEL = "maker/model"
Timed = tuple[float, bytes]
#: What answers a request: its number and its JSON in; what is sent, each part so long after the one before, out.
Answer = Callable[[int, Mapping[str, Any]], Iterable[Timed]]
Frame = Callable[[str], bytes]
STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


def plain(data: str) -> bytes:
    return f"data: {data}\n\n".encode()


def delta(said: Mapping[str, object] | None, finish: object = None, **more: object) -> str:
    choice = {"index": 0, "delta": said, "finish_reason": finish}
    return json.dumps({"object": "chat.completion.chunk", "choices": [choice], **more}, ensure_ascii=False)


def usage(tokens: object, prompt: object = 9, **more: object) -> str:
    return json.dumps({"choices": [], "usage": {"prompt_tokens": prompt, "completion_tokens": tokens, **more}})


def tokens(count: int, frame: Frame = plain) -> list[Timed]:
    return [(STEP_S if number else PREFILL_S, frame(delta({"content": "word "}))) for number in range(count)]


def end(count: int, frame: Frame = plain) -> list[Timed]:
    return [(0.0, frame(usage(count))), (0.0, frame("[DONE]"))]


def whole(count: int, frame: Frame = plain) -> list[Timed]:
    """As OpenAI's own server streams a chat."""
    return [(0.0, frame(delta({"role": "assistant", "content": ""}))), *tokens(count, frame), *end(count, frame)]


class OtherServer:
    """`with OtherServer(answer) as url:`. `routes` answer other paths with a status line's end and a body; `head` begins each
    stream, and `is_chunked` says whether its body is in chunks. `asked` are the requests for completions so far."""

    def __init__(
        self,
        answer: Answer,
        *,
        routes: Mapping[str, tuple[str, bytes]] | None = None,
        head: bytes = STREAM,
    ) -> None:
        models = json.dumps({"object": "list", "data": [{"id": MODEL}]}).encode()
        self._answer, self._head = answer, head
        self._routes = {"/v1/models": ("200 OK", models), **(routes or {})}
        self.asked: list[dict[str, Any]] = []
        self.heads: list[bytes] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)

    def __enter__(self) -> Self:
        self._thread.start()
        started = asyncio.run_coroutine_threadsafe(asyncio.start_server(self._serve, "127.0.0.1", 0), self._loop)
        self._server = started.result(10)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _stop(self) -> None:
        self._server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                await self._exchange(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        path = head.split(b" ")[1].decode()
        lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
        body = await reader.readexactly(int(lengths[0].split(b":")[1]) if lengths else 0)
        self.heads.append(head)
        if path in self._routes or "completions" not in path:
            status, content = self._routes.get(path, ("404 Not Found", b'{"detail":"Not Found"}'))
            writer.write(f"HTTP/1.1 {status}\r\nContent-Length: {len(content)}\r\n\r\n".encode() + content)
            await writer.drain()
            return
        self.asked.append(json.loads(body))
        writer.write(self._head)
        is_chunked = b"chunked" in self._head
        for after_s, data in self._answer(len(self.asked), self.asked[-1]):
            if after_s:
                await asyncio.sleep(after_s)
            writer.write(b"%x\r\n%s\r\n" % (len(data), data) if is_chunked else data)
            await writer.drain()
        if is_chunked:
            writer.write(b"0\r\n\r\n")
            await writer.drain()
        elif b"Content-Length" not in self._head:
            raise ConnectionError("an answer without a length ends with its connection")
