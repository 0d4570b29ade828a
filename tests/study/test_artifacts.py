"""Which files of a study are given to whoever asks, and which never."""

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest
from record_samples import COMMAND, MEASURED, NOW, STUDY, TIMELINE, a_trial

from tuner.propose.shown import Content
from tuner.record.rows import Verification
from tuner.record.store import Store
from tuner.study.artifacts import Artifacts, artifacts_of
from tuner.study.lease import me
from tuner.study.timeline_svg import timeline_svg

NAME = STUDY.name


@pytest.fixture
def store(storage_url: str) -> Iterator[Store]:
    opened = Store.open(storage_url)
    opened.create_or_get_study(STUDY)
    yield opened
    opened.close()


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    """The folder of logs, with the study's in it."""
    (tmp_path / "logs" / NAME).mkdir(parents=True)
    return tmp_path / "logs"


def launched(store: Store, log: Path, number: int = 0) -> None:
    if number not in {trial.number for trial in store.trials(NAME)}:
        store.finish(NAME, replace(a_trial(number), outcome=replace(MEASURED, timeline=TIMELINE)))
    leader = me()
    named = {"tuner": leader, "leader": leader, "processes": [leader], "start": "plain", "port": 1, "started_at": NOW}
    store.record_launch(NAME, number, log=log, **named)  # type: ignore[arg-type]


def files(store: Store, logs: Path, **environment: str) -> dict[str, Content | None]:
    """What is listed of trial 0, by its name, as it is given."""
    give = Artifacts(store, logs, environment)
    listed = artifacts_of(store.study(NAME), 0, store.logs_by_trial(NAME).get(0, []), has_timeline=True)
    return {one.filename: give(one.id) for one in listed}


def text(content: Content | None) -> str:
    assert content is not None
    return content.body.decode()


def test_the_logs_of_a_trials_launches_are_given_without_secrets(store: Store, logs: Path) -> None:
    for name in ("trial-0.log", "trial-0-verify-1.log"):
        (logs / NAME / name).write_text(f"{name}: HF_TOKEN=hf_abcdefghijklmnopqrst and correct-horse\nlast \xff line\n")
        launched(store, logs / NAME / name)
    launched(store, logs / NAME / "trial-0.log")  # once more, into the same log
    found = files(store, logs, MY_PASSWORD="correct-horse", OTHER="line")
    assert [*found] == ["trial-0.log", "trial-0-verify-1.log", "trial-0-timeline.svg", "trial-0-timeline.json"]
    assert text(found["trial-0.log"]) == "trial-0.log: HF_TOKEN=*** and ***\nlast \xff line\n"
    assert text(found["trial-0-verify-1.log"]).startswith("trial-0-verify-1.log: ")


def test_the_time_line_is_given_as_json_and_as_a_plot(store: Store, logs: Path) -> None:
    launched(store, logs / NAME / "trial-0.log")
    again = replace(TIMELINE, window_end_s=9.0)
    named = {"contest": 1, "round": 1, "role": "defaults", "trial_number": 0, "command": COMMAND}
    outcome = replace(MEASURED, timeline=again)
    store.add_verification(NAME, Verification(**named, outcome=outcome, started_at=NOW, ended_at=NOW))  # type: ignore[arg-type]
    found = files(store, logs)
    told = json.loads(text(found["trial-0-timeline.json"]))
    assert [(load["contest"], load["round"], load["window_end_s"]) for load in told["loads"]] == [
        (None, None, 3.5),
        (1, 1, 9.0),
    ]
    assert told["loads"][0]["output_throughput"] == [None, 40.5, 44.75]
    assert "a study, trial 0" in text(found["trial-0-timeline.svg"])


def test_a_path_outside_is_never_read(store: Store, logs: Path, tmp_path: Path) -> None:
    """Whatever a database names, that may come from somebody else."""
    secret, elsewhere = tmp_path / "secret.log", tmp_path / "elsewhere"
    secret.write_text("outside")
    elsewhere.mkdir()
    (elsewhere / "trial-0.log").write_text("outside")
    (logs / NAME / "link.log").symlink_to(secret)
    (logs / NAME / "linked").symlink_to(elsewhere)
    (logs / NAME / "tuner.db").write_text("outside")
    (logs / NAME / "deeper").mkdir()
    (logs / NAME / "deeper" / "trial-0.log").write_text("outside")
    (logs / NAME / "folder.log").mkdir()
    os.mkfifo(logs / NAME / "pipe.log")
    named = [
        secret,
        elsewhere / "trial-0.log",
        logs / NAME / "link.log",
        logs / NAME / "linked" / "trial-0.log",
        logs / NAME / ".." / ".." / "secret.log",
        logs / NAME / "tuner.db",
        logs / NAME / "deeper" / "trial-0.log",
        logs / NAME / "folder.log",
        logs / NAME / "pipe.log",
    ]
    for log in named:
        launched(store, log)
    give = Artifacts(store, logs, {})
    listed = artifacts_of(STUDY, 0, named, has_timeline=False)
    assert len(listed) == len(named)
    assert [give(one.id) for one in listed] == [None] * len(named)
    (logs / NAME / "good.log").write_text("inside")
    launched(store, logs / NAME / "good.log")
    (*_, last) = artifacts_of(STUDY, 0, [*named, logs / NAME / "good.log"], has_timeline=False)
    assert text(give(last.id)) == "inside"


def test_what_nobody_listed_is_not_given(store: Store, logs: Path) -> None:
    (logs / NAME / "trial-0.log").write_text("log")
    launched(store, logs / NAME / "trial-0.log")
    give = Artifacts(store, logs, {})
    good = artifacts_of(STUDY, 0, [logs / NAME / "trial-0.log"], has_timeline=True)[0].id
    token = good.partition("-")[0]
    assert give(good) is not None
    for bad in (
        "",
        "-",
        "..",
        f"{token}-0-11",
        f"{token}-1-10",
        f"{token}-1-2",
        f"{'0' * 16}-0-10",
        f"{good}-",
        "a" * 99,
    ):
        assert give(bad) is None, bad
    store.delete_study(NAME)
    store.create_or_get_study(replace(STUDY, created_at=NOW.replace(year=2027)))
    launched(store, logs / NAME / "trial-0.log")
    assert give(good) is None  # of another study of that name


def test_of_a_long_log_both_ends_are_given(store: Store, logs: Path) -> None:
    log = logs / NAME / "trial-0.log"
    log.write_bytes(b"first line\n" + b"x" * 5_000_000 + b"\nlast line\n")
    launched(store, log)
    found = text(files(store, logs)["trial-0.log"])
    assert found.startswith("first line\n")
    assert found.endswith("\nlast line\n")
    assert "3,951,446 bytes are left out here" in found
    assert len(found) < 1_100_000


def test_a_plot_is_well_formed_and_shows_no_series_that_nobody_told() -> None:
    found = timeline_svg(TIMELINE, "<&> SIMULATED")
    tree = ElementTree.fromstring(found)  # ours
    words = [element.text for element in tree.iter() if element.text]
    assert "<&> SIMULATED" in words
    assert {"tok/s", "running", "waiting", "KV cache"} <= set(words)
    assert "GPU" not in words
    assert "script" not in found
    holes = replace(TIMELINE, running=(1.0, None, 2.0), waiting=(None, None, None))
    assert "waiting" not in timeline_svg(holes, "")
