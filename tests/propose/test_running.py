"""Proposals beside launches that run: none twice, the design first, then points that tell more than one alone would."""

import random
import time
from collections.abc import Sequence
from math import log
from typing import Any

import optuna
import pytest
from propose_samples import DEFAULTS as PROPOSED_DEFAULTS
from propose_samples import SPACE as PROPOSED_SPACE
from propose_samples import Asked, ended, space_of
from samples import failed, measured
from test_choosing import BEST, DEFAULTS, SPACE, Told, candidates, guess, truth

from tuner.propose.candidates import Candidates, key_of
from tuner.propose.choosing import Chooser
from tuner.propose.history import Seen
from tuner.propose.sampler import ModelSampler
from tuner.study.options import SAMPLERS
from tuner.types import Params, Proposal

#: Values of the first six points that were chosen after the defaults before anything could run beside them.
PINNED: list[tuple[Any, ...]] = [
    (256, 2048, "FULL", 32, True),
    (1024, 2048, "FULL", 32, True),
    (512, 2048, "FULL", 32, True),
    (1024, 2048, "FULL", 32, False),
    (256, 2048, "FULL", 16, True),
    (1024, 2048, "FULL", 16, True),
]


def seen_of(params: Params) -> Seen:
    return Seen(params=params, scores=(log(truth(params)),), error=0.02, slos={})


def batch(chooser: Chooser, count: int, seen: Sequence[Seen]) -> list[Params]:
    running: list[Params] = []
    tried = {key_of(one.params) for one in seen}
    for _ in range(count):
        choice = chooser.choose(seen, tried, running)
        assert choice is not None
        running.append(choice.params)
    return running


def test_a_batch_after_the_defaults_is_the_design_then_more_of_what_is_expected_to_be_good() -> None:
    first, second, contrast, *rest = batch(Chooser(candidates(), Told(guess)), 8, [seen_of(DEFAULTS)])
    assert guess(first) == max(map(guess, (first, second, contrast, *rest)))
    for group in ("batch", "graphs", "front", "memory"):
        assert any(first[n] != second[n] for n, p in SPACE.items() if p.group == group), group
    assert contrast["max_num_seqs"] == 16
    assert len({key_of(one) for one in (DEFAULTS, first, second, contrast, *rest)}) == 9
    assert sum(guess(one) > guess(DEFAULTS) for one in rest) >= 4


def test_the_design_is_not_launched_where_the_first_launch_has_shown_what_was_expected() -> None:
    shown = [seen_of(DEFAULTS), *map(seen_of, batch(Chooser(candidates(), Told(guess)), 1, [seen_of(DEFAULTS)]))]
    assert all(one["max_num_seqs"] != 16 for one in batch(Chooser(candidates(), Told(guess)), 4, shown))


def test_a_batch_without_any_expectation_is_that_of_an_expert_and_then_far_apart() -> None:
    wished: list[Params] = [{**DEFAULTS, "max_num_seqs": 512, "mode": "FULL"}]
    points = Candidates(SPACE, defaults=DEFAULTS, wished=wished)
    found = batch(Chooser(points), 16, [seen_of(DEFAULTS)])
    assert found[0] == wished[0]
    assert len({key_of(one) for one in found}) == 16
    assert {one["mode"] for one in found} == {"PIECEWISE", "FULL", "NONE"}


@pytest.mark.parametrize("legal", [2, 3, 5])
def test_where_few_are_legal_a_batch_has_each_once_and_then_nothing(legal: int) -> None:
    points = [{**DEFAULTS, "stream_interval": interval} for interval in (1, 2, 4, 8, 16)][:legal]
    chooser = Chooser(Candidates.of({"stream_interval": SPACE["stream_interval"]}, points), Told(guess))
    found = batch(chooser, legal - 1, [seen_of(DEFAULTS)])
    assert {key_of(one) for one in [DEFAULTS, *found]} == {key_of(one) for one in points}
    assert chooser.choose([seen_of(DEFAULTS)], {key_of(DEFAULTS)}, found) is None


def asynchronous(at_once: int, seed: int, prior: bool = True) -> int:
    """Launches that were begun when one within 2 % of the best has ended; they end in any order."""
    chooser, rng = Chooser(candidates(seed), Told(guess) if prior else None, seed=seed), random.Random(seed)
    seen, running = [seen_of(DEFAULTS)], list[Params]()
    for _ in range(200):
        while len(running) < at_once:
            running += batch_of_one(chooser, seen, running)
        done = running.pop(rng.randrange(len(running)))
        seen.append(seen_of(done))
        if truth(done) >= 0.98 * BEST:
            return len(seen) + len(running)
    raise AssertionError("not found")


def batch_of_one(chooser: Chooser, seen: Sequence[Seen], running: Sequence[Params]) -> list[Params]:
    choice = chooser.choose(seen, {key_of(one.params) for one in seen}, running)
    assert choice is not None
    assert key_of(choice.params) not in map(key_of, running)
    return [choice.params]


def test_a_search_with_eight_at_a_time_needs_not_much_more_launches_than_its_batches() -> None:
    assert sum(asynchronous(8, seed) for seed in range(4)) <= 4 * 24
    assert sum(asynchronous(8, seed, prior=False) for seed in range(2)) <= 2 * 60


def test_what_is_suspected_of_a_failure_is_not_launched_beside_what_tests_it() -> None:
    """The model recommends what crashes, and knows nothing of it: with eight at a time the second failure is the last one that
    was begun after the first."""
    eager, seen = Told(lambda p: truth(p) * (3 if p["mode"] == "NONE" else 1)), [seen_of(DEFAULTS)]
    chooser, running = Chooser(candidates(), eager), list[Params]()
    seen.append(Seen(params={**DEFAULTS, "mode": "NONE"}, slos={}, cause="crashed"))
    for _ in range(8):
        running += batch_of_one(chooser, seen, running)
    assert sum(one["mode"] == "NONE" for one in running) <= 1


