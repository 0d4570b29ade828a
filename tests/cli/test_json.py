"""What `--json` writes: the fields are those of docs/json.md, stdout is JSON alone, and what is not known is null."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from commands import tuner
from conftest import REPOSITORY
from record_samples import STUDY, a_trial

from tuner.record.store import Store
from tuner.types import Command, Estimate, Failed, FailureKind, Predicted

TEXT = (REPOSITORY / "docs" / "json.md").read_text()
SHOW_ONLY = {"verdict", "attribution", "launched_again"}
ONE_TRIAL_ONLY = {"study", "unreal", "command", "resolved", "diagnosis"}


def fields(title: str) -> set[str]:
    section = TEXT.split(f"\n## {title}\n")[1].split("\n## ")[0]
    return set(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    store = Store.open(f"sqlite:///{tmp_path / 'tuner.db'}")
    store.create_or_get_study(STUDY)
    store.finish(STUDY.name, a_trial(0))
    store.close()
    return tmp_path


def written(folder: Path, *command: str) -> Any:
    done = tuner(folder, *command, "--json", "-")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_of_studies(folder: Path) -> None:
    (study,) = written(folder, "studies")["studies"]
    assert study.keys() == fields("A study") - SHOW_ONLY - {"list"}
    assert (study["study"], study["trials"], study["gain"]) == (STUDY.name, 1, None)


def test_of_trials_and_of_a_study(folder: Path) -> None:
    trials, shown = written(folder, "trials", STUDY.name), written(folder, "show", STUDY.name)
    assert trials.keys() == fields("A study") - SHOW_ONLY
    assert shown.keys() == fields("A study")
    for study in (trials, shown):
        (trial,) = study["list"]
        assert trial.keys() == fields("A trial") - ONE_TRIAL_ONLY
        assert trial["metrics"]["output_throughput"] == 44.8
        assert trial["failure"] is None


def test_of_one_trial(folder: Path) -> None:
    found = written(folder, "show", STUDY.name, "0")
    assert found.keys() == fields("A trial")
    assert found["diagnosis"][0].keys() == {"cause", "strength", "evidence", "rivals", "remedies", "words"}


def test_of_one_trial_whose_engines_share_a_gpu(folder: Path) -> None:
    """The commands of all, in JSON and in words; others have no such field."""
    store = Store.open(f"sqlite:///{folder / 'tuner.db'}")
    command = Command(
        argv=("vllm", "serve", "m", "--data-parallel-size", "2", "--data-parallel-size-local", "1"),
        model="m",
        settings={"data_parallel_size": 2, "data_parallel_size_local": 1},
    )
    store.finish(STUDY.name, replace(a_trial(1), command=command))
    store.close()
    beside = [*command.argv, "--headless", "--data-parallel-start-rank", "1"]
    assert written(folder, "show", STUDY.name, "1")["command"]["headless"] == [beside]
    assert "headless" not in written(folder, "show", STUDY.name, "0")["command"]
    lines = tuner(folder, "show", STUDY.name, "1").stdout.splitlines()
    first = lines.index(f"command: {' '.join(command.argv)}")
    assert lines[first + 1] == f"beside it: {' '.join(beside)}"


def test_what_was_predicted_stands_beside_what_was_measured(folder: Path) -> None:
    metrics = {"output_throughput": Estimate(value=50.0, low=30.0, high=83.0)}
    failed = Failed(kind=FailureKind.OUT_OF_MEMORY, message="no memory left")
    store = Store.open(f"sqlite:///{folder / 'tuner.db'}")
    for number, predicted in enumerate(
        (
            Predicted(known="measured card", launches=2, metrics=metrics),
            Predicted(known="measured card", failed=failed),
        ),
        1,
    ):
        store.finish(STUDY.name, replace(a_trial(number), predicted=predicted))
    store.close()
    none, told, failing = (trial["predicted"] for trial in written(folder, "trials", STUDY.name)["list"])
    assert none is None
    assert (told["known"], told["launches"], told["failure"]) == ("measured card", 2, None)
    assert told["metrics"] == {"output_throughput": {"value": 50.0, "low": 30.0, "high": 83.0}}
    assert failing["failure"] == {"kind": "out of memory", "message": "no memory left"}
    shown = tuner(folder, "show", STUDY.name, "1").stdout
    assert re.search(r"^output_throughput +44\.8 +predicted 50\.0 \(30\.0 to 83\.0\)$", shown, re.MULTILINE)
    assert "(measured card): out of memory: no memory left" in tuner(folder, "show", STUDY.name, "2").stdout
    whole = tuner(folder, "show", STUDY.name).stdout
    assert "The model of the server was within 12% in 1 trial; 1 of 1 inside its 95 % intervals." in whole


def test_of_a_database_without_a_study(tmp_path: Path) -> None:
    Store.open(f"sqlite:///{tmp_path / 'tuner.db'}").close()
    assert written(tmp_path, "studies") == {"studies": []}


def test_of_spaces(tmp_path: Path) -> None:
    spaces = written(tmp_path, "spaces")["spaces"]
    assert all(space.keys() == fields("Search spaces") for space in spaces)
    assert {"cpu", "t4", "h200"} <= {space["gpu"] for space in spaces}


def test_of_doctor_also_where_nothing_can_run(tmp_path: Path) -> None:
    done = tuner(tmp_path, "doctor", "--vllm-python", str(tmp_path / "none"), "--json", "-")
    told = json.loads(done.stdout)
    assert told.keys() == fields("This machine")
    assert (done.returncode, told["engine"]) == (1, None)
    assert told["problem"]
    assert "engine: " in done.stderr


def test_a_file_is_written_and_the_tables_stay_on_stdout(folder: Path) -> None:
    done = tuner(folder, "trials", STUDY.name, "--json", str(folder / "t.json"))
    assert "vLLM's defaults" in done.stdout
    assert json.loads((folder / "t.json").read_text())["study"] == STUDY.name
