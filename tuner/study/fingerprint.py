"""This machine, engine, model and workload in; what must be equal for two trials to be comparable out, and the host's speed."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from tuner.errors import EngineError
from tuner.launch.conditions import processor, revision
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
        model_revision=revision(model),
        workload_hash=workload,
        host=processor(),
    )


def unreal_fingerprint(info: EngineInfo, gpu: str, host: str, model: str, workload: str) -> Fingerprint:
    """Of an engine that runs on no GPU: all studies on it are comparable whose `host` says the same, on any machine."""
    return Fingerprint(
        gpu=gpu,
        gpu_count=0,
        driver=None,
        engine_version=info.version,
        model=model,
        model_revision=revision(model),
        workload_hash=workload,
        host=host,
    )


def with_host_speed(
    fingerprint: Fingerprint,
    python: Path,
    tell: Callable[[str], None],
    measure: Callable[[Path], HostSpeed] = measure_host,
) -> Fingerprint:
    """The same with the host measured, in vLLM's interpreter; `tell` is told why where it cannot be."""
    try:
        return replace(fingerprint, host_speed=measure(python))
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
