"""The command of a study and its environment; how a run ended, by what it wrote."""

import os
import sys
from dataclasses import fields
from pathlib import Path

import pytest
from typer.main import get_command

from tuner.cli.commands import app
from tuner.serve.allowed import Allowed, Asked
from tuner.serve.asked import StudyAsked
from tuner.serve.child import Places, arguments, ending, environment, last_line, start
from tuner.study.events import End, EventLog
from tuner.study.options import Options

FULL = StudyAsked(
    gpu="t4",
    study="a",
    engine="sim",
    trials=3,
    objective=("throughput", "ttft_p99"),
    slo=("ttft_p99=1s", "tpot_p99=1s"),
    price=2.5,
    users=4,
    verify=2,
    max_hours=1.5,
    groups=("batch", "memory"),
    seed=7,
    max_model_len=4096,
)


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return Places(storage="postgresql://u:secret@h/d", logs=tmp_path, python="/engine/python")


def asked(said: StudyAsked) -> Asked:
    return Allowed().options(Allowed().complete(said))


def test_the_command_line_reads_back_what_was_asked_for(places: Places) -> None:
    found = asked(FULL)
    words = arguments(found, places, "0123")
    assert words[:5] == [sys.executable, "-m", "tuner", "optimize", f"--events={places.logs}/service/0123.jsonl"]
    command = get_command(app).commands["optimize"]  # type: ignore[attr-defined]
    read = command.make_context("optimize", words[4:]).params
    own = {"storage", "log_dir", "cache_dir", "vllm_python", "wait_for_gpu"}
    for field in fields(Options):
        if field.name not in own:
            value, default = getattr(found.options, field.name), getattr(Options(), field.name)
            given = read[field.name]
            assert (tuple(given) if isinstance(given, list) else default if given is None else given) == value, (
                field.name
            )
    assert (str(read["log_dir"]), read["vllm_python"]) == (str(places.logs), "/engine/python")


def test_no_word_of_the_command_has_the_database(places: Places) -> None:
    assert not any("secret" in word for word in arguments(asked(FULL), places, "0123"))


def test_only_what_was_asked_for_is_handed_on(places: Places) -> None:
    mine = {"PATH": "/bin", "TUNER_TRIALS": "9", "TUNER_MODEL": "x", "HF_TOKEN": "ours", "TEAM": "theirs"}
    plain = Asked(options=Options(), hf_token=None, card="t4")
    assert environment(plain, places, mine) == {
        "PATH": "/bin",
        "HF_TOKEN": "ours",
        "TEAM": "theirs",
        "TUNER_STORAGE": places.storage,
    }
    team = Asked(options=Options(), hf_token="TEAM", card="t4")
    assert environment(team, places, mine)["HF_TOKEN"] == "theirs"


def test_a_run_ended_as_its_own_last_lines_say(places: Places) -> None:
    places.folder.mkdir()
    file = places.events("0123")
    assert ending(places, "0123", 1) is None
    with EventLog(file) as log:
        log.end("failed", "no")
    assert ending(places, "0123", os.getpid()) == End(how="failed", message="no")
    assert ending(places, "0123", 1) is None  # of another run
    with EventLog(file) as log:
        assert ending(places, "0123", os.getpid()) is None
        for number in range(3000):
            log.note(f"note {number} " + "x" * 60)
        log.end("interrupted")
    assert ending(places, "0123", os.getpid()) == End(how="interrupted")


def test_a_command_that_is_refused_tells_why_in_its_log(places: Places) -> None:
    sqlite = Places(storage=f"sqlite:///{places.logs}/x.db", logs=places.logs)
    child = start(Asked(options=Options(engine="sim", gpu="nope"), hf_token=None, card="t4"), sqlite, "0123")
    while child.lives:
        pass
    assert child.code == 2
    assert "there is no search space 'nope'" in last_line(sqlite, "0123")
    end = ending(sqlite, "0123", child.known.pid)
    assert end is not None
    assert (end.how, end.message) == ("failed", last_line(sqlite, "0123").removeprefix("Error: "))
    child.interrupt()  # nobody is there any more
