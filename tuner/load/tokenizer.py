"""A server in; the alphabet that prompts for it are made of out, and real prompts with their token counts.

The tokenizer is vLLM's own, through /tokenize. A server that has none, or one of another form, gets English words, whose tokens
are not known.
"""

import asyncio
import itertools
import json
from collections.abc import Sequence
from typing import Any

import aiohttp

from tuner.errors import LaunchError, UsageError
from tuner.load.prompts import OPENING, Alphabet, Prompt, chat
from tuner.types import Endpoint, Failed, FailureKind, Target, Workload
from tuner.workload.entry import Sample
from tuner.workload.lengths import CHARACTERS_PER_TOKEN

#: The ids after the bytes and special tokens: in every BPE vocabulary the earliest merges, so the most frequent words.
_ID_RANGE = range(256, 8192)
_MIN_WORDS = 16
_MAX_WORDS = 2048
#: Of a dataset's prompts only so many are counted, and sent.
MAX_PROMPTS = 2000
_AT_ONCE = 16
_NO_ROUTE = (404, 405, 501)
#: For a server that has no tokenizer to ask: short words, most of them one token in any vocabulary.
_TEXT = """
about after again all and any are back because been before big but can come could day did each even find first for from get give
good great had hand has have her here him his home house how into its just know large last left life light like line little long
look made make man many may more most much must name never new next night not now number off old one only other our out over own
page part people place point right same school second see set she show side small some still such take tell than that the their
them then there these thing think this those time two under very want was water way well went were what when where which while
who will with word work world would write year you your
"""
_ENGLISH = tuple(_TEXT.split())


async def learn_alphabet(session: aiohttp.ClientSession, target: Target, workload: Workload) -> Alphabet:
    """Ask the server for its vocabulary and chat template: four short requests. One without /tokenize gets English words.

    Raises LaunchError when it does not answer; UsageError when chat prompts cannot have exact lengths with this model, or
    when the workload's shortest prompt has no room for the template and the words that make it unique.
    """
    server = _Tokenizer(session, target)
    try:
        singles = await _single_tokens(server)
    except _NoTokenizer:
        return Alphabet(words=_ENGLISH, ids=(), chat_overhead_tokens=0, is_vllm=False)
    ids, words = tuple(singles), tuple(singles.values())
    if len(words) < _MIN_WORDS:
        if workload.api == "completions":  # prompts are ids, and need no words
            return Alphabet(words=(), ids=tuple(_ID_RANGE), chat_overhead_tokens=0)
        raise UsageError(
            f"the tokenizer of {target.model} has {len(words) or 'no'} plain words that are one token each, so chat prompts"
            " cannot have exact lengths: give the model's folder its own tokenizer files (tokenizer.json,"
            " tokenizer_config.json), or take a workload with `api: completions`, whose prompts are ids"
        )
    overhead = await _overhead(server, workload, words) if workload.api == "chat" else 0
    alphabet = Alphabet(words=words, ids=ids, chat_overhead_tokens=overhead)
    shortest = overhead + alphabet.digits + (workload.shared_prefix.tokens if workload.shared_prefix else 0)
    if workload.dataset is None and workload.input_tokens.low < shortest:
        raise UsageError(
            f"workload {workload.name!r} asks for prompts of {workload.input_tokens.low} tokens, but with the chat template"
            f" of {target.model} ({overhead} tokens) none is shorter than {shortest}: raise input_tokens"
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
    few, many = [
        len(await server.tokenize(chat(workload, " ".join((OPENING, *words[:size]))))) - size for size in sizes
    ]
    if few != many:
        raise UsageError(
            "the model's chat template does not keep words as they are, so chat prompts cannot have exact lengths:"
            " take a workload with `api: completions`"
        )
    return few


async def count_tokens(
    session: aiohttp.ClientSession, target: Target, workload: Workload, samples: Sequence[Sample]
) -> tuple[Prompt, ...]:
    """Real prompts with the tokens that they and their answers have on this server; those that do not fit into the model are
    left out. Raises LaunchError when the server does not answer, UsageError when none fits."""
    server, turns = _Tokenizer(session, target), asyncio.Semaphore(_AT_ONCE)

    async def counted(sample: Sample) -> Prompt | None:
        async with turns:
            asked = len(await server.tokenize(chat(workload, sample.prompt, sample.system)))
            answered = sample.output_tokens
            if answered is None and sample.answer:
                answered = len(await server.tokenize({"prompt": sample.answer, "add_special_tokens": False}))
        longest = server.max_model_len
        if longest is not None and asked + (answered or workload.output_tokens.high) > longest:
            return None
        return Prompt(text=sample.prompt, system=sample.system, input_tokens=asked, output_tokens=answered)

    try:
        found = await asyncio.gather(*(counted(sample) for sample in samples[:MAX_PROMPTS]))
    except _NoTokenizer:
        return tuple(_guessed(sample) for sample in samples[:MAX_PROMPTS])
    if prompts := tuple(prompt for prompt in found if prompt is not None):
        return prompts
    raise UsageError(
        f"no prompt of the dataset fits into {target.model}'s {server.max_model_len} tokens with its answer"
    )


def _guessed(sample: Sample) -> Prompt:
    """The prompt of a server that cannot be asked: its answer is as long as its characters say."""
    tokens = sample.output_tokens
    if tokens is None and sample.answer:
        tokens = max(1, round(len(sample.answer) / CHARACTERS_PER_TOKEN))
    return Prompt(text=sample.prompt, system=sample.system, input_tokens=None, output_tokens=tokens)


class _NoTokenizer(Exception):
    """The server has no tokenizer of vLLM's form."""


class _Tokenizer:
    """vLLM's /tokenize and /detokenize."""

    def __init__(self, session: aiohttp.ClientSession, target: Target) -> None:
        self._session = session
        self._target = target
        self.max_model_len: int | None = None

    async def tokenize(self, request: dict[str, object]) -> list[int]:
        answer = await self._post("tokenize", request)
        match answer:
            case {"max_model_len": int(longest)}:
                self.max_model_len = longest
        match answer:
            case {"tokens": [*tokens]} if all(isinstance(token, int) for token in tokens):
                return tokens
        raise self._other_form("/tokenize answered without a list of tokens")

    async def detokenize(self, tokens: list[int]) -> str:
        match await self._post("detokenize", {"tokens": tokens}):
            case {"prompt": str(prompt)}:
                return prompt
        raise self._other_form("/detokenize answered without a prompt")

    async def _post(self, route: str, request: dict[str, object]) -> Any:
        try:
            async with self._session.post(
                f"{self._target.base_url}/{route}", json={"model": self._target.model, **request}, allow_redirects=False
            ) as response:
                text = await response.text(errors="replace")
        except (aiohttp.ClientError, TimeoutError) as error:
            raise _failed(f"/{route} failed: {str(error) or type(error).__name__}") from error
        if response.status in _NO_ROUTE:
            raise _NoTokenizer
        if response.status != 200:
            raise self._other_form(f"/{route} answered HTTP {response.status}: {text[:200]}")
        try:
            return json.loads(text)
        except ValueError as error:
            raise self._other_form(f"/{route} answered no JSON: {text[:200]!r}") from error

    def _other_form(self, why: str) -> Exception:
        """What a vLLM of ours must not answer; another server may."""
        return _failed(why) if isinstance(self._target, Endpoint) else _NoTokenizer(why)


def _failed(message: str) -> LaunchError:
    return LaunchError(Failed(kind=FailureKind.LOAD_FAILED, message=message))
