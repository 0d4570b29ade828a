"""What is launched before anything was learned."""

import numpy as np

from tuner.propose import design
from tuner.propose.encoding import Encoding
from tuner.space.parameters import Categorical, Int, Parameter
from tuner.types import Params

SPACE: dict[str, Parameter] = {
    "a": Int(type="int", low=1, high=64, log=True),
    "b": Categorical(type="categorical", choices=("x", "y", "z")),
    "c": Categorical(type="categorical", choices=(True, False)),
}
ENCODING = Encoding(SPACE)
POINTS: list[Params] = [{"a": a, "b": b, "c": c} for a in (1, 8, 64) for b in ("x", "y", "z") for c in (True, False)]


def utility(point: Params) -> float:
    return {1: 0.0, 8: 0.9, 64: 1.0}[int(point["a"])] + {"x": 0.0, "y": 0.1, "z": -0.1}[str(point["b"])]


def test_the_second_is_the_best_that_differs_in_every_group() -> None:
    values = np.array([utility(point) for point in POINTS])
    first: Params = {"a": 64, "b": "y", "c": True}
    found = POINTS[design.second(POINTS, values, ENCODING, {"a": "one", "b": "one", "c": "two"}, [first])]
    assert found["c"] is False
    assert (found["a"], found["b"]) != (64, "y")
    assert utility(found) == 1.0  # 0.9 + 0.1 or 1.0 + 0.0


def test_the_contrast_is_at_the_far_end_of_what_matters_most() -> None:
    values = np.array([utility(point) for point in POINTS])
    found = POINTS[
        design.contrast(POINTS, ENCODING.encode(POINTS), values, values, ENCODING, [{"a": 64, "b": "y", "c": True}])
    ]
    assert found["a"] == 1
    assert found["b"] in ("x", "y")


def test_aliases_are_counted_equal_and_opposite() -> None:
    assert design.aliases([{"a": 1, "b": "x", "c": True}, {"a": 64, "b": "y", "c": False}], ENCODING) == 3
    apart: list[Params] = [
        {"a": 1, "b": "x", "c": True},
        {"a": 64, "b": "x", "c": False},
        {"a": 1, "b": "y", "c": False},
        {"a": 64, "b": "y", "c": True},
    ]
    assert design.aliases(apart, ENCODING) == 0


def test_of_points_as_good_as_each_other_the_one_with_the_fewest_aliases_is_taken() -> None:
    """Each design that it makes has as few as any of the equally good ones would."""
    values = np.zeros(len(POINTS))
    first, base = POINTS[0], POINTS[-1]
    index = design.contrast(
        POINTS, ENCODING.encode(POINTS), np.array([utility(p) for p in POINTS]), values, ENCODING, [base, first]
    )
    same = [p for p in POINTS if p["a"] == POINTS[index]["a"]]
    least = min(design.aliases([base, first, p], ENCODING) for p in same)
    assert design.aliases([base, first, POINTS[index]], ENCODING) == least


def test_the_farthest_point_is_far_from_all_that_were_seen() -> None:
    x = ENCODING.encode(POINTS)
    seen = ENCODING.encode([{"a": 1, "b": "x", "c": True}])
    found = POINTS[design.farthest(x, seen, range(len(POINTS)), np.random.default_rng(0))]
    assert (found["a"], found["c"]) == (64, False)
