"""Where a setting comes from: flag before environment before --config before default."""

import os
import subprocess
import sys
from pathlib import Path

import yaml

from tuner.study.options import Options


def refused(tmp_path: Path, *arguments: str, **environment: str) -> str:
    """What is said of a bad value."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith("TUNER_")} | environment
    command = [sys.executable, "-m", "tuner", "optimize", *arguments]
    done = subprocess.run(command, cwd=tmp_path, env=clean, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    return done.stderr


def test_flag_before_environment_before_file(tmp_path: Path) -> None:
    (tmp_path / "tuner.yaml").write_text("model: ./file\ntrials: 7\n")
    assert "--model ./file: there is no such" in refused(tmp_path, "--config", "tuner.yaml")
    assert "--model ./file: there is no such" in refused(tmp_path, TUNER_CONFIG="tuner.yaml")
    assert "--model ./env: there is no such" in refused(tmp_path, "--config", "tuner.yaml", TUNER_MODEL="./env")
    arguments = ("--config", "tuner.yaml", "--model", "./flag")
    assert "--model ./flag: there is no such" in refused(tmp_path, *arguments, TUNER_MODEL="./env")


def test_every_option_is_a_flag_and_an_environment_variable() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tuner", "optimize", "--help"], capture_output=True, text=True, check=True
    )
    words = done.stdout.split()
    for name in Options.__dataclass_fields__:
        assert f"--{name.replace('_', '-')}" in words
    assert "TUNER_NAME" in words  # of each in the environment; the tests above and below give some so


def test_keys_are_written_as_the_flags_are_or_with_underscores(tmp_path: Path) -> None:
    for key in ("max-model-len", "max_model_len"):
        (tmp_path / "tuner.yaml").write_text(f"{key}: 0\n")
        assert "--max-model-len is 0" in refused(tmp_path, "--config", "tuner.yaml")


def test_every_key_can_be_written(tmp_path: Path) -> None:
    """All at once; the bad slo at the end shows that the rest was taken."""
    keys = {
        "engine": "replay",
        "surface": "surface.jsonl",
        "gpu": "cpu",
        "model": "org/model",
        "trials": 3,
        "workload": "newton-32",
        "users": 4,
        "request-rate": 2.5,
        "warmup": 1,
        "window": 2.5,
        "max-window": 5,
        "precision": 0.1,
        "objective": ["ttft_p99", "throughput"],
        "price": 0.35,
        "slo": ["last_p99=1ms"],
        "study": "s",
        "storage": "sqlite:///other.db",
        "space": "mine.yaml",
        "groups": "batch",
        "force-gpu": True,
        "max-model-len": 1024,
        "quantized-model": ["awq=org/awq"],
        "draft-model": "org/draft",
        "engine-arg": ["load_format=dummy"],
        "vllm-python": "/opt/python",
        "start": "plain",
        "stop": "never",
        "startup-timeout": 60,
        "executor": "ray",
        "address": "10.0.0.1:6379",
        "parallel": 4,
        "wait-for-gpu": 30,
        "mps": "off",
        "trial-timeout": 600,
        "max-hours": 1.5,
        "verify": 0,
        "baseline": ["--max-num-seqs 64"],
        "explain": 2,
        "max-quality-loss": 0.01,
        "lossless": True,
        "quality-data": "questions.jsonl",
        "quality-cmd": "true",
        "quality-timeout": 60,
        "warm-start": "none",
        "sampler": "tpe",
        "seed": 1,
        "log-dir": "logs",
        "cache-dir": "cache",
    }
    assert {key.replace("-", "_") for key in keys} == set(Options.__dataclass_fields__)
    (tmp_path / "tuner.yaml").write_text(yaml.safe_dump(keys))
    assert "last_p99" in refused(tmp_path, "--config", "tuner.yaml")
    (tmp_path / "tuner.yaml").write_text("slo: ttft_p99=1ms\n")
    assert "tuner.yaml:1: slo: " in refused(tmp_path, "--config", "tuner.yaml")


def test_a_key_of_the_wrong_type_is_named_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "tuner.yaml").write_text("gpu: t4\ntrials: many\n")
    stderr = refused(tmp_path, "--config", "tuner.yaml")
    assert "tuner.yaml:2: trials: expected a whole number, found the text 'many'" in stderr
