"""This machine, engine, model and workload in; what must be equal for two trials to be comparable out."""

import hashlib
import os
import platform
import re
from collections.abc import Sequence
from pathlib import Path

from tuner.launch.engine import EngineInfo
from tuner.types import DetectedGpu, Fingerprint


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
