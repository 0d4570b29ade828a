"""What can be compared: URLs, files and trials, and what is said of those that cannot. Real servers where one is launched."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from record_samples import STUDY
from samples import measured, trial
from waiting import wait_for

from tuner.bench.server_spec import source_of
from tuner.bench.sides import Conditions, command_of, gpus_beside, sides_of
from tuner.errors import UsageError
from tuner.launch.vllm import VllmLauncher
from tuner.record.store import Store
from tuner.space.files import load_space
from tuner.study.options import Options
from tuner.types import DetectedGpu
from tuner.workload.presets import PRESETS

GPUS = [
    DetectedGpu(index=i, uuid=f"GPU-{i}", name="L4", memory_bytes=None, compute_capability=(8, 9), driver="1")
    for i in range(2)
]


def conditions(**changes: Any) -> Conditions:
    asked: dict[str, Any] = {"workload": PRESETS["chat"], "slos": (), "model": None, "gpus": None}
    return Conditions(**(asked | changes))


@pytest.mark.parametrize(
    ("url", "sampled"),
    [
        ("http://127.0.0.1:8000", (0, 1)),
        ("http://localhost:8000", (0, 1)),
        ("http://[::1]:8000", (0, 1)),
        ("http://0.0.0.0:8000", (0, 1)),
        ("https://gpu-box.example:8000", ()),
        ("http://10.0.0.7:8000", ()),
    ],
)
def test_the_gpus_of_this_machine_are_sampled_if_the_server_is_on_it(url: str, sampled: tuple[int, ...]) -> None:
    assert gpus_beside(url, None, GPUS) == sampled
    assert gpus_beside(url, [1], GPUS) == (1,)


def test_a_gpu_that_is_not_there_is_no_gpu_to_sample() -> None:
    with pytest.raises(UsageError, match="--gpu-index 2: there is no such GPU, NVML sees 0, 1"):
        gpus_beside("http://127.0.0.1:8000", [2], GPUS)


BROKEN_FILES = {
    "model: m\nmax-num-seqs: [\n": "a.yaml:3: this is not valid YAML",
    "just a text\n": "a.yaml:1: expected `key: value` lines",
    "max-num-seqs: 4\n": "a.yaml names no model: add `model: ...` to it, or give --model",
    "model: ./nowhere\n": "a.yaml: --model ./nowhere: there is no such folder",
    "model: org/m\ntensor-parallel-size: two\n": "a.yaml:2: tensor-parallel-size: expected a whole number",
    "model: org/m\napi-key: secret\n": "a.yaml:2: api-key: it would be copied beside the logs: a server that is",
    "model: org/m\napi_key: secret\n": "a.yaml:2: api_key: it would be copied beside the logs",
    "model: org/m\nkv-transfer-config: {a: {password: secret}}\n": "a.yaml:2: kv_transfer_config.a.password: it would be",
    "model: org/m\nhf-token: secret\n": "a.yaml:2: hf-token: it would be copied beside the logs: set HF_TOKEN",
}


@pytest.mark.parametrize("text", BROKEN_FILES)
def test_a_file_that_cannot_be_compared(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.yaml").write_text(text)
    with pytest.raises(UsageError) as refused:
        sides_of(["a.yaml", "a.yaml"], conditions(), lambda told: None)
    assert BROKEN_FILES[text] in str(refused.value)
    assert "secret" not in str(refused.value)


def test_a_file_of_another_kind(tmp_path: Path) -> None:
    (tmp_path / "serve.conf").write_text("model: m\n")
    with pytest.raises(UsageError, match=r"only if its name ends with \.yaml or \.yml"):
        sides_of([str(tmp_path / "serve.conf")] * 2, conditions(), lambda told: None)


def test_a_trial_that_is_not_there(tmp_path: Path) -> None:
    storage = f"sqlite:///{tmp_path / 'x.db'}"
    store = Store.open(storage)
    store.create_or_get_study(STUDY)
    store.close()
    asked = conditions(options=Options(storage=storage))
    with pytest.raises(UsageError, match="study 'a study' has no trial 7 that ended"):
        sides_of(["a study:7", "a study:8"], asked, lambda told: None)
    with pytest.raises(UsageError, match="has no study 'b'"):
        sides_of(["b:0", "b:1"], asked, lambda told: None)


def test_a_trial_whose_engines_share_a_gpu_is_launched_with_all_of_them(tmp_path: Path) -> None:
    options = Options(storage=f"sqlite:///{tmp_path / 'x.db'}")
    launcher = VllmLauncher(python=Path("python"), model="org/m")
    store = Store.open(options.storage)
    store.create_or_get_study(replace(STUDY, model="org/m", space=load_space("t4").model_dump_json()))
    for number, params in enumerate(({"max_num_seqs": 8}, {"engines_per_gpu": 2})):
        store.finish(STUDY.name, replace(trial(number, measured()), command=launcher.command(params)))
    store.close()
    for number, beside in enumerate((0, 1)):
        source = source_of(f"{STUDY.name}:{number}", options, None, ())
        command = command_of(("vllm", "serve", "org/m", *source.flags), source)
        assert len(command.headless) == beside
        assert source.options.mps == ("off" if beside else "auto"), "as it was measured"
        assert all(argv[: len(command.argv)] == command.argv for argv in command.headless)


class Folder:
    """A place with a configuration, a database with one trial, and the command that compares them."""

    def __init__(self, path: Path, python: Path, model: Path) -> None:
        self.path, self.python, self.model = path, python, model
        (path / "b.yaml").write_text(
            "max_num_seqs: 8\nenforce-eager: true\nmax-model-len: 2048\nserved-model-name: b\n"
        )
        store = Store.open(f"sqlite:///{path / 'tuner.db'}")
        space = load_space("cpu")
        store.create_or_get_study(replace(STUDY, name="s", model=str(model), space=space.model_dump_json()))
        engine = VllmLauncher(python=python, model=str(model), fixed=space.fixed, environment=space.environment)
        command = engine.command({"max_num_seqs": 2})
        store.finish(
            "s", replace(trial(3, measured()), command=replace(command, argv=("/gone/vllm", *command.argv[1:])))
        )
        store.close()

    def command(self, a: str, b: str, *more: str) -> list[str]:
        short = ["--users", "4", "--warmup", "0.5", "--window", "1", "--max-window", "1", "--gpu", "cpu", *more]
        engine = ["--vllm-python", str(self.python), "--model", os.path.relpath(self.model, self.path)]
        return [sys.executable, "-m", "tuner", "compare", a, b, *engine, *short]

    def run(self, a: str, b: str, *more: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(self.command(a, b, *more), cwd=self.path, capture_output=True, text=True, check=False)


@pytest.fixture
def folder(tmp_path: Path, engine_python: Path, demo_model: Path) -> Folder:
    return Folder(tmp_path, engine_python, demo_model)


def servers_of(folder: Path) -> list[psutil.Process]:
    """The processes that work in `folder`: a server does in that of its log."""
    found = []
    for process in psutil.process_iter():
        try:
            if Path(process.cwd()).is_relative_to(folder) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


@pytest.mark.engine
def test_a_trial_and_a_file_are_launched_in_turn_by_the_same_vllm(folder: Folder) -> None:
    done = folder.run("s:3", "b.yaml", "--repeats", "1", "--json", "c.json")
    bound = "client bound" in done.stdout  # a busy machine
    assert done.returncode == (1 if bound else 0), done.stderr
    assert f"A: s:3, model {folder.model}\nB: b.yaml, model b\n" in done.stdout
    assert "Start-up" in done.stdout
    found = json.loads((folder.path / "c.json").read_text())
    assert [found[side]["measurements"][0]["failed"] for side in "ab"] == [0, 0]
    (logs,) = (folder.path / "tuner-logs").iterdir()
    assert (logs / "B" / "config.yaml").read_text() == (folder.path / "b.yaml").read_text()
    assert all("Application startup complete" in (logs / side / "1.log").read_text() for side in "AB")
    assert servers_of(folder.path / "tuner-logs") == []


@pytest.mark.engine
def test_what_vllm_refuses_is_never_launched(folder: Folder) -> None:
    (folder.path / "a.yaml").write_text("max-num-seqs: many\n")
    done = folder.run("a.yaml", "b.yaml")
    assert done.returncode == 2
    assert "Error: vLLM refuses a.yaml: argument --max-num-seqs: invalid" in done.stderr
    assert not list((folder.path / "tuner-logs").glob("*/*/*.log"))
    (folder.path / "a.yaml").write_text("max-model-len: 128\nenforce-eager: true\n")
    done = folder.run("a.yaml", "b.yaml")
    assert done.returncode == 2
    assert "max_model_len is 128" in done.stderr


@pytest.mark.engine
def test_ctrl_c_leaves_no_server(folder: Folder) -> None:
    output = folder.path / "output"
    with output.open("w") as file:
        started = subprocess.Popen(folder.command("b.yaml", "b.yaml"), cwd=folder.path, stdout=file, stderr=file)
        wait_for(lambda: "starting vLLM" in output.read_text() and bool(servers_of(folder.path / "tuner-logs")), 120)
        started.send_signal(signal.SIGINT)
        assert started.wait(60) == 130
    assert servers_of(folder.path / "tuner-logs") == []
    assert "Interrupted after 0 of 6 pairs; no server that tuner started is left." in output.read_text()
    assert "Traceback" not in output.read_text()
