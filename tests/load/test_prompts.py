import asyncio
import json
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from hypothesis import given, settings
from hypothesis import strategies as st

from tuner.errors import UsageError
from tuner.load.prompts import Alphabet, body, learn_alphabet, plan
from tuner.load.workload import PRESETS
from tuner.types import Endpoint, PlannedRequest, Workload

ALPHABET = Alphabet(words=tuple(f"w{n}" for n in range(40)), ids=tuple(range(300, 340)), chat_overhead_tokens=9)
CHAT, LONG = PRESETS["chat"], PRESETS["long-prompt"]
LEADING = ALPHABET.digits


def _words(request: PlannedRequest) -> list[str]:
    assert isinstance(request.prompt, str)
    return request.prompt.split()[1:]


@settings(deadline=None)
@given(st.integers(0, 1 << 19), st.integers(0, 1 << 13))
def test_lengths_are_exact_and_in_range(index: int, salt: int) -> None:
    chat = plan(ALPHABET, CHAT, salt=salt, index=index)
    assert len(_words(chat)) + ALPHABET.chat_overhead_tokens == chat.input_tokens
    assert CHAT.input_tokens.low <= chat.input_tokens <= CHAT.input_tokens.high
    long = plan(ALPHABET, LONG, salt=salt, index=index)
    assert len(long.prompt) == long.input_tokens
    low = 1 if index < LONG.users else LONG.output_tokens.low
    assert low <= long.output_tokens <= LONG.output_tokens.high


def test_no_two_requests_of_any_launch_share_their_leading_words() -> None:
    leading = [
        tuple(_words(plan(ALPHABET, CHAT, salt=salt, index=index))[:LEADING])
        for salt in (0, 1, 9999)
        for index in range(2000)
    ]
    assert len(set(leading)) == len(leading)


def test_requests_that_are_close_in_time_differ_from_the_first_word() -> None:
    first = [plan(ALPHABET, LONG, salt=3, index=index).prompt[0] for index in range(100, 140)]
    assert len(set(first)) == 40


def test_a_launch_repeats_exactly_and_another_has_other_words_of_the_same_lengths() -> None:
    one, again, other = (plan(ALPHABET, CHAT, salt=salt, index=77) for salt in (1, 1, 2))
    assert one == again
    assert one.prompt != other.prompt
    assert (one.input_tokens, one.output_tokens) == (other.input_tokens, other.output_tokens)


def test_the_body_forces_the_length_and_the_start_of_the_answer() -> None:
    workload = PRESETS["reasoning-r1"]
    request = plan(ALPHABET, workload, salt=0, index=50)
    sent = json.loads(body(workload, "m", request))
    assert sent["min_tokens"] == sent["max_tokens"] == request.output_tokens
    assert sent["ignore_eos"] is True
    assert sent["stream_options"] == {"include_usage": True}
    assert (sent["temperature"], sent["top_p"]) == (0.6, 0.95)
    assert sent["stop"] == list(workload.stop)
    assert [message["role"] for message in sent["messages"]] == ["user", "assistant"]
    assert sent["messages"][1]["content"] == "<think>\n"
    assert (sent["continue_final_message"], sent["add_generation_prompt"]) == (True, False)


async def _learn_without_words(workload: Workload) -> Alphabet:
    """From a server whose tokenizer makes no token of any text, as one whose merges were lost does."""

    async def no_tokens(request: web.Request) -> web.Response:
        return web.json_response({"tokens": [], "count": 0, "prompt": "some words"})

    app = web.Application()
    app.router.add_post("/tokenize", no_tokens)
    app.router.add_post("/detokenize", no_tokens)
    async with TestServer(app) as server, aiohttp.ClientSession() as session:
        base_url = str(server.make_url("/")).rstrip("/")
        endpoint = Endpoint(base_url=base_url, model="m", pgid=1, startup_s=1.0, log=Path("log"))
        return await learn_alphabet(session, endpoint, workload)


def test_a_tokenizer_without_words_still_serves_completions() -> None:
    alphabet = asyncio.run(_learn_without_words(LONG))
    request = plan(alphabet, LONG, salt=0, index=99)
    assert len(request.prompt) == request.input_tokens


def test_a_tokenizer_without_words_cannot_chat() -> None:
    with pytest.raises(UsageError, match=r"keeps only 0 plain words as one token.*`api: completions`"):
        asyncio.run(_learn_without_words(CHAT))
