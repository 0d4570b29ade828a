"""What `tuner serve` refuses to begin with, each in one sentence."""

import socket
from pathlib import Path

import pytest
from commands import tuner

from tuner.errors import UsageError
from tuner.serve.service import read_token


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "tuner.example"])
def test_others_reach_it_only_with_a_token(tmp_path: Path, host: str) -> None:
    done = tuner(tmp_path, "serve", "--host", host)
    assert done.returncode == 2
    assert f"--host {host} can be reached by others" in done.stderr
    assert not (tmp_path / "tuner.db").exists()


def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = tuner(tmp_path, "serve", "--port", str(port))
    assert done.returncode == 2
    assert f"127.0.0.1:{port} cannot be used: " in done.stderr


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (("--allow", "none.yaml"), "--allow none.yaml: there is no such file"),
        (("--model", "mine"), "--model 'mine': expected NAME=PATH_OR_REPO"),
        (("--token-file", "none"), "--token-file none cannot be read"),
        (("--storage", "mysql://x"), "--storage does not know 'mysql' databases"),
        (("--port", "0"), "--port is 0"),
    ],
)
def test_what_cannot_be_meant_is_a_sentence(tmp_path: Path, flags: tuple[str, str], sentence: str) -> None:
    done = tuner(tmp_path, "serve", *flags)
    assert done.returncode == 2
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("text", "mode", "sentence"),
    [
        ("0123456789abcdef0", 0o644, "can be read or written by everybody"),
        ("0123456789abcdef0", 0o602, "can be read or written by everybody"),
        ("short", 0o600, "one word of at least 16"),
        ("0123456789 abcdef", 0o600, "one word of at least 16"),
        ("0123456789abcdefé", 0o600, "one word of at least 16"),
    ],
)
def test_a_token_that_is_none_is_refused_and_not_shown(tmp_path: Path, text: str, mode: int, sentence: str) -> None:
    file = tmp_path / "token"
    file.write_text(text)
    file.chmod(mode)
    with pytest.raises(UsageError, match=sentence) as caught:
        read_token(file)
    assert text not in str(caught.value)


def test_a_token_is_read_without_its_line_break(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("0123456789abcdef0\n")
    file.chmod(0o600)
    assert read_token(file) == "0123456789abcdef0"
