import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from hypothesis import given, settings
from hypothesis import strategies as st

from tuner.errors import UsageError
from tuner.load.prompts import Alphabet, PlannedRequest, Planner, Prompt, Recipe
from tuner.load.tokenizer import learn_alphabet
from tuner.types import Endpoint, SharedPrefix, Workload
from tuner.workload.arrivals import Arrival
from tuner.workload.presets import PRESETS

ALPHABET = Alphabet(words=tuple(f"w{n}" for n in range(40)), ids=tuple(range(300, 340)), chat_overhead_tokens=9)
CHAT, LONG = PRESETS["chat"], PRESETS["long-prompt"]
LEADING = ALPHABET.digits


def _planner(workload: Workload, salt: int = 0, alphabet: Alphabet = ALPHABET, **more: Any) -> Planner:
    return Planner(Recipe(workload=workload, model="m", alphabet=alphabet, salt=salt, **more))


def _words(request: PlannedRequest) -> list[str]:
    found: list[str] = json.loads(request.body)["messages"][-1]["content"].split()[1:]
    return found


def _ids(request: PlannedRequest) -> list[int]:
    found: list[int] = json.loads(request.body)["prompt"]
    return found


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 1 << 25), st.integers(0, 1 << 23))
def test_lengths_are_exact_and_in_range(index: int, salt: int) -> None:
    chat = _planner(CHAT, salt).request(index)
    assert len(_words(chat)) + ALPHABET.chat_overhead_tokens == chat.input_tokens
    assert CHAT.input_tokens.low <= len(_words(chat)) + 9 <= CHAT.input_tokens.high
    long = _planner(LONG, salt).request(index)
    assert len(_ids(long)) == long.input_tokens
    assert LONG.output_tokens.low <= (long.output_tokens or 0) <= LONG.output_tokens.high


def test_no_two_requests_of_any_load_share_their_leading_words() -> None:
    planners = [_planner(CHAT, salt) for salt in (0, 1, 9999, (1 << 24) - 1)]
    leading = [
        tuple(_words(p.request(index))[:LEADING]) for p in planners for index in (*range(1000), 1 << 20, 5 << 20)
    ]
    assert len(set(leading)) == len(leading)


def test_requests_that_are_close_in_time_differ_from_the_first_word() -> None:
    planner = _planner(LONG, 3)
    assert len({_ids(planner.request(index))[0] for index in range(100, 140)}) == 40


def test_a_load_repeats_exactly_and_another_has_other_words_of_the_same_lengths() -> None:
    one, again, other = (_planner(CHAT, salt).request(77) for salt in (1, 1, 2))
    assert one == again
    assert one.body != other.body
    assert (one.input_tokens, one.output_tokens) == (other.input_tokens, other.output_tokens)


@pytest.mark.parametrize("workload", [CHAT, LONG, PRESETS["reasoning-r1"]], ids=lambda workload: workload.name)
def test_the_first_request_of_a_user_asks_for_the_rest_of_an_answer_whose_beginning_is_in_its_prompt(
    workload: Workload,
) -> None:
    planner = _planner(workload)
    begun = [planner.begin(user, user)[0] for user in range(400)]
    lengths = [_words(one) if workload.api == "chat" else _ids(one) for one in begun]
    overhead = ALPHABET.chat_overhead_tokens if workload.api == "chat" else 0
    if workload.response_prefix is None:
        assert all(len(words) + overhead == one.input_tokens for words, one in zip(lengths, begun, strict=True))
    sizes = [(one.input_tokens or 0) + (one.output_tokens or 0) for one in begun]
    assert max(sizes) <= workload.input_tokens.high + workload.output_tokens.high
    low, high = workload.output_tokens.low, workload.output_tokens.high
    asked = [one.output_tokens or 0 for one in begun]
    assert 1 <= min(asked) < low
    residual = sum(n * n for n in range(low, high + 1)) / sum(range(low, high + 1)) / 2
    assert sum(asked) / len(asked) == pytest.approx(residual, rel=0.03)


def test_a_user_can_begin_in_the_middle_of_a_conversation() -> None:
    planner = _planner(PRESETS["multi-turn"])
    begun = [planner.begin(user * 64, user) for user in range(200)]
    assert {turns_left for _, turns_left in begun} == set(range(6))
    assert max(request.input_tokens or 0 for request, _ in begun) > PRESETS["multi-turn"].input_tokens.high
    assert all(len(_words(request)) + 9 == request.input_tokens for request, _ in begun)


def test_a_real_prompt_is_lengthened_by_words_too() -> None:
    prompts = tuple(Prompt(text="say it", input_tokens=5, output_tokens=tokens) for tokens in (1, 100))
    begun = [_planner(CHAT, prompts=prompts).begin(user, user)[0] for user in range(100)]
    said = [len(json.loads(one.body)["messages"][-1]["content"].split()) - 2 for one in begun]
    assert {words + (one.output_tokens or 0) for words, one in zip(said, begun, strict=True)} <= {1, 100}
    assert sum(one.output_tokens == 1 for one in begun) < 10


