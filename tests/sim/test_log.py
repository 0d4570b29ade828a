"""Whole logs of the process, read by what reads vLLM's: the memory, and why a start failed."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from simulating import MODEL, failed, simulated, start
from waiting import free_port

from tuner.launch.failures import classify
from tuner.predict.memory import read_log
from tuner.types import FailureKind as Kind


def test_every_log_begins_by_saying_that_it_is_simulated() -> None:
    for flags in (("--no-such-flag",), ("--max-model-len", "999999999")):
        _, log = failed(*flags)
        assert log.startswith("SIMULATED: "), log


@pytest.mark.parametrize(
    ("flags", "code", "kind", "why"),
    [
        (("--no-such-flag",), 2, Kind.REJECTED, "unrecognized arguments: --no-such-flag"),
        (("--max-num-seqs", "0"), 1, Kind.REJECTED, "greater than or equal to 1"),
        (
            ("--max-num-batched-tokens", "64", "--max-num-seqs", "128"),
            1,
            Kind.REJECTED,
            r"max_num_batched_tokens \(64\) must be greater than or equal to max_num_seqs \(128\)",
        ),
        (("--max-model-len", "999999999"), 1, Kind.REJECTED, "User-specified max_model_len"),
        (("--quantization", "gguf"), 1, Kind.UNSUPPORTED_QUANTIZATION, "Unknown quantization method: gguf"),
        (("--quantization", "awq"), 1, Kind.UNSUPPORTED_QUANTIZATION, "Cannot find the config file for awq"),
        (("--gpu-memory-utilization", "0.05"), 1, Kind.KV_CACHE_TOO_SMALL, "memory"),
        (("--gpu-memory-utilization", "1.0", "--max-num-batched-tokens", "131072"), 1, Kind.OUT_OF_MEMORY, "memory"),
    ],
)
def test_a_start_fails_as_vllms_does(flags: tuple[str, ...], code: int, kind: Kind, why: str) -> None:
    exit_code, log = failed(*flags)
    found = classify(log, exit_code)
    assert (exit_code, found.kind) == (code, kind), log
    assert re.search(why, found.message), found.message


def test_a_model_that_is_not_there_is_not_found(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tuner.sim", "serve", str(tmp_path / "none"), "--port", str(free_port())]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert classify(done.stdout, done.returncode).kind is Kind.MODEL_NOT_FOUND


def test_a_port_that_is_taken_is_said_before_anything_else() -> None:
    with simulated() as client:
        port = int(client.url.rsplit(":", 1)[1])
        second = start(port)
        log, _ = second.communicate(timeout=30)
    assert second.returncode == 1
    assert classify(log, 1).kind is Kind.PORT_IN_USE


def test_the_memory_is_told_in_vllms_words() -> None:
    server = start(free_port(), speed=1000)
    lines: list[str] = []
    assert server.stdout
    for line in server.stdout:
        lines.append(line)
        if "SIMULATED: ready after" in line:
            break
    server.terminate()
    assert server.wait(30) == 0  # as vLLM does on SIGTERM
    server.stdout.close()
    found = read_log("".join(lines))
    assert found.weights_bytes
    assert found.kv_cache_tokens
    assert found.kv_cache_bytes
    assert found.graphs_bytes


def test_nobody_listens_before_it_is_ready() -> None:
    """As vLLM: connections are refused, so a tuner that only looks at the port is not fooled."""
    port = free_port()
    server = start(port, speed=0.5)  # two seconds
    try:
        assert server.stdout
        assert "SIMULATED" in server.stdout.readline()
        probe = f"import socket, sys; sys.exit(socket.socket().connect_ex(('127.0.0.1', {port})))"
        assert subprocess.run([sys.executable, "-c", probe], check=False).returncode == 111
    finally:
        server.kill()
        server.communicate()


def test_the_process_imports_little() -> None:
    """It is started for every trial: nothing of the command line, the database or the search is in it."""
    program = (
        "import tuner.sim.__main__, sys, json; print(json.dumps(sorted({name.split('.')[0] for name in sys.modules})))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    heavy = {
        "pydantic",
        "numpy",
        "scipy",
        "sqlalchemy",
        "optuna",
        "aiohttp",
        "typer",
        "rich",
        "yaml",
        "asyncio",
        "psutil",
    }
    assert heavy.isdisjoint(json.loads(done.stdout))
    assert MODEL
