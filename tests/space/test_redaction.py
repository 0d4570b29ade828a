"""What a log tells of secrets, and what it may go on telling."""

import pytest

from tuner.space.redaction import redacted, redacted_command, shown_url

SECRET = "hf_AbCdEfGhIjKlMnOpQrStUvWxYz"  # has the form, is none


@pytest.mark.parametrize(
    "line",
    [
        f"HF_TOKEN={SECRET}",
        f"non-default args: {{'api_key': ['{SECRET}'], 'port': 8000}}",
        f"vllm serve m --api-key {SECRET} --port 1",
        f"Authorization: Bearer {SECRET}",
        f"connecting to https://me:{SECRET}@example.org/x",
        f"AWS_SECRET_ACCESS_KEY: {SECRET}",
        f"password={SECRET}",
        f"the token {SECRET} was refused",
    ],
)
def test_a_secret_is_hidden_and_the_rest_stays(line: str) -> None:
    shown = redacted(line)
    assert SECRET not in shown
    assert "***" in shown
    assert shown.replace("***", SECRET) == line


def test_a_value_that_is_known_to_be_secret_is_hidden_wherever_it_stands() -> None:
    assert redacted("key correct-horse, correct-horse-2", ["correct-horse", ""]) == "key ***, ***-2"
    assert redacted("a short one hides nothing", ["a"]) == "a short one hides nothing"


@pytest.mark.parametrize(
    "line",
    [
        "non-default args: {'max_num_batched_tokens': 8192, 'api_key': None, 'tokenizer': 'm'}",
        "TOKENIZERS_PARALLELISM=false VLLM_MAX_TOKENS=5",
        "eos_token: </s>, keys: 12, key=value, KeyError: 'x'",
        "INFO 11-29 [core.py:1] Avg generation throughput: 12.0 tokens/s, http://127.0.0.1:8000/v1",
        "VLLM_API_KEY is not set",
    ],
)
def test_what_is_no_secret_stays(line: str) -> None:
    assert redacted(line) == line


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://h:8000/v1", "http://h:8000/v1"),
        ("http://me:s3cr3t@h:8000", "***@h:8000"),
        ("me:s3@cr3t@h", "***@h"),
        ('"http://me:s3cr3t@h"', '***@h"'),
        ("http://h/?key=s3cr3t", "http://h/?***"),
    ],
)
def test_an_address_is_repeated_without_what_opens_it(url: str, shown: str) -> None:
    assert shown_url(url) == shown


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (["VLLM_API_KEY=x", "A=1", "vllm", "serve", "m m"], "VLLM_API_KEY=*** A=1 vllm serve 'm m'"),
        (["--api-key", "a", "b", "--seed", "1"], "--api-key *** *** --seed 1"),
        (["--api-key=a", "--ssl-keyfile", "k"], "--api-key=*** --ssl-keyfile k"),
        (["--c", '{"auth": "a b", "n": {"token":7}}'], """--c '{"auth": ***, "n": {"token":***}}'"""),
        (["--max-num-batched-tokens", "8", "http://u:p@x"], "--max-num-batched-tokens 8 'http://u:***@x'"),
    ],
)
def test_a_command_is_shown_without_what_its_names_tell_to_be_secret(words: list[str], shown: str) -> None:
    assert redacted_command(words) == shown
