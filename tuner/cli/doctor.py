"""`tuner doctor`: what this machine has, and what is missing."""

import json as to_json
import os
import platform
import shutil
from dataclasses import asdict
from importlib.metadata import version

import typer

from tuner.cli.console import errors, results, say, write_json
from tuner.errors import EngineError, UsageError
from tuner.launch.fork_server import ForkServer
from tuner.launch.interpreter import find_python
from tuner.measure.gpu import detect
from tuner.measure.visible import visible
from tuner.space.files import space_for


def run(vllm_python: str | None, json: str | None = None) -> None:
    """A line each; the exit code is 1 if tuner cannot run here."""
    found = {"tuner": version("tuner"), "python": platform.python_version(), "optuna": version("optuna")}
    console = errors if json == "-" else results
    say(console, f"tuner {found['tuner']}, Python {found['python']}, Optuna {found['optuna']}")
    gpus = detect()
    for gpu in gpus:
        memory = f"{gpu.memory_bytes / 1024**3:.1f} GiB" if gpu.memory_bytes else "memory shared with the host"
        space = _space_name(gpu.name) or "none: use --space or --force-gpu"
        say(console, f"GPU {gpu.index}: {gpu.name}, {memory}, driver {gpu.driver}, search space: {space}")
    seen = visible(gpus, os.environ.get("CUDA_VISIBLE_DEVICES"))
    if seen.hidden:
        say(console, f"GPU: {seen.hidden}")
    elif seen.cut is not None:
        say(console, f"GPU: CUDA_VISIBLE_DEVICES ends at {seen.cut!r}, which names none: {len(seen.gpus)} can be seen")
    if not gpus:
        say(console, "GPU: none found (no NVIDIA driver): only --gpu cpu can run here")
    compiler = shutil.which("g++")
    say(console, f"C++ compiler: {compiler or 'missing: vLLM on the CPU then needs --enforce-eager'}")
    engine, why = _engine(vllm_python)
    say(
        console,
        f"engine: vLLM {engine['version']} for {engine['platform']}, {engine['python']}"
        if engine
        else f"engine: {why}",
    )
    told = {
        **found,
        "gpus": [{**asdict(gpu), "search_space": _space_name(gpu.name)} for gpu in gpus],
        "compiler": compiler,
        "engine": engine,
        "problem": why,
    }
    write_json(json, to_json.dumps(told, indent=2, ensure_ascii=False) + "\n")
    if why is not None:
        raise typer.Exit(1)


def _engine(vllm_python: str | None) -> tuple[dict[str, str] | None, str | None]:
    """The engine, or why there is none."""
    try:
        python = find_python(vllm_python)
        with ForkServer(python, {}) as engine:
            return {"version": engine.info.version, "platform": engine.info.platform, "python": str(python)}, None
    except EngineError as error:
        return None, str(error)


def _space_name(gpu: str) -> str | None:
    try:
        return space_for(gpu).name
    except UsageError:
        return None
