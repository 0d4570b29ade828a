"""A request's tokens in, vLLM 0.32's JSON and server-sent events out (vllm/entrypoints/openai, completion and chat_completion).

Most of an event is the same for all events of a request, so it is made once. Pure: knows no socket and no time but `created_s`.
"""

import json
from dataclasses import dataclass
from typing import Any

DONE = b"data: [DONE]\n\n"
#: Where vLLM says which build has answered.
FINGERPRINT = "simulated"


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """What of a request its answer repeats. `usage` is whether the answer ends with it, `running_usage` whether each event has
    it."""

    number: int
    chat: bool
    model: str
    created_s: int
    tokens: int
    usage: bool = False
    running_usage: bool = False


class Answer:
    """One request's answer, made of one word."""

    def __init__(self, prompt: Prompt, word: str) -> None:
        self._prompt, self._word = prompt, f" {word}"
        name = f"{'chatcmpl' if prompt.chat else 'cmpl'}-{prompt.number:032x}"
        kind = "chat.completion.chunk" if prompt.chat else "text_completion"
        head = {"id": name, "object": kind, "created": prompt.created_s, "model": prompt.model}
        self._head = _inside(head)
        self._open = f'data: {{{self._head},"choices":[{{"index":0,'
        before, after = ('"delta":{"content":"', '"}') if prompt.chat else ('"text":"', '"')
        self._before, self._after = self._open + before, after + ',"logprobs":null,"finish_reason":'
        self._rest = (
            ',"token_ids":null}]' if prompt.chat else ',"stop_reason":null,"prompt_token_ids":null,"token_ids":null}]'
        )

    def opening(self) -> bytes:
        """A chat's first event, which comes with the first token: who speaks."""
        if not self._prompt.chat:
            return b""
        delta = '"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}]'
        usage = self._usage(0)
        return f'{self._open}{delta}{usage},"prompt_token_ids":null,"prompt_text":null}}\n\n'.encode()

    def event(self, tokens: int, told: int, finish_reason: str | None = None) -> bytes:
        """The next `tokens` of the answer, with which it has `told`; with `finish_reason` they are the last."""
        rest, end = self._rest, "}\n\n"
        if finish_reason is not None:
            rest = ',"stop_reason":null,"token_ids":null}]' if self._prompt.chat else rest
            end = end if self._prompt.usage else f',"system_fingerprint":"{FINGERPRINT}"}}\n\n'
        reason = "null" if finish_reason is None else f'"{finish_reason}"'
        return f"{self._before}{self._word * tokens}{self._after}{reason}{rest}{self._usage(told)}{end}".encode()

    def closing(self, told: int) -> bytes:
        """The usage, if it was asked for."""
        if not self._prompt.usage:
            return b""
        usage = json.dumps(usage_of(self._prompt.tokens, told), separators=(",", ":"))
        return f'data: {{{self._head},"choices":[],"usage":{usage},"system_fingerprint":"{FINGERPRINT}"}}\n\n'.encode()

    def whole(self, told: int, finish_reason: str) -> bytes:
        """The answer to a request that asked for no stream: all fields, also those without a value."""
        text = self._word * told
        choice: dict[str, Any] = {"index": 0}
        common = {"logprobs": None, "finish_reason": finish_reason, "stop_reason": None, "token_ids": None}
        more: dict[str, Any]
        if self._prompt.chat:
            message = {"role": "assistant", "content": text, "refusal": None, "annotations": None, "audio": None}
            choice |= {"message": {**message, "function_call": None, "reasoning": None}, **common}
            more = {"prompt_logprobs": None, "prompt_token_ids": None, "prompt_text": None}
        else:
            choice |= {"text": text, **common, "prompt_logprobs": None, "prompt_token_ids": None}
            more = {}
        choice["routed_experts"] = None
        head = json.loads(f"{{{self._head}}}") | {
            "object": "chat.completion" if self._prompt.chat else "text_completion"
        }
        usage = usage_of(self._prompt.tokens, told) | {"prompt_tokens_details": None, "completion_tokens_details": None}
        more = {"service_tier": None, "system_fingerprint": FINGERPRINT, "usage": usage, **more}
        more |= {"kv_transfer_params": None, "ec_transfer_params": None, "metrics": None}
        return json.dumps({**head, "choices": [choice], **more}, separators=(",", ":")).encode()

    def _usage(self, told: int) -> str:
        if not self._prompt.running_usage:
            return ""
        usage = usage_of(self._prompt.tokens, told) | ({"completion_tokens_details": None} if self._prompt.chat else {})
        return f',"usage":{json.dumps(usage, separators=(",", ":"))}'


def usage_of(prompt_tokens: int, told: int) -> dict[str, Any]:
    return {"prompt_tokens": prompt_tokens, "total_tokens": prompt_tokens + told, "completion_tokens": told}


def error(message: str, status: int, kind: str = "BadRequestError", parameter: str | None = None) -> bytes:
    """vLLM's JSON for what it refuses."""
    return json.dumps({"error": {"message": message, "type": kind, "param": parameter, "code": status}}).encode()


def _inside(fields: dict[str, Any]) -> str:
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":"))[1:-1]
