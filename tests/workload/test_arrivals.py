import dataclasses
import itertools
import math
from pathlib import Path
from statistics import fmean, pstdev

import pytest
from data_files import trace_file

from tuner.types import Workload
from tuner.workload.arrivals import Arrival, schedule
from tuner.workload.presets import PRESETS

OPEN = dataclasses.replace(PRESETS["open-chat"], request_rate=5.0, seed=3)


def _offsets(workload: Workload, number: int = 20_000) -> list[float]:
    return [arrival.offset_s for arrival in itertools.islice(schedule(workload), number)]


def _gaps(workload: Workload) -> list[float]:
    return [after - before for before, after in itertools.pairwise([0.0, *_offsets(workload)])]


@pytest.mark.parametrize("burstiness", [0.25, 1.0, 4.0])
def test_gaps_have_the_rate_and_the_burstiness_that_were_asked_for(burstiness: float) -> None:
    gaps = _gaps(dataclasses.replace(OPEN, burstiness=burstiness))
    assert fmean(gaps) == pytest.approx(1 / 5, rel=0.04)
    assert pstdev(gaps) / fmean(gaps) == pytest.approx(1 / math.sqrt(burstiness), rel=0.04)
    assert min(gaps) >= 0


def test_infinite_burstiness_is_a_constant_gap_that_does_not_drift() -> None:
    offsets = _offsets(dataclasses.replace(OPEN, burstiness=math.inf))
    assert offsets == [number / 5 for number in range(1, 20_001)]


@pytest.mark.parametrize("burstiness", [1.0, math.inf])
def test_the_rate_grows_linearly_and_then_stays(burstiness: float) -> None:
    ramp = dataclasses.replace(OPEN, request_rate=100.0, ramp_up_s=40.0, burstiness=burstiness)
    offsets = _offsets(ramp)
    # the integral of 100 * t / 40 up to 40 s, then of 100
    for time_s, expected in ((10.0, 125), (20.0, 500), (40.0, 2000), (50.0, 3000), (100.0, 8000)):
        counted = sum(offset <= time_s + 1e-6 for offset in offsets)
        assert abs(counted - expected) <= (4 * math.sqrt(expected) if burstiness == 1 else 1)
    assert offsets == sorted(offsets)


def test_arrivals_depend_on_the_seed_only() -> None:
    assert _offsets(OPEN, 100) == _offsets(dataclasses.replace(OPEN, window_s=99.0, name="other"), 100)
    assert _offsets(OPEN, 100) != _offsets(dataclasses.replace(OPEN, seed=4), 100)


def test_lengths_are_left_to_the_workload() -> None:
    first = next(schedule(OPEN))
    assert (first.input_tokens, first.output_tokens) == (None, None)


def test_a_trace_is_replayed_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "trace.csv"
    path.write_text("timestamp,input_length,output_length\n3000,10,5\n3500,20,6\n7000,30,7\n")
    trace = trace_file(path, unit_s=0.001, speedup=2.0)
    assert list(schedule(dataclasses.replace(OPEN, request_rate=None, trace=trace))) == [
        Arrival(offset_s=0.0, input_tokens=10, output_tokens=5),
        Arrival(offset_s=0.25, input_tokens=20, output_tokens=6),
        Arrival(offset_s=2.0, input_tokens=30, output_tokens=7),
    ]


def test_a_closed_loop_has_no_schedule() -> None:
    with pytest.raises(ValueError, match="closed loop"):
        schedule(PRESETS["chat"])