def test_a_limit_is_believed_of_what_runs_too() -> None:
    def slo(params: Params) -> float:
        return int(params["max_num_batched_tokens"]) / 3000

    seen = [
        Seen(params=params, scores=(log(truth(params)),), slos={"ttft_p99": log(slo(params))})
        for tokens in (1024, 4096, 8192, 16384)
        for params in [{**DEFAULTS, "max_num_batched_tokens": tokens}]
    ]
    found = batch(Chooser(candidates(), Told(guess, slo=slo)), 8, seen)
    assert sum(slo(one) <= 1 for one in found) >= 6


def running_of(params: Sequence[Params], begin: int) -> list[Proposal]:
    return [Proposal(number=begin + i, params=one) for i, one in enumerate(params)]


@pytest.mark.parametrize("sampler", [s for s in SAMPLERS if s != "grid"])
def test_no_sampler_proposes_what_runs_and_numbers_go_on(sampler: str) -> None:
    study = Asked(sampler=sampler)
    study.take(measured())
    running: list[Proposal] = []
    for number in range(1, 13):
        proposal = study.proposer.propose(study.trials, None, running)
        assert proposal is not None
        assert proposal.number == number
        assert not PROPOSED_SPACE.violations(proposal.params)
        running.append(proposal)
    assert len({key_of(one.params) for one in running} | {key_of(PROPOSED_DEFAULTS)}) == 13


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_small_space_runs_to_its_last_point_and_then_it_is_said(sampler: str) -> None:
    space = space_of({"a": {"type": "int", "low": 1, "high": 3}, "b": {"type": "categorical", "choices": ["x", "y"]}})
    study, running = Asked(space, {"a": 1, "b": "x"}, sampler=sampler), list[Proposal]()
    study.take(measured())
    while (proposal := study.proposer.propose(study.trials, None, running)) is not None:
        running.append(proposal)
    assert len({key_of(one.params) for one in running}) == 5
    assert study.proposer.ended


def test_the_defaults_may_still_run() -> None:
    study = Asked(sampler="model")
    begun = study.proposer.propose([])
    assert begun is not None
    second = study.proposer.propose([], None, [begun])
    assert second is not None
    assert second.number == 1
    assert not second.is_default
    assert second.params != begun.params


@pytest.mark.parametrize("sampler", ["model", "gp", "tpe", "random"])
def test_what_runs_no_more_leaves_no_trace(sampler: str) -> None:
    """Of the same trials the same is proposed as by a study in which nothing ever ran."""
    trials = Asked(sampler="random")
    for number in range(8):
        trials.take(failed() if number == 5 else measured(output_throughput=100.0 + 7 * (number % 3)))
    once, before = Asked(sampler=sampler), Asked(sampler=sampler)
    once.trials = before.trials = trials.trials
    assert once.proposer.propose(once.trials, None, ()) == before.next()


def test_a_search_with_one_at_a_time_is_what_it_was() -> None:
    chooser, seen = Chooser(candidates(), Told(guess)), [seen_of(DEFAULTS)]
    found: list[tuple[Any, ...]] = []
    for _ in range(6):
        choice = chooser.choose(seen, {key_of(one.params) for one in seen})
        assert choice is not None
        seen.append(seen_of(choice.params))
        found.append(tuple(choice.params.values()))
    assert found == PINNED


def test_anyones_own_study_with_several_workers_repeats_nothing() -> None:
    study = optuna.create_study(sampler=ModelSampler(seed=0))
    study.optimize(lambda t: (t.suggest_int("n", 1, 64) - 9) ** 2 + t.suggest_int("m", 1, 8), n_trials=4)
    asked = [study.ask() for _ in range(6)]
    points = [(trial.suggest_int("n", 1, 64), trial.suggest_int("m", 1, 8)) for trial in asked]
    assert len(set(points)) == 6


def long_study(count: int, sampler: str) -> tuple[Asked, list[Proposal]]:
    numbers: dict[str, object] = {f"n{i}": {"type": "int", "low": 1, "high": 1024, "log": True} for i in range(8)}
    words: dict[str, object] = {f"w{i}": {"type": "categorical", "choices": ["a", "b", "c"]} for i in range(4)}
    defaults: Params = dict.fromkeys(numbers, 64) | dict.fromkeys(words, "a")
    rng, study = random.Random(0), Asked(space_of(numbers | words), defaults, sampler=sampler)

    def drawn() -> Params:
        return {n: 2 ** rng.randint(0, 10) for n in numbers} | {w: rng.choice("abc") for w in words}

    for number in range(count):
        proposal = Proposal(number=number, params=drawn() if number else defaults, is_default=not number)
        outcome = failed() if number % 37 == 36 else measured(output_throughput=100.0 + rng.random())
        study.trials.append(ended(proposal, outcome))
    return study, running_of([drawn() for _ in range(64)], count)


@pytest.mark.parametrize(("count", "most_s"), [(40, 1.0), (2_000, 6.0)])
def test_a_proposal_beside_64_that_run_takes_no_second_and_late_in_a_study_of_thousands_a_few(
    count: int, most_s: float
) -> None:
    study, running = long_study(count, "model")
    took = []
    for _ in range(2):
        begun = time.process_time()
        proposal = study.proposer.propose(study.trials, None, running)
        took.append(time.process_time() - begun)
        assert proposal is not None
    assert min(took) < most_s, took
