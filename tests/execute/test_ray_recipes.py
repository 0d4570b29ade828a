"""docs/ray.md and its recipes: what they start can be started, and their words are those of the code."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]
import pytest
import yaml
from conftest import REPOSITORY
from waiting import free_port, wait_for

from tuner.execute import ray_cluster, ray_nodes
from tuner.execute.ray_nodes import simulated_resource

TEXT = (REPOSITORY / "docs" / "ray.md").read_text()
RECIPES = REPOSITORY / "docs" / "recipes"
#: Of a RayJob's spec and its clusterSpec: the fields of ray.io/v1 that the recipe may use, from KubeRay's API reference,
#: https://ray-project.github.io/kuberay/reference/api/ (RayJobSpec, RayClusterSpec, HeadGroupSpec, WorkerGroupSpec). The whole
#: manifest was checked once against the CRD's schema.
JOB = {
    "entrypoint",
    "shutdownAfterJobFinishes",
    "backoffLimit",
    "rayClusterSpec",
}
CLUSTER = {"rayVersion", "headGroupSpec", "workerGroupSpecs"}
GROUP = {"groupName", "replicas", "minReplicas", "maxReplicas", "rayStartParams", "template"}


def test_the_batch_script_is_a_script_and_its_command_is_rays() -> None:
    script = RECIPES / "slurm.sh"
    assert subprocess.run(["bash", "-n", script], capture_output=True, check=False).returncode == 0
    text = script.read_text()
    lines = text.splitlines()
    assert lines[0] == "#!/bin/bash"
    directives = [line for line in lines if line.startswith("#SBATCH")]
    assert directives == lines[1 : 1 + len(directives)]  # Slurm reads none behind the first command
    assert all(re.fullmatch(r"#SBATCH --[a-z-]+(=\S+)?", line) for line in directives)
    assert "ray symmetric-run --address" in text
    assert "--min-nodes" in text


@pytest.mark.ray
def test_ray_has_the_commands_that_are_named() -> None:
    pytest.importorskip("ray")
    for command, option in [
        ("symmetric-run", "--min-nodes"),
        ("start", "--resources"),
        ("get-auth-token", "--generate"),
    ]:
        words = [sys.executable, "-m", "ray.scripts.scripts", command, "--help"]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        assert option in done.stdout, done.stderr


def test_the_manifest_has_the_fields_of_a_ray_job_and_pods_that_kubernetes_takes() -> None:
    job: dict[str, Any] = yaml.safe_load((RECIPES / "ray-job.yaml").read_text())
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    assert job["spec"].keys() <= JOB
    cluster = job["spec"]["rayClusterSpec"]
    assert cluster.keys() <= CLUSTER
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    for group in groups:
        assert group.keys() <= GROUP
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": group["template"]["spec"]}
        kubernetes_validate.validate(pod, kubernetes_validate.latest_version(), strict=True)
    worker = groups[1]
    assert worker["minReplicas"] >= 1
    assert shlex.split(job["spec"]["entrypoint"])[:2] == ["tuner", "optimize"]


def test_the_numbers_and_names_are_those_of_the_code() -> None:
    assert f"within {ray_nodes._CLOCK_S:g} s" in TEXT
    assert f"and {ray_nodes._CORES} cores" in TEXT
    assert f"within {ray_cluster._STOP_S:g} s" in TEXT
    assert f"a place within {ray_cluster._ELSEWHERE_S:g} s; after {ray_cluster._TRIES} launches" in TEXT
    assert simulated_resource("t4") in TEXT
    for name in re.findall(r"\]\((recipes/\S+)\)", TEXT):
        assert (REPOSITORY / "docs" / name).is_file()


@pytest.mark.ray
@pytest.mark.long
@pytest.mark.parametrize("block", re.findall(r"```console\n(.*?)```", TEXT, re.DOTALL), ids=["one card", "mixed cards"])
def test_the_examples_run_as_written(block: str, tmp_path: Path) -> None:
    """But for the port, and that Ray runs in the foreground of this test, for `ray stop` would stop every Ray of the host."""
    pytest.importorskip("ray")
    start, study, stop = re.findall(r"^\$ (.+)$", block, re.MULTILINE)
    assert stop == "ray stop"
    port = free_port()
    ray = [sys.executable, "-m", "ray.scripts.scripts", *shlex.split(start.replace("6399", str(port)))[1:], "--block"]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("TUNER_")}
    with subprocess.Popen(ray, env=clean, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as head:
        try:
            known = [*ray[:3], "health-check", "--address", f"127.0.0.1:{port}"]
            wait_for(lambda: subprocess.run(known, capture_output=True, check=False).returncode == 0, 120)
            words = shlex.split(study.replace("--address auto", f"--address 127.0.0.1:{port}"))
            done = subprocess.run(
                [sys.executable, "-m", "tuner", *words[1:]],
                cwd=tmp_path,
                env=clean,
                capture_output=True,
                text=True,
                check=False,
            )
        finally:
            head.terminate()
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert "SIMULATED" in done.stdout + done.stderr
