"""Data files as parts of a workload, as reading a workload's YAML makes them."""

from pathlib import Path

from tuner.types import DataFile
from tuner.workload.dataset import inspect_dataset
from tuner.workload.trace import inspect_trace


def dataset_file(path: Path) -> DataFile:
    return inspect_dataset(path)[0]


def trace_file(path: Path, unit_s: float = 1.0, speedup: float = 1.0) -> DataFile:
    return inspect_trace(path, unit_s, speedup)[0]
