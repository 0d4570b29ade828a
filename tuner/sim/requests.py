"""The body of a completion or chat request in, what it asks for out, or vLLM's refusal of it. Pure."""

import json
from dataclasses import dataclass
from typing import Any

from tuner.sim.tokens import Tokenizer

#: vLLM's own default for /v1/completions; a chat goes on to the model's length.
_COMPLETION_TOKENS = 16
#: An answer that may end by itself does so after so many tokens: the simulated model has nothing to say.
_SPEECH_TOKENS = 256


class BadRequest(Exception):
    """A request that is refused: vLLM's sentence, its HTTP status, the kind of error and the field."""

    def __init__(
        self, message: str, status: int = 400, kind: str = "BadRequestError", parameter: str | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.kind, self.parameter = status, kind, parameter


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What is to be generated: `output_tokens` after `prompt`, in a stream or at once."""

    chat: bool
    model: str
    prompt: list[int]
    output_tokens: int
    finish_reason: str
    stream: bool
    usage: bool
    running_usage: bool


def read(body: bytes, chat: bool, served: str, tokenizer: Tokenizer, max_model_len: int) -> Asked:
    """Raises BadRequest."""
    fields = parsed(body)
    known_model(fields, served)
    try:
        prompt = tokenizer.encode_chat(fields) if chat else completion_prompt(fields, tokenizer)
        options = fields.get("stream_options") or {}
        usage = bool(options.get("include_usage"))
        output_tokens, reason = _output(fields, chat, len(prompt), max_model_len)
        return Asked(
            chat=chat,
            model=served,
            prompt=prompt,
            output_tokens=output_tokens,
            finish_reason=reason,
            stream=bool(fields.get("stream")),
            usage=usage,
            running_usage=usage and bool(options.get("continuous_usage_stats")),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BadRequest(f"the request cannot be read: {error!r}") from error


def parsed(body: bytes) -> dict[str, Any]:
    """A body as JSON. Raises BadRequest."""
    try:
        fields = json.loads(body)
    except ValueError as error:
        raise BadRequest(f"the body is not JSON: {error}", kind="Bad Request") from error
    if not isinstance(fields, dict):
        raise BadRequest("the body is not a JSON object", kind="Bad Request")
    return fields


def known_model(fields: dict[str, Any], served: str) -> None:
    """A request may leave the model out. Raises BadRequest."""
    model = fields.get("model") or served
    if model != served:
        message = f"The model `{model}` does not exist. Valid aliases: {served}."
        raise BadRequest(message, 404, "NotFoundError", "model")


def completion_prompt(fields: dict[str, Any], tokenizer: Tokenizer) -> list[int]:
    """Text or token ids; a list of one of them, too. Raises BadRequest."""
    match fields["prompt"]:
        case [list() | str() as only]:
            prompt = only
        case other:
            prompt = other
    if isinstance(prompt, str):
        return tokenizer.encode(prompt)
    if isinstance(prompt, list) and prompt and all(type(one) is int for one in prompt):
        if not 0 <= min(prompt) <= max(prompt) < tokenizer.vocabulary:
            raise BadRequest(f"Token id {max(prompt)} is out of vocabulary", parameter="prompt")
        return prompt
    raise BadRequest("the simulated server takes one prompt a request, as text or as token ids", parameter="prompt")


def _output(fields: dict[str, Any], chat: bool, prompt_tokens: int, max_model_len: int) -> tuple[int, str]:
    """How many tokens come, and why they end."""
    if (fields.get("n") or 1) != 1:
        raise BadRequest("the simulated server gives one answer a request", parameter="n")
    if prompt_tokens < 1:
        raise BadRequest("the prompt is empty", parameter="prompt")
    asked = fields.get("max_completion_tokens") or fields.get("max_tokens") if chat else fields.get("max_tokens")
    if prompt_tokens > max_model_len:
        raise BadRequest(
            f"This model's maximum context length is {max_model_len} tokens. However, your prompt contains {prompt_tokens}"
            " input tokens, which exceeds this limit even without any output tokens. Please reduce the length of the input"
            " prompt.",
            parameter="input_tokens",
        )
    if asked is not None and asked < 1:
        raise BadRequest(f"max_tokens must be at least 1, got {asked}.", parameter="max_tokens")
    left = max_model_len - prompt_tokens
    most = min(left, asked if asked is not None else left if chat else _COMPLETION_TOKENS)
    least = fields.get("min_tokens") or 0
    if asked is not None and least > asked:
        raise BadRequest(f"min_tokens must be less than or equal to max_tokens={asked}, got {least}.")
    if fields.get("ignore_eos"):
        return max(1, most), "length"
    speech = max(least, _SPEECH_TOKENS)
    return (max(1, most), "length") if most <= speech else (speech, "stop")
