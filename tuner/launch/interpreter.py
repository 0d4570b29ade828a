"""Which Python runs vLLM, and in what environment.

In: `--vllm-python`, TUNER_VLLM_PYTHON, or nothing. Out: a path; environment variables. vLLM is never imported here.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tuner.errors import EngineError

#: Told to every vLLM: no usage statistics leave the machine.
_QUIET = {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}


def find_python(given: str | None) -> Path:
    """The interpreter that has vLLM: the given one, TUNER_VLLM_PYTHON, ./.engine, the one behind `vllm` on the PATH, or
    tuner's own. Raises EngineError."""
    named = given or os.environ.get("TUNER_VLLM_PYTHON")
    if named:
        path = Path(shutil.which(named) or named)
        if not path.is_file():
            origin = "--vllm-python" if given else "TUNER_VLLM_PYTHON"
            raise EngineError(f"{origin} names {named}, which is no file: give the python of the environment with vLLM")
        return path.absolute()
    for candidate in _candidates():
        if candidate.is_file() and _has_vllm(candidate):
            return candidate
    raise EngineError(
        "no vLLM was found: install it with `tuner install-engine`, or name its interpreter with --vllm-python PATH"
    )


def _candidates() -> list[Path]:
    found = [Path.cwd() / ".engine" / "bin" / "python"]
    if command := shutil.which("vllm"):
        found.append(Path(command).resolve().parent / "python")
    return [*found, Path(sys.executable)]


def _has_vllm(python: Path) -> bool:
    probe = "import importlib.util as u, sys; sys.exit(u.find_spec('vllm') is None)"
    return subprocess.run([str(python), "-c", probe], capture_output=True, check=False).returncode == 0


def engine_environment(more: Mapping[str, str]) -> dict[str, str]:
    """The caller's environment with `more` on top. A trial's server needs no API key, and is not asked for one."""
    own = {name: value for name, value in os.environ.items() if name != "VLLM_API_KEY"}
    return {**own, **_QUIET, **more}