def test_the_body_forces_the_length_and_the_start_of_the_answer() -> None:
    workload = PRESETS["reasoning-r1"]
    request = _planner(workload).request(50)
    sent = json.loads(request.body)
    assert sent["min_tokens"] == sent["max_tokens"] == request.output_tokens
    assert sent["ignore_eos"] is True
    assert sent["stream_options"] == {"include_usage": True}
    assert (sent["temperature"], sent["top_p"]) == (0.6, 0.95)
    assert sent["stop"] == list(workload.stop)
    assert [message["role"] for message in sent["messages"]] == ["user", "assistant"]
    assert sent["messages"][1]["content"] == "<think>\n"
    assert (sent["continue_final_message"], sent["add_generation_prompt"]) == (True, False)


@pytest.mark.parametrize("workload", [CHAT, LONG], ids=lambda workload: workload.name)
def test_a_shared_prefix_is_the_same_words_for_its_group_and_counts_as_input(workload: Workload) -> None:
    shared = replace(workload, shared_prefix=SharedPrefix(tokens=32, count=3))
    planner, read = _planner(shared), (_words if workload.api == "chat" else _ids)
    requests = [planner.request(index) for index in range(200)]
    assert len({tuple(read(request)[:32]) for request in requests}) == 3
    assert len({tuple(read(request)[32 : 32 + LEADING]) for request in requests}) == 200
    overhead = 9 if workload.api == "chat" else 0
    assert all(len(read(request)) + overhead == request.input_tokens for request in requests)
    assert Recipe(workload=shared, model="m", alphabet=ALPHABET, salt=0).shared_tokens == 32 + overhead


def test_an_arrival_with_lengths_has_those() -> None:
    request = _planner(LONG).request(5, Arrival(offset_s=1.0, input_tokens=77, output_tokens=11))
    assert (len(_ids(request)), request.input_tokens, request.output_tokens) == (77, 77, 11)


def test_a_conversation_goes_on_with_all_that_was_said() -> None:
    planner = _planner(PRESETS["multi-turn"])
    first, words = planner.turn(64, [])
    assert json.loads(first.body)["messages"] == [{"role": "user", "content": words}]
    assert first.input_tokens == len(words.split()) - 1 + 9
    said = [{"role": "user", "content": words}, {"role": "assistant", "content": 'an "answer"'}]
    second, more = planner.turn(65, said)
    assert json.loads(second.body)["messages"] == [*said, {"role": "user", "content": more}]
    assert second.input_tokens is None
    assert more != words


def test_a_server_that_is_not_vllm_gets_words_and_no_fields_of_vllms() -> None:
    english = Alphabet(words=tuple("abcdefgh"), ids=(), chat_overhead_tokens=0, is_vllm=False)
    for workload in (CHAT, LONG):
        request = _planner(workload, alphabet=english).request(3)
        sent = json.loads(request.body)
        assert not {"min_tokens", "ignore_eos"} & set(sent)
        assert (request.input_tokens, request.output_tokens) == (None, None)
        assert sent["max_tokens"] > 0
        assert isinstance(sent.get("prompt", ""), str)


def test_real_prompts_are_sent_as_they_are_with_the_length_of_their_answer() -> None:
    prompts = (Prompt(text='say "ö"', input_tokens=12, output_tokens=5),)
    request = _planner(CHAT, prompts=prompts).request(9)
    sent = json.loads(request.body)
    assert sent["messages"][-1]["content"] == 'say "ö"'
    assert (sent["max_tokens"], request.input_tokens) == (5, 12)


async def _learn_without_words(workload: Workload) -> Alphabet:
    """From a server whose tokenizer makes no token of any text, as one whose merges were lost does."""

    async def no_tokens(request: web.Request) -> web.Response:
        return web.json_response({"tokens": [], "count": 0, "prompt": "some words"})

    app = web.Application()
    app.router.add_post("/tokenize", no_tokens)
    app.router.add_post("/detokenize", no_tokens)
    async with TestServer(app) as server, aiohttp.ClientSession() as session:
        base_url = str(server.make_url("/")).rstrip("/")
        endpoint = Endpoint(base_url=base_url, model="m", sessions=(1,), startup_s=1.0, log=Path("log"))
        return await learn_alphabet(session, endpoint, workload)


def test_a_tokenizer_without_words_still_serves_completions() -> None:
    alphabet = asyncio.run(_learn_without_words(LONG))
    request = _planner(LONG, alphabet=alphabet).request(99)
    assert len(_ids(request)) == request.input_tokens


def test_a_tokenizer_without_words_cannot_chat() -> None:
    with pytest.raises(
        UsageError, match=r"has no plain words that are one token each, .*tokenizer.json.*`api: completions`"
    ):
        asyncio.run(_learn_without_words(CHAT))
