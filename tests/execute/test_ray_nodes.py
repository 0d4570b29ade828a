"""What makes a node fit, what it takes of Ray's environment, and what Ray is asked for and says; no Ray is started."""

import os
import re
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from samples import FINGERPRINT

from tuner.execute.messages import Logged, NodeReport, Wanted
from tuner.execute.node_environment import forget_scheduler
from tuner.execute.on_node import LogTail, report
from tuner.execute.ray_cluster import _Cluster
from tuner.execute.ray_connection import Node, _sentence
from tuner.execute.ray_nodes import _looking, cards_there, complaint
from tuner.study.trial import run_trial
from tuner.types import DetectedGpu

T4 = DetectedGpu(index=0, uuid="GPU-1", name="Tesla T4", memory_bytes=1, compute_capability=(7, 5), driver="580.1")
L4 = replace(T4, uuid="GPU-2", name="NVIDIA L4")
NODE = Node(id="ab", address="10.0.0.5", resources={"CPU": 8, "GPU": 2, "accelerator_type:T4": 1})
OF_T4 = Wanted(
    fingerprint=FINGERPRINT,
    model="hub/model",
    version="0.32.0",
    python=Path("/nowhere"),
    run=run_trial,
    cards=("Tesla T4",),
)


def test_a_node_that_fits_is_not_complained_of() -> None:
    assert complaint(NODE, NodeReport(gpus=(T4,), time_s=104.9), OF_T4, 100.0, 100.0) is None
    assert complaint(NODE, NodeReport(gpus=(T4,), time_s=130.0), OF_T4, 100.0, 160.0) is None


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ("tuner is not installed there", "node 10.0.0.5 is left out: tuner is not installed there"),
        (NodeReport(gpus=(T4,), time_s=80.0), "its clock is 20 s off: set it by NTP"),
        (NodeReport(gpus=(T4, L4), time_s=100.0), r"cards of several models \(.*\), of which Ray gives any"),
        (NodeReport(gpus=(T4,), time_s=100.0, unfit="it has no vLLM"), "node 10.0.0.5 is left out: it has no vLLM"),
    ],
)
def test_a_node_that_does_not_is_named_by_its_address(answer: NodeReport | str, text: str) -> None:
    assert re.search(text, complaint(NODE, answer, OF_T4, 100.0, 101.0) or "")


