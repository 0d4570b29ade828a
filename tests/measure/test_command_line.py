"""Where a server of this machine listens, and what a command line says: flags in all their forms, and no key."""

import socket
import sys

import pytest

from tuner.measure.command_line import Listening, listening, of_words

SERVE = ["/venv/bin/python", "/venv/bin/vllm", "serve", "demo"]


@pytest.mark.parametrize(
    ("flags", "limit", "is_eager"),
    [
        (["--max-num-seqs", "4"], 4, False),
        (["--max_num_seqs=8", "--enforce_eager"], 8, True),
        (["--max-num-seqs", "4", "--max-num-seqs=6"], 6, False),
        (["--max-num-seqs", "many"], None, False),
        (["--enforce-eager"], None, True),
        ([], None, False),
    ],
)
def test_what_a_command_line_says(flags: list[str], limit: int | None, is_eager: bool) -> None:
    found = of_words("127.0.0.1", [*SERVE, *flags])
    assert found == Listening(address="127.0.0.1", is_told=True, max_num_seqs=limit, is_eager=is_eager)


@pytest.mark.parametrize("words", [["nginx"], [], [*SERVE, "--config", "vllm.yaml", "--max-num-seqs", "4"]])
def test_what_is_no_vllm_or_has_a_file_of_arguments_tells_nothing(words: list[str]) -> None:
    assert of_words("0.0.0.0", words) == Listening(address="0.0.0.0", is_told=False)


def test_a_key_on_the_command_line_is_not_given_on() -> None:
    assert "secret" not in repr(of_words("::1", [*SERVE, "--api-key", "secret"]))


@pytest.mark.skipif(sys.platform != "linux", reason="other systems hide the tables from users")
def test_who_listens_on_a_port_of_this_machine() -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        port = server.getsockname()[1]
        assert listening(port) is None
        server.listen()
        assert listening(port) == Listening(address="127.0.0.1", is_told=False)  # pytest is no vLLM
