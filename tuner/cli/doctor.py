"""`tuner doctor`: what this machine has, and what is missing."""

import json as to_json
import os
import platform
import shutil
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

import typer

from tuner.cli.console import errors, results, say, write_json
from tuner.errors import EngineError, UsageError
from tuner.launch.fork_server import ForkServer
from tuner.launch.host_speed import measure_host
from tuner.launch.interpreter import find_python
from tuner.measure.gpu import detect
from tuner.measure.visible import VISIBLE, visible
from tuner.predict.host import REFERENCE
from tuner.space.files import space_for
from tuner.study.options import Options
from tuner.types import HostSpeed

#: Where turns of the same work differ by more, launches do, too.
_STEADY = 1.5
#: A ratio that is told as none.
_ALIKE = 1.1


def run(
    options: Options,
    json: str | None = None,
    *,
    model: str | None = None,
    url: str | None = None,
    send_key: bool = False,
) -> None:
    """A line each; the exit code is 1 if tuner cannot run here, or if a line of the checklist is wrong."""
    checklist = None
    if model is not None or url is not None:
        from tuner.cli.checklist import checked  # loads what the machine's own lines do without

        checklist = checked(options, model, url, send_key=send_key)
    found = {"tuner": version("tuner"), "python": platform.python_version(), "optuna": version("optuna")}
    console = errors if json == "-" else results
    say(console, f"tuner {found['tuner']}, Python {found['python']}, Optuna {found['optuna']}")
    gpus = detect()
    for gpu in gpus:
        memory = f"{gpu.memory_bytes / 1024**3:.1f} GiB" if gpu.memory_bytes else "memory shared with the host"
        space = _space_name(gpu.name) or "none: use --space or --force-gpu"
        say(console, f"GPU {gpu.index}: {gpu.name}, {memory}, driver {gpu.driver}, search space: {space}")
    seen = visible(gpus, os.environ.get(VISIBLE))
    if seen.hidden:
        say(console, f"GPU: {seen.hidden}")
    elif seen.cut is not None:
        say(console, f"GPU: CUDA_VISIBLE_DEVICES ends at {seen.cut!r}, which names none: {len(seen.gpus)} can be seen")
    if not gpus:
        say(console, "GPU: none found (no NVIDIA driver): only --gpu cpu can run here")
    compiler = shutil.which("g++")
    say(console, f"C++ compiler: {compiler or 'missing: vLLM on the CPU then needs --enforce-eager'}")
    engine, why = _engine(options.vllm_python)
    say(
        console,
        f"engine: vLLM {engine['version']} for {engine['platform']}, {engine['python']}"
        if engine
        else f"engine: {why}",
    )
    speed, unknown = _host(engine["python"]) if engine else (None, None)
    for line in [*(speed_words(speed) if speed else ()), *([unknown] if unknown else ())]:
        say(console, f"host: {line}")
    if checklist is not None:
        console.print()
        checklist.show(console)
    told = {
        **found,
        "gpus": [{**asdict(gpu), "search_space": _space_name(gpu.name)} for gpu in gpus],
        "compiler": compiler,
        "engine": engine,
        "host_speed": asdict(speed) if speed else None,
        "problem": why,
        "checklist": None if checklist is None else checklist.json(),
    }
    write_json(json, to_json.dumps(told, indent=2, ensure_ascii=False) + "\n")
    if (why is not None and url is None) or (checklist is not None and checklist.is_wrong):
        raise typer.Exit(1)


def _engine(vllm_python: str | None) -> tuple[dict[str, str] | None, str | None]:
    """The engine, or why there is none."""
    try:
        python = find_python(vllm_python)
        with ForkServer(python, {}) as engine:
            return {"version": engine.info.version, "platform": engine.info.platform, "python": str(python)}, None
    except EngineError as error:
        return None, str(error)


def _host(python: str) -> tuple[HostSpeed | None, str | None]:
    """How fast this host is, or why that is not known."""
    try:
        return measure_host(Path(python)), None
    except EngineError as error:
        return None, str(error)


def speed_words(speed: HostSpeed) -> list[str]:
    """One sentence, and another where the host is not to be trusted."""
    slowness = speed.slowness(REFERENCE)
    ratio = "as fast" if 1 / _ALIKE <= slowness <= _ALIKE else speed.compared(REFERENCE)
    took = f"Python work {1000 * speed.python_s:.1f} ms, text {1000 * speed.text_s:.1f} ms, in Python {speed.python_version}"
    lines = [f"{ratio} as the host that predictions are fitted on ({took})"]
    if speed.spread > _STEADY:
        lines.append(
            f"the same work takes up to {speed.spread:.1f} times as long from one moment to the next: others share the"
            " processor, or its clock changes; launches will differ by as much"
        )
    return lines


def _space_name(gpu: str) -> str | None:
    try:
        return space_for(gpu).name
    except UsageError:
        return None
