"""What this machine allows before a launch. (The GPU's memory is in test_cards.py.)

The rest of a trial is tested with a real vLLM: test_faults.py, test_optimize.py.
"""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tuner.errors import LaunchError
from tuner.launch.job import Job
from tuner.load.limits import Limits
from tuner.study import trial
from tuner.study.measurement import measure
from tuner.types import Failed, FailureKind, Target
from tuner.workload.presets import PRESETS

FEW_FILES = Limits(files=64, ports=30_000, memory_bytes=1 << 33)


def test_a_load_that_this_machine_cannot_make_is_found_before_the_launch(monkeypatch: pytest.MonkeyPatch) -> None:
    """The job has no launcher at all: it is not asked."""
    monkeypatch.setattr(trial, "machine_limits", lambda: FEW_FILES)
    nothing: Any = None
    job = Job(
        launcher=nothing,
        command=nothing,
        log=Path("log"),
        workload=replace(PRESETS["chat"], users=10_000),
        salt=0,
        slos=(),
        gpus=(),
        engine=None,
        timeout_s=1.0,
    )
    outcome = asyncio.run(trial.run_trial(job, nothing, nothing, nothing))
    assert isinstance(outcome, Failed)
    assert outcome.kind is FailureKind.CLIENT_BOUND
    assert "10,000 users need" in outcome.message
    assert not outcome.kind.is_of_the_settings


def test_so_it_is_before_a_load_on_a_server_that_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tuner.study.measurement.machine_limits", lambda: FEW_FILES)
    nowhere = Target(base_url="http://127.0.0.1:1", model="m")
    with pytest.raises(LaunchError, match="10,000 users need") as raised:
        asyncio.run(measure(nowhere, replace(PRESETS["chat"], users=10_000)))
    assert raised.value.failed.kind is FailureKind.CLIENT_BOUND
