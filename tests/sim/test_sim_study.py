"""Whole studies on the simulated engine: killed and resumed, shown, exported; and the one that a user is told to try."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import commands
import psutil
import pytest
import yaml
from conftest import REPOSITORY
from simulating import rows, sessions
from waiting import answers, free_port, wait_for

from tuner.export.formats import EXPORTERS
from tuner.launch.failures import classify
from tuner.launch.processes import members
from tuner.record.store import Store
from tuner.types import Measured, Outcome, Twin, present

NAME = "sim-t4-DeepSeek-R1-Distill-Qwen-1.5B-chat"


def environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("TUNER_")}


def tuner(folder: Path, *arguments: str, code: int = 0) -> commands.Done:
    done = commands.tuner(folder, *arguments)
    assert done.returncode == code, f"{done.stdout}\n{done.stderr}"
    return done


def optimize(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "tuner", "optimize", "--engine", "sim", "--gpu", "t4", *arguments]
    done = subprocess.run(command, cwd=folder, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three trials; tuner is killed with SIGKILL in the second one's launch, and the same command is run to its end."""
    found = tmp_path_factory.mktemp("simulated")
    command = [
        sys.executable,
        "-m",
        "tuner",
        "optimize",
        "--engine",
        "sim",
        "--gpu",
        "t4",
        "--trials",
        "3",
        "--verify",
        "2",
    ]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, cwd=found, env=environment(), **quiet) as first:  # type: ignore[call-overload]
        wait_for(lambda: len(sessions(found)) == 2, 60)
        first.send_signal(signal.SIGKILL)
    wait_for(lambda: not any(members(session) for session in sessions(found)), 30)
    done = optimize(found, "--trials", "3", "--verify", "2")
    (found / "output.txt").write_text(done.stdout)
    (found / "progress.txt").write_text(done.stderr)
    return found


def test_no_trial_is_lost_and_none_measured_twice(folder: Path) -> None:
    found = rows(folder, "SELECT number, state, attempts FROM tuner_trial ORDER BY number")
    assert found == [(0, "finished", 1), (1, "finished", 2), (2, "finished", 1)]
    assert rows(folder, "SELECT count(*) FROM tuner_launch WHERE ended_at IS NULL") == [(0,)]
    assert not any(members(session) for session in sessions(folder))


def test_everything_that_is_said_says_simulated(folder: Path) -> None:
    progress = (folder / "progress.txt").read_text()
    trials = [line for line in progress.splitlines() if re.search(r"trial \d", line)]
    assert trials
    assert all(line.startswith("SIMULATED ") for line in trials)
    assert progress.startswith("SIMULATED: ")  # the settings
    output = (folder / "output.txt").read_text()
    assert output.startswith("SIMULATED: ")
    assert "SIMULATED Before and after" in output
    assert re.search(r"^SIMULATED: (Trial|Keep)", output, re.MULTILINE)
    assert "SIMULATED t4" in tuner(folder, "studies").stdout
    for command in (("trials", NAME), ("show", NAME), ("show", NAME, "1")):
        assert tuner(folder, *command).stdout.startswith("SIMULATED"), command


def test_each_measurement_has_a_time_line_in_simulated_seconds(folder: Path) -> None:
    store = Store.open(f"sqlite:///{folder / 'tuner.db'}", read_only=True)
    outcomes: dict[tuple[int, int | None, int | None], Outcome | Twin] = {
        (t.number, None, None): t.outcome for t in store.trials(NAME)
    }
    outcomes |= {(v.trial_number, v.contest, v.round): v.outcome for v in store.verifications(NAME)}
    found = {(one.trial, one.contest, one.round): one.timeline for one in store.timelines(NAME)}
    store.close()
    assert set(found) == set(outcomes)
    for key, line in found.items():
        outcome = outcomes[key]
        assert isinstance(outcome, Measured)
        assert outcome.timeline is None
        assert line.window_begin_s == pytest.approx(present(outcome.warmup_s))
        assert line.window_end_s - line.window_begin_s == pytest.approx(present(outcome.load.window_s), rel=0.05)
        assert abs(len(line.t_s) - line.window_end_s) < 2  # one a simulated second
        inside = [
            rate for at_s, rate in zip(line.t_s, line.output_throughput, strict=True) if at_s > line.window_begin_s
        ]
        rates = [present(rate) for rate in inside]
        assert sum(rates) / len(rates) == pytest.approx(present(outcome.load.output_throughput), rel=0.3)
        assert max(present(one) for one in line.running if one is not None) <= 64
        assert any(line.running)
        assert line.gpu_utilization == ()  # there is none


def test_what_is_stored_is_a_simulation_in_simulated_seconds(folder: Path) -> None:
    store = Store.open(f"sqlite:///{folder / 'tuner.db'}", read_only=True)
    record, defaults = store.study(NAME), store.trials(NAME)[0]
    store.close()
    assert record.fingerprint.unreal == "SIMULATED"
    assert record.fingerprint.gpu == "SIMULATED Tesla T4"
    assert "times as fast" in record.fingerprint.host
    assert defaults.is_default
    assert defaults.params["max_num_seqs"] == 256
    assert isinstance(defaults.outcome, Measured)
    found = defaults.outcome
    assert (found.gpu, found.server_cpu_cores, found.load.itl_s) == (None, None, None)
    assert found.startup_s is not None
    assert 40 < found.startup_s < 80
    assert found.server is not None
    assert found.server.running_mean is not None
    assert 0 < found.server.running_mean <= 64
    # 64 users, by Little's law; the server sees fewer at once where the load generator has to wait for a processor.
    assert 32 < present(found.load.request_throughput) * present(present(found.load.e2el_s).mean) < 80
    assert found.kv_cache_tokens


