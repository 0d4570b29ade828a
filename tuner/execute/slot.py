"""Where one launch at a time runs: some cards and cores of this host, or a place that Ray finds."""

from dataclasses import dataclass

from tuner.launch.job import RunTrial
from tuner.types import DetectedGpu


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """`gpus` are those that a launch in it uses, none on the CPU and none where another host has them; `cores` are those of
    this host that it and its load may use, None for all; `run` is who runs a job there, None for whoever runs the study's."""

    number: int
    gpus: tuple[DetectedGpu, ...] = ()
    cores: frozenset[int] | None = None
    run: RunTrial | None = None
