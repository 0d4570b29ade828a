"""A server that is up in; what it answers to fixed questions out: greedy answers, and how well it foretells a text.

It asks through /v1/completions (chat for messages) as any client does. A server that cannot answer, or answers in another form,
gives a sentence instead: nothing here ends a launch. It does not compare.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import aiohttp

from tuner.load.questions import Prompt, Questions
from tuner.load.session import open_session
from tuner.types import Target
from tuner.types.quality import Quality

#: Of a greedy answer.
ANSWER_TOKENS = 32
#: Questions at once; pieces of text go one by one, because their log-probabilities take memory (vocabulary times tokens).
_AT_ONCE = 16
_REQUEST_S, _ALL_S = 60.0, 300.0
#: Most that is read of an answer: the log-probabilities of a long piece.
_MAX_BYTES = 64 << 20


class _NoAnswer(Exception):
    """Why a question was not answered."""


async def probe(target: Target, questions: Questions) -> Quality:
    """Ask all; what cannot be asked is told in a sentence each."""
    timeout = aiohttp.ClientTimeout(total=_REQUEST_S)
    async with open_session(target.api_key, timeout, reuse=False) as session:
        client = _Client(session, target)
        found, why = await _all(client.greedy, questions.prompts, _AT_ONCE)
        untold = [f"greedy answers: {why}"] if why else []
        nll, why = await _all(client.nll, questions.texts, 1)
        untold += [f"log-probabilities of a text: {why}"] if why else []
    answers, are_tokens = _of_one_kind(found)
    return Quality(data=questions.digest, answers=answers, are_tokens=are_tokens, nll=tuple(nll), untold=tuple(untold))


async def _all(
    ask: Callable[[Any], Awaitable[Any]], questions: Sequence[Any], at_once: int
) -> tuple[list[Any | None], str | None]:
    """The answers, None for those that did not come, nothing where none did; and how many did not, with the first reason. Once
    most did not, no more is asked."""
    turns = asyncio.Semaphore(at_once)
    whys: list[str] = []

    async def one(question: Any) -> Any | None:
        async with turns:
            if len(whys) > len(questions) / 2:
                return None
            try:
                return await ask(question)
            except _NoAnswer as error:
                whys.append(str(error))
                return None

    try:
        async with asyncio.timeout(_ALL_S) as clock:
            found = await asyncio.gather(*(one(question) for question in questions))
    except TimeoutError:
        if not clock.expired():
            raise
        return [], f"not all came within {_ALL_S:g} s"
    if not whys:
        return found, None
    missing = found.count(None)
    return ([], whys[0]) if missing == len(found) else (found, f"{missing} of {len(found)} did not come: {whys[0]}")


class _Client:
    """One server's /v1."""

    def __init__(self, session: aiohttp.ClientSession, target: Target) -> None:
        self._session, self._target = session, target

    async def greedy(self, prompt: Prompt) -> tuple[bool, tuple[int, ...]]:
        """Whether it is of token ids, and these; else the characters' numbers."""
        asked = {"temperature": 0, "max_tokens": ANSWER_TOKENS, "return_token_ids": True}
        route: str = "completions"
        said: dict[str, Any] = {"prompt": prompt}
        if not isinstance(prompt, str):
            route, said = "chat/completions", {"messages": [dict(message) for message in prompt]}
        choice = await self._choice(route, {**said, **asked})
        if choice.get("finish_reason") not in ("stop", "length"):
            raise _NoAnswer("an answer was cut off")
        match choice:
            case {"token_ids": [*ids]} if ids and all(isinstance(one, int) for one in ids):
                return True, tuple(ids)
            case {"text": str(text)} | {"message": {"content": str(text)}}:
                return False, tuple(map(ord, text))
        raise _NoAnswer("an answer had neither tokens nor text")

    async def nll(self, text: str) -> float:
        """Nats a token, over all but the first."""
        asked = {"prompt": text, "max_tokens": 1, "temperature": 0, "prompt_logprobs": 0}
        choice = await self._choice("completions", asked)
        match choice:
            case {"prompt_logprobs": [_, *entries]} if entries:
                return -sum(map(_logprob, entries)) / len(entries)
        raise _NoAnswer("the server gives no prompt_logprobs")

    async def _choice(self, route: str, asked: Mapping[str, Any]) -> dict[str, Any]:
        try:
            async with self._session.post(
                f"{self._target.base_url}/v1/{route}",
                json={"model": self._target.model, **asked},
                allow_redirects=False,
            ) as response:
                body = await _body(response)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise _NoAnswer(f"/v1/{route} failed: {str(error) or type(error).__name__}") from error
        text = body.decode(errors="replace")
        if response.status != 200:
            raise _NoAnswer(f"/v1/{route} answered HTTP {response.status}: {_short(text)}")
        try:
            answer = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise _NoAnswer(f"/v1/{route} answered no JSON: {_short(text)}") from error
        match answer:
            case {"choices": [dict(choice), *_]}:
                return choice
        raise _NoAnswer(f"/v1/{route} answered without a choice: {_short(text)}")


async def _body(response: aiohttp.ClientResponse) -> bytes:
    """The whole of it."""
    found = bytearray()
    while chunk := await response.content.read(1 << 20):
        found += chunk
        if len(found) > _MAX_BYTES:
            raise _NoAnswer("an answer is longer than can be meant")
    return bytes(found)


def _logprob(entry: object) -> float:
    """Of the token that stands there, which vLLM names first: {"4711": {"logprob": -1.5, "rank": 3, ...}}."""
    match entry:
        case {**tokens} if tokens:
            match next(iter(tokens.values())):
                case {"logprob": int() | float() as value} if abs(value) < 1e4:
                    return float(value)
    raise _NoAnswer("a prompt's log-probabilities are no numbers")


def _of_one_kind(
    found: Sequence[tuple[bool, tuple[int, ...]] | None],
) -> tuple[tuple[tuple[int, ...] | None, ...], bool]:
    """Tokens where any answer has them: one without is then not comparable."""
    are_tokens = any(one is not None and one[0] for one in found)
    return tuple(one[1] if one is not None and one[0] == are_tokens else None for one in found), are_tokens


def _short(text: str) -> str:
    line = " ".join(text.split())
    return repr(line[:120])