def test_the_exports_say_it_in_their_first_line(folder: Path) -> None:
    command, text, record = (tuner(folder, "export", NAME, "--format", f).stdout for f in ("command", "yaml", "json"))
    assert command.startswith("# SIMULATED: ")
    assert "`vllm serve` with the same flags" in command.splitlines()[0]
    assert text.startswith("# SIMULATED: ")
    assert yaml.safe_load(text)["model"].endswith("1.5B")
    assert record.splitlines()[0].startswith('{"simulated": "')
    parsed = json.loads(record)
    assert parsed["fingerprint"]["engine_version"].startswith("SIMULATED")
    done = tuner(folder, "export", NAME, "--output", "command.sh")
    assert "SIMULATED" in done.stderr


@pytest.mark.parametrize("format", [name for name in EXPORTERS if name != "json"])
def test_every_format_is_of_what_is_to_be_tried_on_the_card(folder: Path, format: str) -> None:
    file = folder / f"{format}.txt"
    done = tuner(folder, "export", NAME, "--format", format, "--output", file.name)
    if format in ("compose", "kubernetes", "kserve"):
        start = "docker compose --file compose.txt up" if format == "compose" else f"kubectl apply -f {format}.txt"
        assert f"Run it: {start}" in done.stderr
    lines = file.read_text().splitlines()
    assert lines[0].startswith("# SIMULATED: ")
    for said in (f"# study: {NAME}", "# vLLM: SIMULATED vLLM ", "# GPU: SIMULATED ", "# gain: "):
        assert any(line.startswith(said) for line in lines), said
    if format in ("compose", "kubernetes", "helm", "kserve", "llm-d"):
        documents = json.dumps(list(yaml.safe_load_all(file.read_text())))
        assert "vllm/vllm-openai" in documents
        assert "tuner" not in documents  # the simulation's own command


def test_the_exported_command_is_the_tuple_that_ran(folder: Path) -> None:
    """It starts a simulated server by itself, without anything that tuner told it."""
    port = free_port()
    text = tuner(folder, "export", NAME, "--port", str(port)).stdout
    words = shlex.split(text.splitlines()[-1])
    parsed = json.loads(tuner(folder, "export", NAME, "--format", "json").stdout)
    assert words[:-4] == parsed["argv"][:-4]
    with subprocess.Popen(["sh", "-c", text], env=environment(), stdout=subprocess.PIPE, text=True) as server:
        try:
            wait_for(lambda: server.poll() is not None or answers(f"http://127.0.0.1:{port}/health"), 60)
            assert server.poll() is None
        finally:
            for process in [*psutil.Process(server.pid).children(recursive=True), psutil.Process(server.pid)]:
                process.terminate()
            assert server.stdout
            assert server.stdout.readline().startswith("SIMULATED: ")


def test_a_resumed_study_must_be_the_same_simulation(folder: Path) -> None:
    simulated = ("optimize", "--engine", "sim", "--gpu", "t4")
    done = tuner(folder, *simulated, "--trials", "3", "--study", NAME, "--window", "30", code=2)
    assert "workload_hash" in done.stderr


@pytest.fixture(scope="module")
def forty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    found = tmp_path_factory.mktemp("forty")
    command = "tuner optimize --engine sim --gpu t4 --trials 40"
    assert f"$ {command}\n" in (REPOSITORY / "README.md").read_text()
    done = optimize(found, "--trials", "40")
    (found / "output.txt").write_text(done.stdout)
    yield found
    for log in found.glob("tuner-logs/*/*.log"):
        assert log.read_text().startswith("SIMULATED: ")


@pytest.mark.long
def test_at_most_forty_trials_begin_with_the_defaults_and_end_with_an_answer(forty: Path) -> None:
    store = Store.open(f"sqlite:///{forty / 'tuner.db'}", read_only=True)
    trials, again = store.trials(NAME), store.verifications(NAME)
    store.close()
    launched = [trial for trial in trials if trial.attempts]
    assert 5 <= len(launched) <= 40  # fewer where another is not worth it
    assert launched[0].number == 0
    assert launched[0].is_default
    assert isinstance(launched[0].outcome, Measured)
    assert sum(isinstance(trial.outcome, Measured) for trial in launched) > len(launched) / 2
    launches = [(one.round, one.trial_number) for one in again]
    assert len(set(launches)) == len(launches)
    assert not again or {0} < {
        number for _, number in launches
    }  # the defaults beside a finalist, unless nothing was better
    assert "SIMULATED: " in (forty / "output.txt").read_text()


def test_a_model_that_does_not_fit_fails_as_it_would(tmp_path: Path) -> None:
    """The defaults of a 7B shape do not leave a KV cache on a T4; quantized it fits."""
    config = {
        "architectures": ["Qwen2ForCausalLM"],
        "model_type": "qwen2",
        "hidden_size": 3584,
        "num_hidden_layers": 28,
    }
    config |= {"num_attention_heads": 28, "num_key_value_heads": 4, "intermediate_size": 18944, "vocab_size": 152064}
    config |= {"max_position_embeddings": 4096, "tie_word_embeddings": False, "torch_dtype": "bfloat16"}
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "config.json").write_text(json.dumps(config))
    done = optimize(tmp_path, "--model", "m", "--trials", "3", "--verify", "0", "--study", "s")
    failures = rows(tmp_path, "SELECT number, failure_kind FROM tuner_trial ORDER BY number")
    assert failures[0][1] in ("out of memory", "KV cache too small"), failures
    assert failures[2][1] is None, failures  # fp8
    log = next(tmp_path.glob("tuner-logs/s/trial-0.log")).read_text()
    assert classify(log, 1).kind.value == failures[0][1]
    assert "SIMULATED" in done.stdout
