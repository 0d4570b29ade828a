"""A server and a workload in; requests with exact token counts out. The tokenizer is vLLM's own, through /tokenize.

Prompts are random words that this tokenizer keeps as one token each. The first words of a prompt spell the request's number
in that alphabet, lowest digit first, so no two requests of any launch share a KV block that the workload itself does not make
them share (a chat template and a system prompt come before the words, and are the same for all).
"""

import dataclasses
import itertools
import json
import math
import random
from typing import Any

import aiohttp

from tuner.errors import LaunchError, UsageError
from tuner.types import Endpoint, Failed, FailureKind, PlannedRequest, Workload

#: The ids after the bytes and special tokens: in every BPE vocabulary the earliest merges, so the most frequent words.
_ID_RANGE = range(256, 8192)
_MIN_WORDS = 16
_MAX_WORDS = 2048
#: Requests per launch, and launches, whose numbers stay different.
_REQUESTS = 1 << 20
_LAUNCHES = 1 << 14
#: What a chat prompt begins with, so that the first word has a space before it even where a template strips the text.
_OPENING = "Text:"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Alphabet:
    """Words that are one token each after a space, their ids, and how many tokens the chat template adds to them.

    Without words there are ids alone: enough for /v1/completions, which takes prompts as ids.
    """

    words: tuple[str, ...]
    ids: tuple[int, ...]
    chat_overhead_tokens: int

    @property
    def digits(self) -> int:
        """How many words number every request of every launch."""
        return math.ceil(math.log(_REQUESTS * _LAUNCHES, len(self.ids)))


def plan(alphabet: Alphabet, workload: Workload, *, salt: int, index: int) -> PlannedRequest:
    """Request `index` of launch `salt`. Lengths depend on the seed and the index only: launches are compared on the same.

    The first requests, one a user, ask for a random part of their output, so that users do not march in step from the
    start; they always lie in the warm-up.
    """
    lengths = random.Random(f"{workload.seed}:{index}")
    input_tokens = lengths.randint(workload.input_tokens.low, workload.input_tokens.high)
    output_tokens = lengths.randint(workload.output_tokens.low, workload.output_tokens.high)
    if index < workload.users:
        output_tokens = lengths.randint(1, output_tokens)
    chat = workload.api == "chat"
    picks = _picks(alphabet, workload.seed, salt, index, input_tokens - (alphabet.chat_overhead_tokens if chat else 0))
    return PlannedRequest(
        index=index,
        prompt=_text([alphabet.words[pick] for pick in picks]) if chat else tuple(alphabet.ids[pick] for pick in picks),
        input_tokens=input_tokens,
        output_tokens=output_tokens,
    )


