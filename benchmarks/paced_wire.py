"""vLLM 0.32's words and bytes for the paced server: HTTP answers, chunks of a stream, and a tokenizer of words.

Requests' fields in, bytes out. Knows neither sockets nor time.
"""

import json
from time import time
from typing import Any

IDS = {f"w{number}": number for number in range(256, 8192)}
UNKNOWN_ID = 5
WORD = "w300"  # what every answer is made of
MAX_MODEL_LEN = 1 << 20


class Answer:
    """One request's answer in vLLM 0.32's words and bytes."""

    def __init__(self, chat: bool, number: int, model: str, prompt_tokens: int, tokens: int) -> None:
        self._chat = chat
        kind = "chat.completion" if chat else "text_completion"
        name = f"{'chatcmpl' if chat else 'cmpl'}-{number:016x}"
        self._head: dict[str, Any] = {"id": name, "object": kind, "created": int(time()), "model": model}
        self._tokens = tokens
        self._usage = {
            "prompt_tokens": prompt_tokens,
            "total_tokens": prompt_tokens + tokens,
            "completion_tokens": tokens,
        }

    def opening(self) -> bytes:
        """A chat's first chunk, sent with the first token: who speaks."""
        if not self._chat:
            return b""
        choice = {"index": 0, "delta": {"role": "assistant", "content": ""}, "logprobs": None, "finish_reason": None}
        return self._event(choices=[choice], prompt_token_ids=None, prompt_text=None)

    def chunk(self, tokens: int, finish_reason: str | None = None) -> bytes:
        text = f" {WORD}" * tokens
        choice: dict[str, Any] = {"index": 0, **({"delta": {"content": text}} if self._chat else {"text": text})}
        choice |= {"logprobs": None, "finish_reason": finish_reason, "stop_reason": None, "token_ids": None}
        return self._event(choices=[choice if self._chat else choice | {"prompt_token_ids": None}])

    def end(self, *, usage: bool) -> bytes:
        counted = self._event(choices=[], usage=self._usage, system_fingerprint="paced") if usage else b""
        return counted + http_chunk(b"data: [DONE]\n\n") + http_chunk(b"")

    def whole(self) -> dict[str, Any]:
        text = f" {WORD}" * self._tokens
        message = {"message": {"role": "assistant", "content": text}} if self._chat else {"text": text}
        return {**self._head, "choices": [{"index": 0, **message, "finish_reason": "length"}], "usage": self._usage}

    def _event(self, **rest: Any) -> bytes:
        kind = {"object": "chat.completion.chunk"} if self._chat else {}
        return http_chunk(
            b"data: " + json.dumps({**self._head, **kind, **rest}, separators=(",", ":")).encode() + b"\n\n"
        )


STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\nserver: paced\r\ncontent-type: text/event-stream; charset=utf-8\r\nvary: Origin\r\n"
    b"transfer-encoding: chunked\r\n\r\n"
)


def http_chunk(data: bytes) -> bytes:
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


def http_answer(
    content: bytes | dict[str, Any], *, status: str = "200 OK", content_type: str = "application/json"
) -> bytes:
    data = json.dumps(content).encode() if isinstance(content, dict) else content
    head = f"HTTP/1.1 {status}\r\nserver: paced\r\ncontent-type: {content_type}\r\ncontent-length: {len(data)}\r\n\r\n"
    return head.encode() + data


def tokenize(body: dict[str, Any]) -> list[int]:
    """A chat has three tokens a message, two for the opening of the answer, one less for a message that is continued."""
    if "messages" not in body:
        prompt = body["prompt"]
        return words_to_ids(prompt) if isinstance(prompt, str) else prompt
    tokens = [token for message in body["messages"] for token in (1, 2, *words_to_ids(message["content"]), 3)]
    if body.get("add_generation_prompt", True):
        tokens += (1, 2)
    return tokens[:-1] if body.get("continue_final_message") else tokens


def words_to_ids(text: str | list[dict[str, str]]) -> list[int]:
    if not isinstance(text, str):  # a message in parts
        text = " ".join(part.get("text", "") for part in text)
    return [IDS.get(word, UNKNOWN_ID) for word in text.split()]


def detokenize(ids: list[int]) -> str:
    return " ".join(f"w{token}" for token in ids if f"w{token}" in IDS)


def models(name: str) -> dict[str, Any]:
    model = {"id": name, "object": "model", "owned_by": "vllm", "max_model_len": MAX_MODEL_LEN}
    return {"object": "list", "data": [model]}


def metrics(*, generated: int, prompted: int, running: int, waiting: int) -> bytes:
    """vLLM's /metrics as far as a load generator reads them. No prompt ever comes from the prefix cache."""
    values = {"generation_tokens_total": generated, "prompt_tokens_total": prompted, "num_preemptions_total": 0}
    values |= {"prefix_cache_queries_total": prompted, "prefix_cache_hits_total": 0}
    values |= {"num_requests_running": running, "num_requests_waiting": waiting}
    return "".join(f'vllm:{name}{{engine="0"}} {value}\n' for name, value in values.items()).encode()
