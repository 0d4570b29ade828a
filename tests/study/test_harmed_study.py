"""A whole study on a real vLLM in which a checkpoint is the fastest because it is broken."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from commands import tuner
from damaging import damaged

from tuner.launch import demo_model as making
from tuner.space.files import load_space

pytestmark = [pytest.mark.engine, pytest.mark.long, pytest.mark.timeout(900)]

SPACE = {"parameters": {"quantization": {"type": "categorical", "choices": ["none", "awq"]}}}


def test_quantization_is_open_and_the_damaged_checkpoint_is_refused(
    engine_python: Path, demo_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The model has twelve layers. Its "quantized checkpoint" has two, and wrong weights: it is much faster."""
    monkeypatch.setattr(making, "_LAYERS", 12)
    model = making.make_demo_model(tmp_path / "whole")
    broken = damaged(demo_model, tmp_path / "broken")
    cpu = load_space("cpu")
    fixed = {"gpu": {"names": []}, "environment": dict(cpu.environment), "fixed": dict(cpu.fixed)}
    (tmp_path / "space.yaml").write_text(yaml.safe_dump({**fixed, **SPACE}))
    command = [sys.executable, "-m", "tuner", "optimize", "--space", "space.yaml", "--model", str(model)]
    command += ["--quantized-model", f"awq={broken}", "--vllm-python", str(engine_python), "--cache-dir", "cache"]
    command += ["--study", "s", "--trials", "2", "--verify", "2", "--warm-start", "none", "--users", "8"]
    command += ["--warmup", "1", "--window", "3", "--max-window", "3", "--precision", "0.5"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    study = json.loads(tuner(tmp_path, "show", "s", "--json", "-").stdout)
    speed = {str(one["params"]["quantization"]): one["metrics"]["output_throughput"] for one in study["list"]}
    assert speed["awq"] > 1.5 * speed["none"]
    assert "loses quality" in done.stdout
    assert (study["answer"], study["recommended"]) == ("loses quality", 0)
