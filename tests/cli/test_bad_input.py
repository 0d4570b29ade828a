"""Every bad input ends in one sentence on stderr and the right exit code, never in a traceback."""

import os
import socket
import sqlite3
import subprocess
import sys
from pathlib import Path

import commands
import pytest

from tuner.record.store import Store

USAGE, FAILURE = 2, 1


def tuner(*arguments: str, cwd: Path, environment: dict[str, str] | None = None) -> commands.Done:
    return commands.tuner(cwd, *arguments, **(environment or {}))


def refused(done: commands.Done, exit_code: int, *parts: str) -> None:
    """One sentence with these parts on stderr, nothing on stdout, that exit code."""
    sentences = [line for line in done.stderr.splitlines() if line.startswith("Error: ")]
    assert len(sentences) == 1, done.stderr
    assert "Traceback" not in done.stderr
    for part in parts:
        assert part in sentences[0]
    assert done.stdout == ""
    assert done.returncode == exit_code


@pytest.fixture
def optimize(tmp_path: Path, demo_model: Path) -> tuple[str, ...]:
    return ("optimize", "--gpu", "cpu", "--model", str(demo_model), "--storage", f"sqlite:///{tmp_path / 'x.db'}")


def test_unknown_gpu(tmp_path: Path, optimize: tuple[str, ...]) -> None:
    done = tuner(*optimize, "--gpu", "t5", cwd=tmp_path)
    refused(done, USAGE, "no search space 't5'", "h100-80gb", "--space")


def test_gpu_that_is_not_here(tmp_path: Path, optimize: tuple[str, ...]) -> None:
    done = tuner(*optimize, "--gpu", "t4", cwd=tmp_path)
    refused(done, USAGE, "t4 is for Tesla T4 and this machine has")


def test_zero_trials(tmp_path: Path, optimize: tuple[str, ...]) -> None:
    refused(tuner(*optimize, "--trials", "0", cwd=tmp_path), USAGE, "--trials is 0 and must be at least 1")


def test_slo_with_an_unknown_metric(tmp_path: Path, optimize: tuple[str, ...]) -> None:
    done = tuner(*optimize, "--slo", "ttfx_p99=5ms", cwd=tmp_path)
    refused(done, USAGE, "unknown metric 'ttfx_p99'", "ttft_p99=500ms")


def test_unknown_objective(tmp_path: Path, optimize: tuple[str, ...]) -> None:
    refused(tuner(*optimize, "--objective", "speed", cwd=tmp_path), USAGE, "unknown objective 'speed'", "throughput")


def test_unknown_workload(tmp_path: Path, optimize: tuple[str, ...]) -> None:
    refused(tuner(*optimize, "--workload", "chatt", cwd=tmp_path), USAGE, "chatt", "newton-32")


def test_model_folder_without_config_json(tmp_path: Path, optimize: tuple[str, ...]) -> None:
    (tmp_path / "empty").mkdir()
    done = tuner(*optimize, "--model", str(tmp_path / "empty"), cwd=tmp_path)
    refused(done, USAGE, "has no config.json", str(tmp_path / "empty"))
    refused(tuner(*optimize, "--model", "./nowhere", cwd=tmp_path), USAGE, "./nowhere: there is no such folder")


def test_quantized_model_without_a_path(tmp_path: Path, optimize: tuple[str, ...]) -> None:
    refused(tuner(*optimize, "--quantized-model", "awq", cwd=tmp_path), USAGE, "QUANTIZATION=PATH_OR_REPO")


def test_secrets_are_not_taken_as_arguments(tmp_path: Path, optimize: tuple[str, ...]) -> None:
    done = tuner(*optimize, "--engine-arg", "hf_token=hf_abcdef", cwd=tmp_path)
    refused(done, USAGE, "a secret would be stored", "HF_TOKEN")
    assert "hf_abcdef" not in done.stderr
    for given in (
        "a.auth=hunter2",
        'a={"password": "hunter2"}',
        "allowed_origins=http://u:hunter2@x",
        "api_key=[hunter2, {}]",
    ):
        done = tuner(*optimize, "--engine-arg", given, cwd=tmp_path)
        refused(done, USAGE, f"--engine-arg {given.partition('=')[0]}: ")
        assert "hunter2" not in done.stderr


BROKEN_SPACES = {
    "gpu: {names: []}\nparameters: {max_num_seqs: [}\n": ":2: this is not valid YAML",
    "gpu: {names: []}\nparameters:\n  max_num_seqs:\n    type: int\n    low: 64\n    high: 8\n": "max_num_seqs",
    "gpu: {names: []}\nparameterz: {}\n": ":2: parameterz: unknown key",
    "just a text\n": ":1: expected `key: value` lines",
}


@pytest.mark.parametrize("text", BROKEN_SPACES)
def test_broken_space(text: str, tmp_path: Path, optimize: tuple[str, ...]) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(text)
    refused(tuner(*optimize, "--space", str(file), cwd=tmp_path), USAGE, f"{file}:", BROKEN_SPACES[text])


