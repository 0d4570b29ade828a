"""The front of a search, and its knee: by logarithms, and no finer than the measurements are."""

from dataclasses import replace
from math import log

import pytest
from samples import failed, load_metrics, measured, trial

from tuner.decide.objective import parse_objectives
from tuner.decide.pareto import FINALISTS, Place, by_distance, contenders, front, is_dominated, leading, searched
from tuner.types import Trial

BOTH = parse_objectives(["throughput", "ttft_p99"])


def place(throughput: float, ttft_s: float, error: float = 0.02, number: int = 1) -> Place:
    return Place(trial(number, measured()), (throughput, ttft_s), (error, error))


def one(number: int, throughput: float, ttft_s: float) -> Trial:
    return trial(number, measured(output_throughput=throughput, ttft_s=ttft_s), is_default=number == 0)


def numbers(places: list[Place]) -> list[int]:
    return [found.trial.number for found in places]


def test_what_is_worse_in_nothing_but_noise_is_not_dominated() -> None:
    assert is_dominated(place(100, 0.30), place(110, 0.20), BOTH)
    assert is_dominated(place(100, 0.20), place(110, 0.20), BOTH)
    assert not is_dominated(place(100, 0.20), place(102, 0.201), BOTH)  # better in one
    assert not is_dominated(place(100, 0.20), place(102, 0.199), BOTH)  # 2 % is noise
    assert not is_dominated(place(100, 0.30, error=0.3), place(110, 0.20, error=0.3), BOTH)
    assert not is_dominated(place(100, 0.20), place(100, 0.20), BOTH)


def test_a_front_is_without_what_another_beats_in_all() -> None:
    places = [place(100, 0.1, number=1), place(200, 0.4, number=2), place(90, 0.2, number=3), place(300, 0.9, number=4)]
    assert numbers(front(places, BOTH)) == [4, 2, 1]
    assert front([], BOTH) == []


def test_the_knee_is_the_nearest_to_the_best_of_each_by_logarithms() -> None:
    corner = place(180, 0.12, number=2)
    places = [place(200, 0.9, number=1), corner, place(90, 0.1, number=3)]
    assert by_distance(places, BOTH)[0] is corner
    scaled = [replace(p, values=(1000 * p.values[0], p.values[1] / 1000)) for p in places]
    assert numbers(by_distance(scaled, BOTH)) == numbers(by_distance(places, BOTH))  # of any unit


def test_a_range_that_is_mostly_noise_does_not_decide_the_knee() -> None:
    """Throughput differs by 1 %, TTFT threefold."""
    places = [place(101, 0.3, number=1), place(100, 0.1, number=2)]
    assert by_distance(places, BOTH)[0].trial.number == 2


def test_the_defaults_say_how_much_there_is_to_gain() -> None:
    """Twice the throughput of the defaults is most of what there is; without them half of the range."""
    places = [place(100, 0.10, number=1), place(200, 0.14, number=2)]
    assert by_distance(places, BOTH, place(10, 0.15, number=0))[0].trial.number == 1
    assert by_distance(places, BOTH, place(100, 1.0, number=0))[0].trial.number == 2


def test_only_what_was_measured_and_meets_the_slos_is_placed() -> None:
    missing = replace(one(3, 900, 0.01), violations={"ttft_p50": 0.2})
    lacking = trial(4, replace(measured(), load=replace(load_metrics(), tpot_s=None)))
    objectives = parse_objectives(["throughput", "tpot_p99"])
    trials = [one(0, 100, 0.1), trial(1, failed()), missing, lacking]
    assert [found.trial.number for found in searched(trials, objectives)] == [0]
    assert leading(trials[1:3], BOTH) is None


def test_contenders_are_the_knee_and_others_of_the_front_that_differ() -> None:
    trials = [
        one(0, 100, 0.50),
        one(1, 200, 0.80),
        one(2, 180, 0.20),
        one(3, 181, 0.2005),  # the same as 2 within noise
        one(4, 90, 0.05),
        one(5, 60, 0.90),
        one(6, 150, 0.12),
        one(7, 120, 0.08),
    ]
    found = [chosen.number for chosen in contenders(trials, BOTH)]
    assert found[0] == leading(trials, BOTH).number  # type: ignore[union-attr]
    assert len(found) == FINALISTS
    assert not {2, 3} <= {*found}
    assert not {0, 5} & {*found}


def test_nothing_is_launched_again_where_the_defaults_beat_all() -> None:
    assert contenders([one(0, 200, 0.1), one(1, 100, 0.2)], BOTH) == []


def test_of_one_objective_the_best_leads() -> None:
    trials = [one(0, 100, 0.1), one(1, 120, 0.9)]
    assert leading(trials, BOTH[:1]).number == 1  # type: ignore[union-attr]


@pytest.mark.parametrize("noise", [0.0, 0.03])
def test_the_front_of_a_smooth_trade_off_is_found(noise: float) -> None:
    """Throughput and TTFT both rise with the batch; every second point has a switch that costs in both."""
    import random

    draw = random.Random(3)

    def around(value: float) -> float:
        return value * draw.lognormvariate(0, noise)

    trials = []
    for number, size in enumerate((8, 16, 32, 64, 128, 256)):
        good = one(2 * number, around(1000 * (size / 256) ** 0.4), around(0.02 * size**0.7))
        bad = one(2 * number + 1, around(600 * (size / 256) ** 0.4), around(0.04 * size**0.7))
        trials += [replace(good, is_default=False), bad]
    found = {known.trial.number for known in front(searched(trials, BOTH), BOTH)}
    assert found == {0, 2, 4, 6, 8, 10}
    assert log(1000 / 600) > 2 * noise
