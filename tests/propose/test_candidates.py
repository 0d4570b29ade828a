"""The points that a sampler chooses from."""

from functools import partial

from tuner.propose.candidates import Candidates, key_of, levels
from tuner.space.files import load_space, shipped_spaces
from tuner.space.parameters import Categorical, Float, Int, Parameter
from tuner.space.search_space import SearchSpace
from tuner.types import Params

SMALL: dict[str, Parameter] = {
    "max_num_seqs": Int(type="int", low=16, high=64, step=16),
    "enforce_eager": Categorical(type="categorical", choices=(False, True)),
    "cudagraph_mode": Categorical(type="categorical", choices=("FULL", "PIECEWISE"), when={"enforce_eager": False}),
}


def active(params: Params) -> set[str]:
    return {n for n in SMALL if n != "cudagraph_mode" or params.get("enforce_eager") is False}


def test_a_small_space_is_enumerated_each_point_once() -> None:
    found = Candidates(SMALL, active=active)
    assert found.finite
    assert len(found.points) == 4 * (2 + 1)  # eager has no mode
    assert len({key_of(point) for point in found.points}) == 12
    assert all(("cudagraph_mode" in point) is not point["enforce_eager"] for point in found.points)


def test_points_that_break_a_rule_are_no_candidates() -> None:
    found = Candidates(SMALL, active=active, is_legal=lambda p: int(p["max_num_seqs"]) > 16)
    assert {point["max_num_seqs"] for point in found.points} == {32, 48, 64}


def test_a_wide_space_is_drawn_on_levels_and_is_not_finite() -> None:
    wide: dict[str, Parameter] = {
        "max_num_seqs": Int(type="int", low=1, high=2048, log=True),
        "x": Float(type="float", low=0.0, high=1.0),
    }
    found = Candidates(wide, seed=3)
    assert not found.finite
    assert {point["max_num_seqs"] for point in found.points} == {2**e for e in range(12)}
    assert found.points == Candidates(wide, seed=3).points
    assert found.points != Candidates({**wide, "y": Int(type="int", low=0, high=10**6)}, seed=4).points


def test_true_is_not_one() -> None:
    assert key_of({"a": True}) != key_of({"a": 1})


def test_a_number_of_a_grid_is_the_number_that_a_person_writes() -> None:
    assert levels(Float(type="float", low=0.85, high=0.95, step=0.01))[7] == 0.92
    assert levels(Int(type="int", low=512, high=2048, step=512)) == [512, 1024, 1536, 2048]
    assert levels(Int(type="int", low=3, high=5, log=True)) == [3, 4, 5]


def test_an_incomplete_point_is_filled_with_legal_values() -> None:
    found = Candidates(
        SMALL, active=active, defaults={"max_num_seqs": 250, "enforce_eager": False, "cudagraph_mode": "NONE"}
    )
    assert found.legal({}) == {"max_num_seqs": 64, "enforce_eager": False, "cudagraph_mode": "FULL"}
    assert found.legal({"enforce_eager": True}) == {"max_num_seqs": 64, "enforce_eager": True}
    assert found.legal({"max_num_seqs": 20}) == {"max_num_seqs": 16, "enforce_eager": False, "cudagraph_mode": "FULL"}


def test_frozen_parameters_stay_at_the_defaults() -> None:
    found = Candidates(
        SMALL, active=active, defaults={"max_num_seqs": 32, "enforce_eager": False}, frozen={"enforce_eager"}
    )
    assert {point["enforce_eager"] for point in found.points} == {False}
    assert not found.finite  # there is more than these
    assert all(
        point["enforce_eager"] is False for point in found.near({"max_num_seqs": 16, "enforce_eager": False}, 50)
    )


def test_neighbours_differ_in_one_parameter_and_what_hangs_on_it() -> None:
    found = Candidates(SMALL, active=active)
    here: Params = {"max_num_seqs": 16, "enforce_eager": True}
    near = found.near(here, 50)
    assert {key_of(p) for p in near} == {
        *(key_of({"max_num_seqs": n, "enforce_eager": True}) for n in (32, 48, 64)),
        key_of({"max_num_seqs": 16, "enforce_eager": False, "cudagraph_mode": "FULL"}),
    }
    assert len(found.near(here, 2)) == 2


def keeps_rules(space: SearchSpace, params: Params) -> bool:
    return not space.violations(params)


def test_every_shipped_space_has_candidates_that_are_legal() -> None:
    for name in shipped_spaces():
        space = load_space(name)
        found = Candidates(space.parameters, is_legal=partial(keeps_rules, space), active=space.active, seed=1)
        assert len(found.points) > 50, name
        assert not any(space.violations(point) for point in found.points)


def test_between_a_number_and_its_neighbours_stand_halves_once_these_are_known() -> None:
    found = Candidates(
        {"n": Int(type="int", low=1, high=4096, log=True), "x": Float(type="float", low=0.0, high=1.0)}, seed=0
    )
    here: Params = {"n": 256, "x": 0.5}

    def halves(*known: Params) -> list[Params]:
        on_levels = {key_of(point) for point in found.near(here, 100)}
        return [point for point in found.near(here, 100, known=[here, *known]) if key_of(point) not in on_levels]

    assert halves() == halves({"n": 64, "x": 0.5}) == halves({"n": 128, "x": 0.25}) == []
    around: list[Params] = [{"n": 128, "x": 0.5}, {"n": 512, "x": 0.5}]
    assert len(found.near(here, 100, known=around)) == len(found.near(here, 100))  # it was not launched itself
    assert halves(*around) == [{"n": 181, "x": 0.5}, {"n": 362, "x": 0.5}]
    assert halves(*around, {"n": 181, "x": 0.5}) == [{"n": 215, "x": 0.5}, {"n": 362, "x": 0.5}]


def test_a_short_range_and_a_value_at_its_end_have_fewer_halves() -> None:
    short = Candidates({"n": Int(type="int", low=1, high=8)}, seed=0)
    known: list[Params] = [{"n": n} for n in range(1, 9)]
    assert {point["n"] for point in short.near({"n": 4}, 100, known=known)} == {1, 2, 3, 5, 6, 7, 8}
    end = Candidates({"x": Float(type="float", low=0.0, high=1.0)}, seed=0)
    near = end.near({"x": 1.0}, 100, known=[{"x": 0.875}, {"x": 1.0}])
    assert {point["x"] for point in near} - {*levels(end.parameters["x"])} == {0.9375}
