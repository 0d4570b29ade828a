"""How fast simulated time runs, and how long a measurement lasts in it."""

from dataclasses import replace
from pathlib import Path

import pytest
from simulating import MODEL

from tuner.predict.shape import read_shape
from tuner.sim.speed import MAX_WINDOW, PRECISION, REQUESTS_PER_S, TRIAL_S, WARMUP, WINDOW, pace_of, rounded
from tuner.space.files import load_space, shipped_spaces
from tuner.types import DataFile, Workload
from tuner.workload.presets import PRESETS

SHAPE = read_shape(MODEL)
GPUS = [name for name in shipped_spaces() if name != "cpu"]


@pytest.mark.parametrize("gpu", GPUS)
@pytest.mark.parametrize("preset", ["chat", "long-prompt", "reasoning-r1", "open-chat", "prefix", "multi-turn"])
def test_a_trial_costs_little_of_our_time_on_any_card(gpu: str, preset: str) -> None:
    found = pace_of(SHAPE, load_space(gpu), PRESETS[preset])
    real_s = (found.workload.warmup_s + found.workload.window_s) / found.speed
    assert real_s < 5  # an open loop is slow where its requests are quick
    if preset == "chat":
        assert real_s < 1.5 * TRIAL_S
    if found.workload.request_rate:
        assert found.workload.request_rate * found.speed <= REQUESTS_PER_S
    assert found.workload.max_window_s == MAX_WINDOW * found.workload.window_s
    assert found.workload.precision == PRECISION
    assert found == pace_of(SHAPE, load_space(gpu), PRESETS[preset])  # the same study, to be continued


def test_what_the_user_gave_stays() -> None:
    given = replace(PRESETS["chat"], warmup_s=7.0, window_s=9.0, max_window_s=10.0, precision=0.5)
    assert pace_of(SHAPE, load_space("t4"), given).workload == given
    only = pace_of(SHAPE, load_space("t4"), replace(PRESETS["chat"], window_s=9.0)).workload
    assert (only.window_s, only.max_window_s) == (9.0, 18.0)


def test_the_window_follows_the_latency() -> None:
    found = pace_of(SHAPE, load_space("t4"), PRESETS["chat"]).workload
    assert found.window_s / found.warmup_s == pytest.approx(WINDOW / WARMUP, rel=0.1)


def test_a_rate_that_is_looked_for_leaves_room_above() -> None:
    opened, space = PRESETS["open-chat"], load_space("t4")
    assert pace_of(SHAPE, space, replace(opened, find_rate=True)).speed < pace_of(SHAPE, space, opened).speed


def test_a_model_that_does_not_fit_has_a_pace_too(tmp_path: Path) -> None:
    large = replace(SHAPE, layers=1000)
    assert pace_of(large, load_space("t4"), PRESETS["chat"]).speed > 1


def test_a_trace_runs_as_fast_as_its_requests_can_be_sent(tmp_path: Path) -> None:
    path = tmp_path / "trace.csv"
    path.write_text("timestamp,input_tokens,output_tokens\n" + "".join(f"{n * 0.5},10,10\n" for n in range(200)))
    trace = DataFile(path=path, digest="")
    workload = replace(PRESETS["chat"], users=None, trace=trace)
    found = pace_of(SHAPE, load_space("t4"), workload)
    assert found.speed == pytest.approx(REQUESTS_PER_S / 2, rel=0.1)
    assert found.workload == workload


@pytest.mark.parametrize(
    ("value", "expected"), [(39.97, 39.0), (40.0, 40.0), (0.699, 0.69), (123.0, 120.0), (6.0, 6.0)]
)
def test_two_digits_downwards(value: float, expected: float) -> None:
    assert rounded(value) == expected
    assert isinstance(PRESETS["chat"], Workload)
