"""This machine, engine, model and workload in; what must be equal for two trials to be comparable out, and the host's speed."""

import hashlib
import os
import platform
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from tuner.errors import EngineError
from tuner.launch.engine import EngineInfo
from tuner.launch.host_speed import measure_host
from tuner.types import DetectedGpu, Fingerprint, HostSpeed

#: A host that became so many times as slow or as fast is told: launches are repeated within a few percent of one another.
_OTHER_SPEED = 1.3


def take_fingerprint(gpus: Sequence[DetectedGpu], info: EngineInfo, model: str, workload: str) -> Fingerprint:
    """`workload` is the workload's hash; a model folder is told from another by its config.json."""
    return Fingerprint(
        gpu=gpus[0].name if gpus else None,
        gpu_count=len(gpus),
        driver=gpus[0].driver if gpus else None,
        engine_version=info.version,
        model=model,
        model_revision=_revision(model),
        workload_hash=workload,
        host=_processor(),
    )


def unreal_fingerprint(info: EngineInfo, gpu: str, host: str, model: str, workload: str) -> Fingerprint:
    """Of an engine that runs on no GPU: all studies on it are comparable whose `host` says the same, on any machine."""
    return Fingerprint(
        gpu=gpu,
        gpu_count=0,
        driver=None,
        engine_version=info.version,
        model=model,
        model_revision=_revision(model),
        workload_hash=workload,
        host=host,
    )


def with_host_speed(fingerprint: Fingerprint, python: Path, tell: Callable[[str], None]) -> Fingerprint:
    """The same with the host measured, in vLLM's interpreter; `tell` is told why where it cannot be."""
    try:
        return replace(fingerprint, host_speed=measure_host(python))
    except EngineError as error:
        tell(f"how fast this host is stays unknown: {error}")
        return fingerprint


def host_changed(before: HostSpeed | None, now: HostSpeed | None) -> str | None:
    """A sentence if the host of a study that is gone on with is not as fast as when it began."""
    if before is None or now is None:
        return None
    slowness = now.slowness(before)
    if 1 / _OTHER_SPEED <= slowness <= _OTHER_SPEED:
        return None
    return (
        f"this host's processor is {now.compared(before)} as when the study began, and trials of then and of now may differ"
        " by as much: see what else runs here, or begin another --study"
    )


def _revision(model: str) -> str | None:
    config = Path(model) / "config.json"
    return hashlib.sha256(config.read_bytes()).hexdigest()[:16] if config.is_file() else None


def _processor() -> str:
    """The host as far as speed goes: its processor. A container's host name changes with every start."""
    names = re.findall(r"^model name\s*:\s*(.+)$", _read("/proc/cpuinfo"), re.MULTILINE)
    return f"{names[0] if names else platform.machine()}, {os.cpu_count()} cores"


def _read(path: str) -> str:
    file = Path(path)
    return file.read_text(encoding="utf-8", errors="replace") if file.is_file() else ""
