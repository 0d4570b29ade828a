"""What settings are answered with: a recording of them, the nearest, or what would be between the nearest."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from replay_samples import SPACE, failure, header, line, metrics, written

from tuner.replay.points import Answer, Points
from tuner.replay.surface import open_surface
from tuner.space.search_space import SearchSpace
from tuner.types import Failed, Mark, Measured, Params, present


def points(folder: Path, *lines: dict[str, Any], space: SearchSpace = SPACE, **about: Any) -> Points:
    return open_surface(written(folder, header(**about), *lines)).within(space)


def throughput(answer: Answer) -> float:
    assert isinstance(answer.outcome, Measured)
    return present(answer.outcome.load.output_throughput)


def test_what_was_recorded_is_answered_exactly(tmp_path: Path) -> None:
    surface = points(tmp_path, line(10.0), line(20.0, params={"max_num_seqs": 8}, duration_s=7.0), answer="interpolate")
    found = surface.answer({"max_num_seqs": 8, "gpu_memory_utilization": 0.9000000000000001}, "")
    assert throughput(found) == 20.0
    assert found.took_s == 37.0
    assert found.origin.endswith("surface.jsonl:3 is a recording of these settings")
    assert throughput(surface.answer({}, "")) == 10.0  # the defaults


def test_the_nearest_point_is_that_on_the_searched_scale(tmp_path: Path) -> None:
    """12 is nearer to 16 than to 4 by its logarithm, and 60 nearer to 16 than to 256, though not by its value."""
    surface = points(tmp_path, *[line(float(seqs), params={"max_num_seqs": seqs}) for seqs in (4, 16, 256)])
    assert [throughput(surface.answer({"max_num_seqs": seqs}, "")) for seqs in (1, 7, 9, 12, 60, 70, 200)] == [
        4.0,
        4.0,
        16.0,
        16.0,
        16.0,
        256.0,
        256.0,
    ]
    assert (
        "surface.jsonl:3 is the nearest recorded point (distance 0.0519)"
        in surface.answer({"max_num_seqs": 12}, "").origin
    )


def test_a_point_of_the_same_categorical_values_is_preferred_to_a_nearer_one(tmp_path: Path) -> None:
    far: Params = {"max_num_seqs": 1, "quantization": "fp8_per_tensor", "gpu_memory_utilization": 0.5}
    near: Params = {"max_num_seqs": 256}
    surface = points(tmp_path, line(1.0, params=near), line(2.0, params=far))
    assert throughput(surface.answer({"quantization": "fp8_per_tensor"}, "")) == 2.0


@pytest.mark.parametrize("answer", ["nearest", "interpolate"])
def test_without_a_point_of_the_same_categorical_values_the_nearest_answers_and_that_is_said(
    tmp_path: Path, answer: str
) -> None:
    surface = points(tmp_path, line(1.0, params={"max_num_seqs": 8}), line(2.0), answer=answer)
    found = surface.answer({"quantization": "fp8_per_tensor", "max_num_seqs": 128}, "")
    assert throughput(found) == 2.0
    assert "no recorded point has these categorical values" in found.origin
    assert found.origin.endswith("surface.jsonl:3 is the nearest (distance 1.01)")


def test_a_switch_is_no_number(tmp_path: Path) -> None:
    surface = points(tmp_path, line(1.0), line(2.0, params={"enforce_eager": True}))
    assert throughput(surface.answer({"enforce_eager": True}, "")) == 2.0
    assert throughput(surface.answer({"enforce_eager": False}, "")) == 1.0


def test_of_several_recordings_the_seed_picks_one(tmp_path: Path) -> None:
    surface = points(tmp_path, *[line(float(value)) for value in range(5)])
    picked = [throughput(surface.answer({}, str(seed))) for seed in range(100)]
    assert set(picked) == {0.0, 1.0, 2.0, 3.0, 4.0}
    assert picked == [throughput(surface.answer({}, str(seed))) for seed in range(100)]
    assert "one of 5" in surface.answer({}, "").origin


def test_an_interpolated_answer_is_weighted_by_the_inverse_squared_distance(tmp_path: Path) -> None:
    """4 lies at distances 1/4 and 3/4 of the only two points: weights 9 and 1."""
    ends = [line(10.0, params={"max_num_seqs": 1}), line(20.0, duration_s=32.0)]
    surface = points(tmp_path, *ends, answer="interpolate")
    found = surface.answer({"max_num_seqs": 4}, "")
    assert throughput(found) == pytest.approx(11.0)
    assert found.took_s == pytest.approx(30 + 23.0)
    assert found.origin.startswith("interpolated between lines 2, 3 of ")


def test_only_the_nearest_measured_points_count(tmp_path: Path) -> None:
    lines = [line(float(seqs), params={"max_num_seqs": seqs}) for seqs in (1, 2, 8, 16, 256)]
    surface = points(tmp_path, *lines, answer="interpolate")
    assert "lines 3, 4, 2, 5 of" in surface.answer({"max_num_seqs": 3}, "").origin


def test_what_only_some_neighbours_know_is_not_known_between_them(tmp_path: Path) -> None:
    poor = {
        name: value
        for name, value in metrics(output_throughput=10.0).items()
        if not name.startswith(("server_", "tpot"))
    }
    lines = [{"params": {"max_num_seqs": 1}, "metrics": poor, "marks": ["unsteady"]}, line(20.0)]
    found = points(tmp_path, *lines, answer="interpolate").answer({"max_num_seqs": 16}, "").outcome
    assert isinstance(found, Measured)
    assert (found.server, found.load.tpot_s, found.server_cpu_cores) == (None, None, None)
    assert present(present(found.load.ttft_s).p99) == pytest.approx(0.1)
    assert found.marks == (Mark.UNSTEADY,)


def test_a_failure_is_never_interpolated(tmp_path: Path) -> None:
    lines = [failure({"max_num_seqs": 256}), *[line(float(s), params={"max_num_seqs": s}) for s in (1, 8)]]
    surface = points(tmp_path, *lines, answer="interpolate")
    assert isinstance(surface.answer({"max_num_seqs": 200}, "").outcome, Failed)
    assert 1.0 < throughput(surface.answer({"max_num_seqs": 16}, "")) < 8.0


def test_one_measured_point_alone_is_answered_as_it_is(tmp_path: Path) -> None:
    surface = points(tmp_path, line(7.0), failure({"max_num_seqs": 1}), answer="interpolate")
    assert throughput(surface.answer({"max_num_seqs": 128}, "")) == 7.0


def test_what_was_refused_at_another_time_counts_as_launched(tmp_path: Path) -> None:
    surface = points(tmp_path, failure({}, kind="rejected"), line(3.0))
    assert {throughput(surface.answer({}, str(seed))) for seed in range(20)} == {3.0}


def test_a_parameter_that_does_not_count_does_not_matter(tmp_path: Path) -> None:
    tree = SPACE.model_dump()
    tree["parameters"]["max_num_seqs"]["when"] = {"enforce_eager": True}
    tree["parameters"] = {name: tree["parameters"][name] for name in reversed(tree["parameters"])}
    space = SearchSpace.model_validate(tree)
    surface = points(
        tmp_path,
        line(1.0, params={"enforce_eager": False, "max_num_seqs": 8}),
        line(2.0, params={"enforce_eager": True, "max_num_seqs": 8}),
        space=space,
    )
    assert "a recording of" in surface.answer({"enforce_eager": False, "max_num_seqs": 64}, "").origin
    assert "the nearest" in surface.answer({"enforce_eager": True, "max_num_seqs": 64}, "").origin


RECORDED = st.tuples(
    st.integers(1, 256),
    st.sampled_from([0.5, 0.6, 0.7, 0.8, 0.9]),
    st.sampled_from(["none", "fp8_per_tensor"]),
    st.floats(0.1, 1e6),
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(recorded=st.lists(RECORDED, min_size=1, max_size=12), at=RECORDED)
def test_an_answer_lies_between_what_was_recorded_of_its_categorical_values(
    tmp_path: Path, recorded: list[tuple[int, float, str, float]], at: tuple[int, float, str, float]
) -> None:
    def params(point: tuple[int, float, str, float]) -> dict[str, int | float | str]:
        return {"max_num_seqs": point[0], "gpu_memory_utilization": point[1], "quantization": point[2]}

    lines = [line(point[3], params=params(point)) for point in recorded]
    alike = [point[3] for point in recorded if point[2] == at[2]] or [point[3] for point in recorded]
    exact = [point[3] for point in recorded if point[:3] == at[:3]]
    surface = points(tmp_path, *lines, answer="interpolate")
    between, nearest = surface.answer(params(at), "s"), replace(surface, interpolates=False).answer(params(at), "s")
    assert throughput(nearest) in (exact or alike)
    assert min(exact or alike) * (1 - 1e-9) <= throughput(between) <= max(exact or alike) * (1 + 1e-9)
