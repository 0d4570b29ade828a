import signal
import threading
import time
from pathlib import Path

import psutil
import pytest
from waiting import wait_for

from tuner.retune.commands import run_command, without_secrets


def test_what_it_says_and_how_it_ends(tmp_path: Path) -> None:
    ran = run_command(f"cd {tmp_path} && echo $TUNER_PROPOSAL; echo wrong >&2; exit 3", {"TUNER_PROPOSAL": "7"}, 60)
    assert (ran.exit_code, ran.worked) == (3, False)
    assert ran.said == "7\nwrong\n"
    assert ran.sentence("--canary-cmd").startswith("--canary-cmd ended with exit code 3 after")
    assert ran.sentence("--canary-cmd").endswith(": wrong")


def test_one_that_hangs_is_killed_with_what_it_started(tmp_path: Path) -> None:
    ran = run_command(f"sleep 300 & echo $! > {tmp_path / 'pid'}; wait", {}, 1.0)
    assert ran.exit_code is None
    assert "was killed" in ran.sentence("--revert-cmd")
    pid = int((tmp_path / "pid").read_text())
    wait_for(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE, 20)


def test_what_it_leaves_in_the_background_goes_on_and_is_not_waited_for(tmp_path: Path) -> None:
    began_s = time.monotonic()
    ran = run_command(f"sleep 100 & echo $! > {tmp_path / 'pid'}", {}, 60)
    assert ran.worked
    assert time.monotonic() - began_s < 50
    process = psutil.Process(int((tmp_path / "pid").read_text()))
    assert process.is_running()
    process.kill()


def test_ctrl_c_kills_it(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    main = threading.main_thread().ident or 0

    def interrupt() -> None:
        wait_for(lambda: pid.exists() and pid.read_text().endswith("\n"))
        signal.pthread_kill(main, signal.SIGINT)

    threading.Thread(target=interrupt).start()
    with pytest.raises(KeyboardInterrupt):
        run_command(f"echo $$ > {pid}; exec sleep 300", {}, 200)
    assert not psutil.pid_exists(int(pid.read_text()))


def test_no_secret_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_abcdefgh")
    ran = run_command("echo with $HF_TOKEN; echo password=hunter22; echo 'Authorization: Bearer xyz.123'", {}, 60)
    assert not any(secret in ran.said for secret in ("hf_abcdefgh", "hunter22", "xyz.123"))
    assert ran.said.count("***") == 3


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("postgresql://tuner:s3cret@h/x", "postgresql://tuner:***@h/x"),
        ("--api-key abc", "--api-key ***"),
        ('{"token": "abc"}', '{"token": "***"}'),
        ("1200 tokens a second", "1200 tokens a second"),
        ("max_num_batched_tokens=16384 is fine", "max_num_batched_tokens=16384 is fine"),
        ("all is well", "all is well"),
    ],
)
def test_words_that_announce_a_secret(text: str, expected: str) -> None:
    assert without_secrets(text, {}) == expected


def test_control_characters_do_not_reach_a_terminal() -> None:
    assert "\x1b" not in run_command("printf '\\033[2Jgone'", {}, 60).said
