"""A study's trials as a surface: read back, they are what they were."""

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from replay_samples import DEFAULTS, SPACE
from samples import FINGERPRINT, NOW, failed, measured, trial

from tuner.export.surface import surface_of
from tuner.replay.file import read_surface
from tuner.replay.surface import open_surface
from tuner.types import FailureKind, Mark

TRIALS = [
    replace(trial(0, measured(), params=DEFAULTS, is_default=True), ended_at=NOW + timedelta(seconds=75)),
    replace(
        trial(1, measured(output_throughput=5.5, marks=(Mark.UNSTEADY,)), params={**DEFAULTS, "max_num_seqs": 8}),
        ended_at=NOW + timedelta(seconds=20),  # it says that its start took 30 s: clocks differ
    ),
    replace(trial(2, failed(), params={**DEFAULTS, "max_num_seqs": 4}), ended_at=NOW + timedelta(seconds=12)),
    replace(trial(3, failed(FailureKind.REJECTED), params={**DEFAULTS, "max_num_seqs": 2}), attempts=0),
]


def test_what_is_read_back_is_what_was_measured(tmp_path: Path) -> None:
    path = tmp_path / "surface.jsonl"
    path.write_text(surface_of(TRIALS, FINGERPRINT))
    found = read_surface(path)
    assert (found.header.gpu, found.header.model, found.header.engine_version) == ("Tesla T4", "some/model", "0.32.0")
    assert [recording.params for recording in found.recordings] == [trial.params for trial in TRIALS]
    assert [recording.is_default for recording in found.recordings] == [True, False, False, False]
    assert [recording.took_s for recording in found.recordings] == [75.0, 30.0, 12.0, 0.0]
    assert [recording.outcome for recording in found.recordings[:2]] == [trial.outcome for trial in TRIALS[:2]]
    out_of_memory, refused = (recording.outcome for recording in found.recordings[2:])
    assert out_of_memory == replace(failed(), log_tail="")
    assert refused == replace(failed(FailureKind.REJECTED), log_tail="")
    assert open_surface(path).within(SPACE).defaults == DEFAULTS


def test_without_a_fingerprint_each_line_is_a_trial() -> None:
    lines = [json.loads(line) for line in surface_of(TRIALS).splitlines()]
    assert ["surface" in line for line in lines] == [False] * 4
    assert "is_default" not in lines[1]
    assert "metrics" not in lines[2]
    assert surface_of([]) == ""
