"""The next point, on worlds whose truth is known."""

import itertools
import random
from collections.abc import Callable, Sequence
from math import exp, log
from statistics import median

import pytest

from tuner.propose.candidates import Candidates, Key, key_of
from tuner.propose.choosing import Chooser
from tuner.propose.history import Seen
from tuner.propose.prior import Earlier, Expected
from tuner.space.parameters import Categorical, Int, Parameter
from tuner.types import Params

SPACE: dict[str, Parameter] = {
    "max_num_seqs": Int(type="int", low=16, high=1024, log=True, group="batch"),
    "max_num_batched_tokens": Int(type="int", low=1024, high=16384, log=True, group="batch"),
    "mode": Categorical(type="categorical", choices=("PIECEWISE", "FULL", "NONE"), group="graphs"),
    "stream_interval": Int(type="int", low=1, high=32, log=True, group="front"),
    "prefix": Categorical(type="categorical", choices=(True, False), group="memory"),
}
DEFAULTS: Params = {
    "max_num_seqs": 256,
    "max_num_batched_tokens": 8192,
    "mode": "PIECEWISE",
    "stream_interval": 1,
    "prefix": True,
}
World = Callable[[Params], float]


def truth(params: Params, host: float = 1.0) -> float:
    """Tokens a second: saturating in sequences, with a best size of a step, graphs that help, and messages that cost."""
    seqs = min(int(params["max_num_seqs"]), 256) / 256
    tokens = -0.08 * abs(log(int(params["max_num_batched_tokens"]) / 2048))
    graphs = {"PIECEWISE": 0.0, "FULL": 0.4 * host, "NONE": -0.3 * host}[str(params["mode"])]
    front = -0.25 * host / int(params["stream_interval"])
    return 1000 * exp(0.4 * log(seqs) + tokens + graphs + front + (0.01 if params["prefix"] else 0.0))


def guess(params: Params) -> float:
    return truth(params, host=0.6) * 1.4


class Told:
    """A prior from a function; points with mode NONE start with `starts`."""

    def __init__(self, world: World, starts: float = 1.0, slo: Callable[[Params], float] | None = None) -> None:
        self._world, self._starts, self._slo = world, starts, slo

    def expect(self, points: Sequence[Params]) -> list[Expected]:
        return [
            Expected(
                values=(self._world(p),),
                slos={} if self._slo is None else {"ttft_p99": self._slo(p)},
                starts=self._starts if p["mode"] == "NONE" else 1.0,
            )
            for p in points
        ]


def candidates(seed: int = 0) -> Candidates:
    return Candidates(SPACE, defaults=DEFAULTS, seed=seed)


BEST = max(
    truth(dict(zip(SPACE, values, strict=True)))
    for values in itertools.product(
        (256, 1024), (1024, 2048, 4096), ("PIECEWISE", "FULL", "NONE"), (1, 32), (True, False)
    )
)


def launches_to(
    chooser: Chooser,
    world: World,
    best: float,
    seed: int,
    most: int = 40,
    fails: Callable[[Params], str | None] | None = None,
) -> tuple[int, list[Seen]]:
    """Launches until one is within 2 % of the best, the defaults included; all that was seen."""
    rng, seen, tried = random.Random(seed), list[Seen](), set[Key]()
    params: Params = DEFAULTS
    for number in range(1, most + 1):
        tried.add(key_of(params))
        if fails and (cause := fails(params)):
            seen.append(Seen(params=params, slos={}, cause=cause))
        else:
            seen.append(Seen(params=params, scores=(log(world(params)) + rng.gauss(0, 0.02),), error=0.02, slos={}))
            if world(params) >= 0.98 * best:
                return number, seen
        choice = chooser.choose(seen, tried)
        assert choice is not None
        params = choice.params
    return most, seen


def test_a_prior_that_knows_the_order_needs_a_handful_of_launches() -> None:
    found = [launches_to(Chooser(candidates(s), Told(guess), seed=s), truth, BEST, s)[0] for s in range(8)]
    assert median(found) <= 4
    alone = [launches_to(Chooser(candidates(s), None, seed=s), truth, BEST, s)[0] for s in range(8)]
    assert median(found) < median(alone)


def test_a_prior_that_is_the_wrong_way_round_is_dropped_aloud_and_costs_little() -> None:
    told: list[str] = []
    wrong = Told(lambda p: 1e6 / truth(p))
    found = [launches_to(Chooser(candidates(s), wrong, seed=s, tell=told.append), truth, BEST, s)[0] for s in range(8)]
    alone = [launches_to(Chooser(candidates(s), None, seed=s), truth, BEST, s)[0] for s in range(8)]
    assert len(told) == 8
    assert "does not explain what was measured (rank correlation -" in told[0]
    assert median(found) <= 1.2 * median(alone)


def test_an_expectation_that_the_first_launch_does_not_show_is_tested_in_every_group_and_by_a_contrast() -> None:
    _, seen = launches_to(Chooser(candidates(), Told(guess)), lambda p: 1000.0, 1e9, 0, most=4)
    first, second, contrast = (one.params for one in seen[1:])
    assert guess(first) == max(guess(p) for p in (first, second, contrast))
    for group in ("batch", "graphs", "front", "memory"):
        assert any(first[n] != second[n] for n, p in SPACE.items() if p.group == group), group
    assert contrast["max_num_seqs"] == 16  # what is expected to matter most, at its worst