def test_broken_config(tmp_path: Path, optimize: tuple[str, ...]) -> None:
    file = tmp_path / "tuner.yaml"
    file.write_text("trials: 4\ntrails: 5\n")
    refused(tuner(*optimize, "--config", str(file), cwd=tmp_path), USAGE, f"{file}:2: trails: unknown key")
    refused(tuner(*optimize, "--config", "none.yaml", cwd=tmp_path), USAGE, "none.yaml cannot be read")


def test_no_vllm(tmp_path: Path, optimize: tuple[str, ...]) -> None:
    done = tuner(*optimize, cwd=tmp_path, environment={"PATH": "/usr/bin:/bin"})
    refused(done, FAILURE, "no vLLM was found", "tuner install-engine", "--vllm-python")
    done = tuner(*optimize, "--vllm-python", sys.executable, cwd=tmp_path)
    refused(done, FAILURE, f"vLLM cannot be used with {sys.executable}", "No module named 'vllm'")


@pytest.mark.engine
def test_vllm_without_a_flag_of_the_space(tmp_path: Path, optimize: tuple[str, ...], engine_python: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("gpu: {names: []}\nparameters:\n  num_scheduler_steps: {type: int, low: 1, high: 8}\n")
    done = tuner(*optimize, "--space", str(file), "--vllm-python", str(engine_python), cwd=tmp_path)
    refused(done, FAILURE, "has no argument num_scheduler_steps", "vLLM 0.32", "upgrade vLLM")


@pytest.mark.engine
def test_requests_longer_than_the_model(tmp_path: Path, optimize: tuple[str, ...], engine_python: Path) -> None:
    done = tuner(*optimize, "--max-model-len", "256", "--vllm-python", str(engine_python), cwd=tmp_path)
    sentences = [line for line in done.stderr.splitlines() if line.startswith("Error: ")]
    assert done.returncode == USAGE
    assert len(sentences) == 1
    assert "max_model_len is 256" in sentences[0]


def test_database_of_a_newer_schema(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'x.db'}"
    Store.open(url).close()
    with sqlite3.connect(tmp_path / "x.db") as database:
        database.execute("UPDATE tuner_alembic_version SET version_num = '9999'")
    database.close()
    refused(tuner("trials", "a", "--storage", url, cwd=tmp_path), FAILURE, "x.db", "newer")


def test_database_that_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "x.db").write_text("this is a text and no database at all, " * 50)
    refused(tuner("studies", "--storage", f"sqlite:///{tmp_path / 'x.db'}", cwd=tmp_path), FAILURE, "x.db")


def test_database_that_is_not_there(tmp_path: Path) -> None:
    done = tuner("studies", "--storage", f"sqlite:///{tmp_path / 'none.db'}", cwd=tmp_path)
    assert done.returncode in (USAGE, FAILURE)
    assert "none.db" in done.stderr
    assert not (tmp_path / "none.db").exists()


def test_read_only_database(tmp_path: Path, optimize: tuple[str, ...], engine_python: Path) -> None:
    if os.geteuid() == 0:
        arguments = (*optimize, "--vllm-python", str(engine_python), "--storage", "sqlite:////proc/x.db")
        refused(tuner(*arguments, cwd=tmp_path), FAILURE, "/proc/x.db")
        return
    Store.open(f"sqlite:///{tmp_path / 'x.db'}").close()
    (tmp_path / "x.db").chmod(0o444)
    refused(tuner(*optimize, "--vllm-python", str(engine_python), cwd=tmp_path), FAILURE, "x.db", "read-only")


def test_unknown_study_trial_and_format(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'x.db'}"
    Store.open(url).close()
    for command in ("trials", "show", "export"):
        refused(tuner(command, "nope", "--storage", url, cwd=tmp_path), USAGE, "nope")
    refused(tuner("export", "nope", "--format", "toml", "--storage", url, cwd=tmp_path), USAGE, "command, yaml, json")


def test_port_taken(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'x.db'}"
    Store.open(url).close()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        refused(
            tuner("dashboard", "--storage", url, "--port", port, cwd=tmp_path), USAGE, f"127.0.0.1:{port}", "--port"
        )


@pytest.mark.parametrize(("flags", "variable"), [(("--debug",), "0"), ((), "1"), ((), "true")])
def test_debug_shows_the_traceback(
    flags: tuple[str, ...], variable: str, tmp_path: Path, optimize: tuple[str, ...]
) -> None:
    command = [sys.executable, "-m", "tuner", *flags, *optimize, "--trials", "0"]
    environment = os.environ | {"TUNER_DEBUG": variable}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.stderr.startswith("Traceback")
    assert "UsageError: --trials is 0" in done.stderr
    assert done.returncode == FAILURE


def test_without_debug_there_is_none(tmp_path: Path, optimize: tuple[str, ...]) -> None:
    done = tuner("--no-debug", *optimize, "--trials", "0", cwd=tmp_path, environment={"TUNER_DEBUG": "1"})
    refused(done, USAGE, "--trials is 0")
    done = tuner(*optimize, "--trials", "0", cwd=tmp_path, environment={"TUNER_DEBUG": "0"})
    refused(done, USAGE, "--trials is 0")
