"""`tuner doctor`: what this machine has, and what is missing."""

import os
import platform
import shutil
from importlib.metadata import version

import typer

from tuner.cli.console import results, say
from tuner.errors import EngineError, UsageError
from tuner.launch.fork_server import ForkServer
from tuner.launch.interpreter import find_python
from tuner.measure.gpu import detect
from tuner.measure.visible import visible
from tuner.space.files import space_for


def run(vllm_python: str | None) -> None:
    """A line each; the exit code is 1 if tuner cannot run here."""
    say(results, f"tuner {version('tuner')}, Python {platform.python_version()}, Optuna {version('optuna')}")
    gpus = detect()
    for gpu in gpus:
        memory = f"{gpu.memory_bytes / 1024**3:.1f} GiB" if gpu.memory_bytes else "memory shared with the host"
        say(
            results,
            f"GPU {gpu.index}: {gpu.name}, {memory}, driver {gpu.driver}, search space: {_space_name(gpu.name)}",
        )
    seen = visible(gpus, os.environ.get("CUDA_VISIBLE_DEVICES"))
    if seen.hidden:
        say(results, f"GPU: {seen.hidden}")
    elif seen.cut is not None:
        say(results, f"GPU: CUDA_VISIBLE_DEVICES ends at {seen.cut!r}, which names none: {len(seen.gpus)} can be seen")
    if not gpus:
        say(results, "GPU: none found (no NVIDIA driver): only --gpu cpu can run here")
    say(results, f"C++ compiler: {shutil.which('g++') or 'missing: vLLM on the CPU then needs --enforce-eager'}")
    try:
        python = find_python(vllm_python)
        with ForkServer(python, {}) as engine:
            say(results, f"engine: vLLM {engine.info.version} for {engine.info.platform}, {python}")
    except EngineError as error:
        say(results, f"engine: {error}")
        raise typer.Exit(1) from error


def _space_name(gpu: str) -> str:
    try:
        return space_for(gpu).name
    except UsageError:
        return "none: use --space or --force-gpu"