def test_an_expectation_that_the_first_launch_shows_is_not_tested_further() -> None:
    _, seen = launches_to(Chooser(candidates(), Told(guess)), truth, 1e9, 0, most=6)
    assert all(truth(one.params) > 0.9 * truth(seen[1].params) for one in seen[1:])


def test_without_a_model_the_first_launches_are_those_of_an_expert() -> None:
    wished: list[Params] = [
        {"max_num_seqs": 512, "mode": "FULL"},
        {"max_num_seqs": 64, "stream_interval": 8, "prefix": False},
    ]

    def launched(frozen: Sequence[str]) -> list[Params]:
        points = Candidates(SPACE, defaults=DEFAULTS, wished=wished, frozen=frozen)
        return [one.params for one in launches_to(Chooser(points), lambda p: 1000.0, 1e9, 0, most=5)[1]]

    assert launched([])[1:3] == [{**DEFAULTS, **point} for point in wished]
    assert launched(["prefix"])[2] == {**DEFAULTS, **wished[1], "prefix": True}
    assert launched([])[3] not in wished


def test_what_surely_does_not_start_is_never_launched() -> None:
    sure = Told(lambda p: truth(p) * (9 if p["mode"] == "NONE" else 1), starts=0.0)
    _, seen = launches_to(Chooser(candidates(), sure), truth, 1e9, 0, most=12)
    assert all(one.params["mode"] != "NONE" for one in seen)


def crashes(params: Params) -> str | None:
    return "crashed" if params["mode"] == "NONE" else None


def test_one_cause_fails_at_most_twice() -> None:
    """The model recommends what crashes, and knows nothing of it."""
    for seed in range(6):
        eager = Told(lambda p: truth(p) * (3 if p["mode"] == "NONE" else 1))
        _, seen = launches_to(Chooser(candidates(seed), eager, seed=seed), truth, 1e9, seed, most=15, fails=crashes)
        assert 1 <= sum(not one.measured for one in seen) <= 2


def test_a_limit_is_kept() -> None:
    """The fastest settings miss the SLO: what is chosen in the end meets it, and is the best that does."""

    def slo(params: Params) -> float:
        return int(params["max_num_batched_tokens"]) / 3000

    chooser, seen, tried = Chooser(candidates(), Told(guess, slo=lambda p: 1.0)), list[Seen](), set[Key]()
    params: Params = DEFAULTS
    for _ in range(16):
        tried.add(key_of(params))
        seen.append(Seen(params=params, scores=(log(truth(params)),), slos={"ttft_p99": log(slo(params))}))
        choice = chooser.choose(seen, tried)
        assert choice is not None
        params = choice.params
    meeting = [one for one in seen if one.slos["ttft_p99"] <= 0]
    possible = [p for p in candidates().points if slo(p) <= 1]
    assert len(meeting) >= 8
    assert max(truth(one.params) for one in meeting) >= 0.97 * max(map(truth, possible))


def test_the_promise_falls_as_the_best_is_found() -> None:
    chooser, seen, tried, promises = Chooser(candidates(), Told(guess)), list[Seen](), set[Key](), []
    params: Params = DEFAULTS
    for _ in range(14):
        tried.add(key_of(params))
        seen.append(Seen(params=params, scores=(log(truth(params)),), slos={}))
        choice = chooser.choose(seen, tried)
        assert choice is not None
        params = choice.params
        promises.append(choice.promise)
    assert promises[0] is None
    assert promises[1] is not None
    assert promises[-1] is not None
    assert promises[-1] < 0.01


def test_what_an_earlier_study_found_moves_the_first_choice() -> None:
    """The model overrates FULL graphs; the study before saw it."""
    overrated = Told(lambda p: guess(p) * (2 if p["mode"] == "FULL" else 1))
    earlier = [
        Earlier(params={**DEFAULTS, "mode": mode, "stream_interval": s}, residual={"value": r}, error=0.1)
        for mode, r in (("FULL", log(1 / 4)), ("PIECEWISE", 0.0), ("NONE", 0.0))
        for s in (1, 8, 32)
    ]
    seen = [Seen(params=DEFAULTS, scores=(log(truth(DEFAULTS)),), slos={})]
    chooser = Chooser(candidates(), overrated, earlier=earlier)
    models = chooser.models(chooser.looking(1), seen)
    view = chooser.looking(1).at([{**DEFAULTS, "mode": "FULL"}, {**DEFAULTS, "mode": "PIECEWISE"}])
    mean, _ = models.predict(view)
    assert mean[0] < mean[1]


def test_when_all_was_tried_there_is_nothing_to_choose() -> None:
    small = Candidates({"prefix": SPACE["prefix"]}, defaults={"prefix": True})
    seen = [Seen(params={"prefix": b}, scores=(1.0,), slos={}) for b in (True, False)]
    assert Chooser(small).choose(seen, {key_of(one.params) for one in seen}) is None


@pytest.mark.parametrize("part", ["prior", "residual", "contrast", "feasibility", "order"])
def test_any_part_can_be_left_out(part: str) -> None:
    number, _ = launches_to(Chooser(candidates(), Told(guess), without={part}), truth, BEST, 0, most=20)
    assert number <= 20
