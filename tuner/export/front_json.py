"""A front in, its points as they stand in JSON out; docs/json.md has every field. Pure."""

from typing import Any

from tuner.decide.objective import Objective
from tuner.decide.pareto import Front, FrontPoint, Told


def objectives_json(objectives: tuple[Objective, ...]) -> list[dict[str, Any]]:
    return [
        {"objective": one.name, "metric": one.metric, "direction": "maximize" if one.maximize else "minimize"}
        for one in objectives
    ]


def front_json(front: Front | None) -> list[dict[str, Any]]:
    """Empty for a study with one objective."""
    return [] if front is None else [_point(front, point) for point in front.points]


def _point(front: Front, point: FrontPoint) -> dict[str, Any]:
    of_each = zip(front.objectives, point.told, strict=True)
    return {
        "trial": point.trial.number,
        "is_default": point.trial.is_default,
        "is_knee": point.trial.number == front.knee,
        "is_verified": point.is_verified,
        "launches": point.launches,
        "params": dict(point.trial.params),
        "objectives": {objective.metric: _told(told) for objective, told in of_each},
    }


def _told(told: Told) -> dict[str, float | None]:
    ends = {"low": told.low, "high": told.high}
    return {"value": told.value, **ends, "gain": told.gain, "gain_low": told.gain_low, "gain_high": told.gain_high}
