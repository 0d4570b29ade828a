"""The systemd unit of a real vLLM, executed as systemd would: word by word, the second command with the first one's process."""

import json
import os
import subprocess
import urllib.request
from dataclasses import replace
from pathlib import Path

import deployed
import pytest
from samples import FINGERPRINT, chosen, measured, trial
from waiting import free_port

from tuner.export.formats import EXPORTERS
from tuner.launch.processes import kill_session
from tuner.launch.vllm import VllmLauncher
from tuner.space.files import load_space


@pytest.mark.engine
def test_a_unit_starts_vllm_and_is_started_once_it_answers(
    engine_python: Path, demo_model: Path, tmp_path: Path
) -> None:
    launcher = VllmLauncher(
        python=engine_python,
        model=str(demo_model),
        environment={**load_space("cpu").environment, "ODD": "$HOME 100% \\n"},
    )
    command = launcher.command({"max_num_seqs": 4, "max_model_len": 512, "enforce_eager": True})
    where = replace(FINGERPRINT, gpu=None, gpu_count=0, engine_version="0.32.0+cpu", model=str(demo_model))
    port = free_port()
    found = chosen(replace(trial(3, measured()), command=command), fingerprint=where, port=port)
    unit = EXPORTERS["systemd"](found)
    start = deployed.of_systemd(unit)
    assert start.argv == (*command.argv, "--host", "127.0.0.1", "--port", str(port))
    assert start.environment == command.environment
    environment = {**os.environ, **start.environment}
    with (tmp_path / "vllm.log").open("wb") as log:
        server = subprocess.Popen(start.argv, env=environment, stdout=log, stderr=log, start_new_session=True)
    try:
        ready = deployed.of_systemd(unit, "ExecStartPost", str(server.pid))
        done = subprocess.run(ready.argv, env=environment, capture_output=True, text=True, timeout=600, check=False)
        assert done.returncode == 0, (done.stderr, (tmp_path / "vllm.log").read_text()[-2000:])
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/models", timeout=30) as response:
            assert [model["id"] for model in json.load(response)["data"]] == [str(demo_model)]
        server.terminate()
        server.wait(60)
    finally:
        kill_session(server.pid)
        server.wait()
    done = subprocess.run(ready.argv, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert "ProcessLookupError" in done.stderr  # a server that is gone is not waited for
