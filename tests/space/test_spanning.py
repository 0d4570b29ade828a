"""The space of points that somebody has measured holds all of them, and its YAML is read as the same space."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tuner.errors import UsageError
from tuner.space.files import load_space
from tuner.space.parameters import Categorical, Float, Int
from tuner.space.search_space import Gpu, SearchSpace
from tuner.space.spanning import space_yaml, spanned
from tuner.types import Params

CPU = Gpu(names=())
T4 = Gpu(names=("Tesla T4",), compute_capability="7.5")


def test_what_varies_is_searched_and_what_does_not_is_fixed() -> None:
    points: list[Params] = [
        {"max_num_seqs": seqs, "gpu_memory_utilization": share, "dtype": "half", "stream_interval": 1 + seqs % 3}
        for seqs, share in ((16, 0.85), (256, 0.9))
    ]
    space = spanned("mine", T4, points, {})
    assert space.fixed == {"dtype": "half", "stream_interval": 2}
    assert space.parameters == {
        "max_num_seqs": Int(type="int", low=16, high=256, log=True),
        "gpu_memory_utilization": Float(type="float", low=0.85, high=0.9),
    }


def test_what_a_point_does_not_name_is_not_passed_or_at_its_default() -> None:
    points: list[Params] = [{}, {"max_num_seqs": 16}, {"max_num_seqs": 64}]
    unknown = spanned("mine", CPU, points, {}).parameters["max_num_seqs"]
    assert unknown == Categorical(type="categorical", choices=("none", 16, 64))
    known = spanned("mine", CPU, points, {"max_num_seqs": 256}).parameters["max_num_seqs"]
    assert known == Int(type="int", low=16, high=256, log=True)


def test_the_range_that_was_searched_is_kept_if_all_lies_in_it() -> None:
    searched = Int(type="int", low=1, high=1024, log=True)
    points: list[Params] = [{"max_num_seqs": 16}, {"max_num_seqs": 20}]
    assert spanned("mine", CPU, points, {}, {"max_num_seqs": searched}).parameters["max_num_seqs"] == searched
    outside = spanned("mine", CPU, points, {"max_num_seqs": 2048}, {"max_num_seqs": searched})
    assert outside.parameters["max_num_seqs"] == Int(type="int", low=16, high=2048, log=True)


def test_true_is_not_one() -> None:
    space = spanned("mine", CPU, [{"a": True}, {"a": 1}], {})
    assert space.parameters["a"] == Categorical(type="categorical", choices=(True, 1))


@pytest.mark.parametrize(
    ("points", "why"),
    [
        ([{"dtype": "half"}], "there is no search space in them"),
        ([{}], "there is no search space in them"),
        ([{"dtype": "half"}, {"dtype": "bfloat16"}], "give the card that these were measured on with --gpu"),
        ([{"a": 1}, {"a.b": 1}, {}], "a"),
    ],
)
def test_what_is_no_space(points: list[Params], why: str) -> None:
    with pytest.raises(UsageError) as caught:
        spanned("mine", T4, points, {})
    assert why in str(caught.value)
    assert "\n" not in str(caught.value)


VALUES = st.one_of(
    st.booleans(), st.integers(-5, 5000), st.floats(0.01, 1), st.sampled_from(["fp8", "auto", "yes", "1e3", "[1, 2]"])
)
POINTS = st.lists(st.dictionaries(st.sampled_from(["a", "b_c", "d.E-f"]), VALUES), min_size=2, max_size=6)


@settings(max_examples=60, deadline=None)
@given(points=POINTS)
def test_every_point_can_be_chosen_and_the_yaml_is_the_space(
    points: list[Params], tmp_path_factory: pytest.TempPathFactory
) -> None:
    if len({repr(sorted(point.items())) for point in points}) == 1:
        with pytest.raises(UsageError, match="no search space in them"):
            spanned("mine", CPU, points, {})
        return
    space = spanned("mine", CPU, points, {})
    for point in points:
        chosen = {name: value for name, value in point.items() if name in space.parameters}
        assert space.violations(chosen) == []
    path: Path = tmp_path_factory.mktemp("space") / "mine.yaml"
    path.write_text(space_yaml(space, "from a test"))
    read: SearchSpace = load_space(path)
    assert read.digest() == space.digest()
