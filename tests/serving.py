"""Servers for tests of whole commands: one whose tokens are exactly paced, and a real vLLM."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from waiting import answers, free_port, wait_for

from tuner.launch.processes import kill_session
from tuner.space.files import load_space

_PACED = Path(__file__).parents[1] / "benchmarks" / "paced_server.py"


@contextmanager
def paced(*arguments: str) -> Iterator[str]:
    """The URL of benchmarks/paced_server.py, which ends with the block."""
    command = [sys.executable, str(_PACED), *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout
            yield server.stdout.readline().strip()
        finally:
            server.terminate()


@contextmanager
def vllm(python: Path, model: Path, folder: Path, *flags: str) -> Iterator[str]:
    """The URL of a real vLLM with the model, on the CPU, which ends with the block. Its log is in `folder`."""
    port = free_port()
    command = [str(python.with_name("vllm")), "serve", str(model), "--enforce-eager", "--max-model-len", "2048"]
    with (folder / "vllm.log").open("w") as log:
        server = subprocess.Popen(
            [*command, *flags, "--host", "127.0.0.1", "--port", str(port)],
            env={**os.environ, **load_space("cpu").environment},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            wait_for(lambda: server.poll() is not None or answers(f"http://127.0.0.1:{port}/health"), 300)
            yield f"http://127.0.0.1:{port}"
        finally:
            kill_session(server.pid)
            server.wait()
