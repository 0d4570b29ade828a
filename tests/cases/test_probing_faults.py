"""Servers that cannot be asked, or answer in another form: a sentence, and the rest goes on."""

import asyncio
import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
from other_server import MODEL, OtherServer, Timed

from tuner.errors import UsageError
from tuner.load.probing import probe
from tuner.load.questions import Questions, read_questions
from tuner.types import Target
from tuner.types.quality import Quality

QUESTIONS = Questions(prompts=tuple(f"question {n}" for n in range(10)), texts=tuple(f"a text {n}" for n in range(8)))
LOGPROBS = [None, {"5": {"logprob": -1.5, "rank": 1}}, {"7": {"logprob": -0.5, "rank": 2}}]
Play = Callable[[Mapping[str, Any]], bytes]


def http(status: str, body: str, promised: int | None = None) -> bytes:
    """`promised` is the length that the head tells."""
    length = promised or len(body.encode())
    return f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}".encode()


def choice(**of_it: Any) -> bytes:
    return http("200 OK", json.dumps({"choices": [{"index": 0, "finish_reason": "length", **of_it}]}))


def as_vllm(asked: Mapping[str, Any]) -> bytes:
    if "prompt_logprobs" in asked:
        return choice(text="x", prompt_logprobs=LOGPROBS)
    return choice(text="x y", token_ids=[1, 2])


def asking(play: Play, questions: Questions = QUESTIONS) -> Quality:
    def answer(number: int, asked: Mapping[str, Any]) -> Iterable[Timed]:
        return [(0.0, play(asked))]

    with OtherServer(answer, head=b"") as server:
        return asyncio.run(probe(Target(base_url=server.url, model=MODEL), questions))


def only_tokens(asked: Mapping[str, Any], otherwise: bytes) -> bytes:
    return otherwise if "prompt_logprobs" in asked else as_vllm(asked)


def test_a_server_of_vllm_answers_all() -> None:
    found = asking(as_vllm)
    assert found.untold == ()
    assert (found.answers, found.are_tokens) == (((1, 2),) * 10, True)
    assert found.nll == (1.0,) * 8
    assert found.mean_nll == 1.0


def test_a_server_without_token_ids_is_compared_by_characters() -> None:
    found = asking(lambda asked: as_vllm(asked) if "prompt_logprobs" in asked else choice(text="ab"))
    assert (found.answers[0], found.are_tokens) == ((97, 98), False)


@pytest.mark.parametrize(
    ("otherwise", "why"),
    [
        (choice(text="x"), "the server gives no prompt_logprobs"),
        (http("404 Not Found", '{"detail": "no"}'), "HTTP 404"),
        (http("400 Bad Request", '{"message": "logprobs are off"}'), "logprobs are off"),
        (http("200 OK", "<html>Sign in</html>"), "answered no JSON: '<html>Sign in"),
        (http("200 OK", '{"choices": []}'), "answered without a choice"),
        (http("200 OK", '{"choices": [{"te', promised=4000), "failed:"),
        (choice(prompt_logprobs=[None, {"5": {"logprob": "much"}}]), "are no numbers"),
        (choice(prompt_logprobs=[None, None]), "are no numbers"),
    ],
)
def test_a_server_without_logprobs_gives_a_sentence_and_still_its_answers(otherwise: bytes, why: str) -> None:
    found = asking(lambda asked: only_tokens(asked, otherwise))
    assert found.nll == ()
    assert len(found.answers) == 10
    (told,) = found.untold
    assert told.startswith("log-probabilities of a text: ")
    assert why in told


def test_answers_that_were_cut_off_are_none() -> None:
    def play(asked: Mapping[str, Any]) -> bytes:
        return (
            choice(text="x", token_ids=[1], finish_reason="abort")
            if asked["prompt"] == "question 3"
            else as_vllm(asked)
        )

    found = asking(play)
    assert [answer is None for answer in found.answers] == [n == 3 for n in range(10)]
    assert found.untold == ("greedy answers: 1 of 10 did not come: an answer was cut off",)


def test_pieces_that_most_of_did_not_come_are_told_with_their_number() -> None:
    def play(asked: Mapping[str, Any]) -> bytes:
        lost = "prompt_logprobs" in asked and asked["prompt"] != QUESTIONS.texts[0]
        return http("500 Internal Server Error", "nan") if lost else as_vllm(asked)

    found = asking(play)
    assert found.nll == (1.0, *(None,) * 7)
    (told,) = found.untold
    assert told.startswith("log-probabilities of a text: 7 of 8 did not come: /v1/completions answered HTTP 500")


def test_a_server_that_is_gone_is_told_in_one_sentence_each() -> None:
    found = asyncio.run(probe(Target(base_url="http://127.0.0.1:1", model="m"), QUESTIONS))
    assert len(found.untold) == 2
    assert (found.answers, found.nll, found.mean_nll) == ((), (), None)


def test_messages_go_to_the_chat() -> None:
    seen: list[Mapping[str, Any]] = []

    def play(asked: Mapping[str, Any]) -> bytes:
        seen.append(asked)
        return as_vllm(asked) if "prompt" in asked else choice(message={"content": "hi"}, token_ids=[3])

    talk = ({"role": "user", "content": "hello"},)
    found = asking(play, Questions(prompts=(talk,) * 8, texts=QUESTIONS.texts))
    assert found.answers == ((3,),) * 8
    assert seen[0]["messages"] == [{"role": "user", "content": "hello"}]


def test_the_questions_that_come_with_tuner() -> None:
    found = read_questions()
    assert len(found.prompts) >= 40
    assert len(set(found.texts)) == 24
    words = sum(len(text.split()) for text in found.texts)
    assert 2_000 < words < 4_000
    assert found.digest == read_questions().digest


def test_a_file_replaces_what_it_has(tmp_path: Path) -> None:
    path = tmp_path / "own.jsonl"
    path.write_text("".join(json.dumps({"text": f"two words {n}"}) + "\n\n" for n in range(9)))
    found = read_questions(path)
    assert (len(found.texts), found.prompts) == (9, read_questions().prompts)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", r":1: the file is empty"),
        ("\n\n", "has no question"),
        ("hello\n", ":1: this is no JSON"),
        ('{"prompt": "a"}\n{"question": "b"}\n', ":2: expected"),
        ('{"prompt": "  "}\n', ":1: expected"),
        ('{"text": "word"}\n', ":1: expected"),
        ('{"messages": [{"role": "user"}]}\n', ":1: expected"),
        ('{"messages": []}\n', ":1: expected"),
        ("[1]\n", ":1: expected"),
        ('{"prompt": "a"}\n{"prompt": "b"}\n' * 8, "has 2 different questions: of fewer than 8"),
        ('{"text": "a b"}\n' * 8, "has 1 different pieces of text: of fewer than 8"),
        ("".join(f'{{"text": "a {n}"}}\n' for n in range(1001)), "1,001 pieces of text, and 1,000 are the most"),
    ],
)
def test_a_file_in_another_form_is_refused(tmp_path: Path, text: str, why: str) -> None:
    path = tmp_path / "own.jsonl"
    path.write_text(text)
    with pytest.raises(UsageError, match=why):
        read_questions(path)


def test_a_file_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is a directory"):
        read_questions(tmp_path)
    with pytest.raises(UsageError, match="cannot be read"):
        read_questions(tmp_path / "none.jsonl")