def _picks(alphabet: Alphabet, seed: int, salt: int, index: int, count: int) -> list[int]:
    base = len(alphabet.ids)
    number = (salt % _LAUNCHES) * _REQUESTS + index
    leading = [number // base**place % base for place in range(alphabet.digits)]
    return leading[:count] + random.Random(f"{seed}:{salt}:{index}").choices(range(base), k=count - len(leading))


def body(workload: Workload, model: str, request: PlannedRequest) -> bytes:
    """The request's JSON. `ignore_eos` and `min_tokens` make the length exact: vLLM heeds no stop before min_tokens."""
    fields: dict[str, object] = {
        "model": model,
        "max_tokens": request.output_tokens,
        "min_tokens": request.output_tokens,
        "ignore_eos": True,
        "temperature": workload.temperature,
        "top_p": workload.top_p,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    if workload.stop:
        fields["stop"] = list(workload.stop)
    if isinstance(request.prompt, str):
        fields |= _chat(workload, request.prompt)
    else:
        fields["prompt"] = request.prompt
    return json.dumps(fields).encode()


def _text(words: list[str]) -> str:
    return " ".join((_OPENING, *words))


def _chat(workload: Workload, text: str) -> dict[str, object]:
    """What /tokenize and /v1/chat/completions must both get, so that the count of one holds for the other."""
    messages = [{"role": "user", "content": text}]
    if workload.system_prompt is not None:
        messages.insert(0, {"role": "system", "content": workload.system_prompt})
    if workload.response_prefix is None:
        return {"messages": messages, "add_generation_prompt": True}
    messages.append({"role": "assistant", "content": workload.response_prefix})
    return {"messages": messages, "add_generation_prompt": False, "continue_final_message": True}


async def learn_alphabet(session: aiohttp.ClientSession, endpoint: Endpoint, workload: Workload) -> Alphabet:
    """Ask the server for its vocabulary and chat template: four short requests.

    Raises LaunchError when it does not answer; UsageError when chat prompts cannot have exact lengths with this model, or
    when the workload's shortest prompt has no room for the template and the words that make it unique.
    """
    server = _Tokenizer(session, endpoint)
    singles = await _single_tokens(server)
    ids, words = tuple(singles), tuple(singles.values())
    if len(words) < _MIN_WORDS:
        if workload.api == "completions":  # prompts are ids, and need no words
            return Alphabet(words=(), ids=tuple(_ID_RANGE), chat_overhead_tokens=0)
        raise UsageError(
            f"the tokenizer of {endpoint.model} keeps only {len(words)} plain words as one token, so chat prompts cannot have"
            " exact lengths: take a workload with `api: completions`"
        )
    overhead = await _overhead(server, workload, words) if workload.api == "chat" else 0
    alphabet = Alphabet(words=words, ids=ids, chat_overhead_tokens=overhead)
    shortest = overhead + alphabet.digits
    if workload.input_tokens.low < shortest:
        raise UsageError(
            f"workload {workload.name!r} asks for prompts of {workload.input_tokens.low} tokens, but with the chat template"
            f" of {endpoint.model} ({overhead} tokens) none is shorter than {shortest}: raise input_tokens"
        )
    return alphabet


async def _single_tokens(server: "_Tokenizer") -> dict[int, str]:
    """Id to word, for the words that are one token after a space: alone between two separator words, each one token too."""
    text = await server.detokenize(list(_ID_RANGE))
    found = dict.fromkeys(word for word in text.split() if word.isascii() and word.isalnum() and len(word) <= 16)
    for separator in ("the", "a", "0", *list(found)[-20:]):
        repeated = await server.tokenize({"prompt": f" {separator}" * 8})
        if not repeated or len(repeated) > 10 or len(set(repeated[-4:])) > 1:
            continue  # not one token itself
        words = [word for word in found if not word.startswith(separator)][: 2 * _MAX_WORDS]
        prompt = f" {separator}" * 2 + "".join(f" {word} {separator}" for word in words)
        if singles := _singles(words, await server.tokenize({"prompt": prompt}), repeated[-1]):
            return dict(itertools.islice(singles.items(), _MAX_WORDS))
    return {}


def _singles(words: list[str], tokens: list[int], separator: int) -> dict[int, str]:
    """Nothing when the separators do not line up with the words."""
    pieces: list[list[int]] = [[]]
    for token in tokens:
        if token == separator:
            pieces.append([])
        else:
            pieces[-1].append(token)
    pieces = pieces[2:-1]  # what stands before, between and after the first two separators is no word
    if len(pieces) != len(words):
        return {}
    return {piece[0]: word for word, piece in zip(words, pieces, strict=True) if len(piece) == 1}


async def _overhead(server: "_Tokenizer", workload: Workload, words: tuple[str, ...]) -> int:
    sizes = (_MIN_WORDS // 2, min(64, len(words)))
    few, many = [len(await server.tokenize(_chat(workload, _text(list(words[:size]))))) - size for size in sizes]
    if few != many:
        raise UsageError(
            "the model's chat template does not keep words as they are, so chat prompts cannot have exact lengths:"
            " take a workload with `api: completions`"
        )
    return few


class _Tokenizer:
    """vLLM's /tokenize and /detokenize."""

    def __init__(self, session: aiohttp.ClientSession, endpoint: Endpoint) -> None:
        self._session = session
        self._endpoint = endpoint

    async def tokenize(self, request: dict[str, object]) -> list[int]:
        match await self._post("tokenize", request):
            case {"tokens": [*tokens]} if all(isinstance(token, int) for token in tokens):
                return tokens
        raise _failed("/tokenize answered without a list of tokens")

    async def detokenize(self, tokens: list[int]) -> str:
        match await self._post("detokenize", {"tokens": tokens}):
            case {"prompt": str(prompt)}:
                return prompt
        raise _failed("/detokenize answered without a prompt")

    async def _post(self, route: str, request: dict[str, object]) -> Any:
        try:
            async with self._session.post(
                f"{self._endpoint.base_url}/{route}", json={"model": self._endpoint.model, **request}
            ) as response:
                text = await response.text()
                if response.status == 200:
                    return json.loads(text)
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise _failed(f"/{route} failed: {str(error) or type(error).__name__}") from error
        raise _failed(f"/{route} answered HTTP {response.status}: {text[:200]}")


def _failed(message: str) -> LaunchError:
    return LaunchError(Failed(kind=FailureKind.LOAD_FAILED, message=message))