def test_the_cards_of_a_cluster_are_told_by_model_and_who_could_not_run_a_study(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    there = [replace(NODE, id=name, address=f"10.0.0.{name}") for name in "12345"]
    answers = [
        NodeReport(gpus=(T4, T4), time_s=time.time()),
        NodeReport(gpus=(L4,), time_s=time.time()),
        NodeReport(gpus=(replace(T4, name="NVIDIA H200"),), time_s=time.time(), unfit="it has no vLLM"),
        NodeReport(gpus=(T4, L4), time_s=time.time()),
        NodeReport(time_s=time.time()),
    ]
    without = replace(NODE, id="6", resources={"CPU": 8})
    monkeypatch.setattr("tuner.execute.ray_nodes.nodes", lambda ray: [*there, without])
    monkeypatch.setattr("tuner.execute.ray_nodes._reports", lambda ray, asked, sought: answers[: len(asked)])
    names, unfit = cards_there(ModuleType("ray"), OF_T4)
    assert names == ["NVIDIA L4", "Tesla T4"]
    assert [text.partition(" is left out: ")[0] for text in unfit] == [f"node 10.0.0.{name}" for name in "345"]
    assert unfit[2].endswith("NVML shows none of its GPUs")


def _with_vllm(folder: Path, version: str) -> Path:
    python = folder / "python"
    python.write_text(f"#!/bin/sh\necho {version}\n")
    python.chmod(0o755)
    return python


def _folder(path: Path) -> Path:
    path.mkdir()
    return path


def test_what_the_user_named_must_be_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TUNER_VLLM_PYTHON", raising=False)
    gone = replace(OF_T4, version=None, python=tmp_path / "gone", is_named=True)
    assert f"it has no vLLM: --vllm-python names {tmp_path / 'gone'}, which is no file" in (report(gone).unfit or "")


def test_vllm_is_the_nodes_own_and_of_the_studys_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TUNER_VLLM_PYTHON", raising=False)
    asked = replace(OF_T4, python=_with_vllm(tmp_path, "0.32.0"))
    assert report(asked).unfit is None
    assert "its vLLM is 0.32.0" in (report(replace(asked, version="0.33.0")).unfit or "")
    assert report(replace(asked, version=None)).unfit is None
    assert report(replace(asked, python=_with_vllm(_folder(tmp_path / "cpu"), "0.32.0+cpu"))).unfit is None
    here = replace(asked, model=str(tmp_path))
    assert report(here).unfit is None
    gone = replace(asked, model=str(tmp_path / "gone"))
    assert "it has no model" in (report(gone).unfit or "")
    (tmp_path / "own").mkdir()
    monkeypatch.setenv("TUNER_VLLM_PYTHON", str(_with_vllm(tmp_path / "own", "0.31.0")))
    assert "its vLLM is 0.31.0" in (report(replace(asked, per_server=2)).unfit or "")


def test_a_launch_asks_for_cards_of_the_studys_model_and_not_for_nodes_that_do_not_fit() -> None:
    ray: Any = SimpleNamespace(remote=lambda **options: lambda call: call)
    demand = _Cluster(ray, replace(OF_T4, per_server=2), [NODE], {"cd"})._demand({"cd", "bad"})
    assert demand == {
        "num_cpus": 2,
        "num_gpus": 2,
        "resources": {"accelerator_type:T4": 0.001},
        "label_selector": {"ray.io/node-id": "!in(bad,cd)"},
        "runtime_env": {"env_vars": {"RAY_kill_child_processes_on_worker_exit": "0"}},
    }
    simulated = _Cluster(ray, replace(OF_T4, cards=(), simulated="simulated-t4"), [NODE], set())._demand(set())
    assert (simulated["num_gpus"], simulated["num_cpus"], simulated["resources"]) == (0, 0, {"simulated-t4": 1})


def test_what_ray_put_into_the_environment_is_taken_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tuner.execute.node_environment._of_parent", lambda: {"PATH": ""})
    for name in ("RAY_ADDRESS", "RAY_JOB_ID", "OMP_NUM_THREADS"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("PYTHONBREAKPOINT", "ray.util.rpdb.set_trace")
    forget_scheduler()
    assert not {"RAY_ADDRESS", "RAY_JOB_ID", "OMP_NUM_THREADS", "PYTHONBREAKPOINT"} & os.environ.keys()
    monkeypatch.setattr("tuner.execute.node_environment._of_parent", lambda: {"OMP_NUM_THREADS": "4"})
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    forget_scheduler()
    assert os.environ["OMP_NUM_THREADS"] == "4"  # the node's own


def test_a_log_is_told_in_parts_and_from_its_beginning_once_it_is_another(tmp_path: Path) -> None:
    log = tmp_path / "x.log"
    tail = LogTail(log)
    assert list(tail.more()) == []
    log.write_bytes(b"one")
    assert list(tail.more()) == [Logged(0, b"one")]
    log.write_bytes(b"one and two")
    assert list(tail.more()) == [Logged(3, b" and two")]
    assert list(tail.more()) == []
    log.write_bytes(b"new")
    assert list(tail.more()) == [Logged(0, b"new")]


@pytest.mark.parametrize(
    ("told", "text"),
    [
        ("Version mismatch: The cluster was started with:\n    Ray: 2.50.0\n    Python: 3.12.1\nThis process on node 1 was "
         "started with:\n    Ray: 2.60.0\n    Python: 3.11.7\n", "has Ray 2.50.0 with Python 3.12.1, and tuner runs with Ray "
         "2.60.0 and Python 3.11.7"),
        ("ray.exceptions.AuthenticationError: RPC error: InvalidAuthToken: Authentication token is missing", "RAY_AUTH_TOKEN"),
        ("Could not find any running Ray instance.", "no Ray cluster runs on this host"),
        ("something\nnew\n", "cannot be used: new"),
    ],
)  # fmt: skip
def test_what_ray_refuses_by_is_said_in_one_sentence(told: str, text: str) -> None:
    found = _sentence("10.0.0.1:6379", told)
    assert text in found
    assert "\n" not in found


@pytest.mark.ray
@pytest.mark.parametrize(
    ("there", "text"),
    [("raise m.PackageNotFoundError", "tuner is not installed there"), ("return '0.0.9'", "it has tuner 0.0.9")],
)
def test_a_node_without_this_tuner_says_so(there: str, text: str, tmp_path: Path) -> None:
    """What it is sent is read where tuner cannot be imported."""
    cloudpickle = pytest.importorskip("ray").cloudpickle
    (tmp_path / "sent").write_bytes(cloudpickle.dumps(_looking("0.1.0", cloudpickle.dumps(OF_T4))))
    script = (
        "import importlib.metadata as m, pickle, sys\n"
        "sys.modules['tuner'] = None\n"
        f"def version(name):\n    {there}\n"
        "m.version = version\n"
        "import ray.cloudpickle\n"
        "print(pickle.load(open(sys.argv[1], 'rb'))())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, tmp_path / "sent"], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert text in done.stdout, done.stderr
