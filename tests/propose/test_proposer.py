"""Proposals of real samplers, from trials alone."""

import time

import pytest
from propose_samples import DEFAULTS, SPACE, Asked, space_of, words_of
from samples import failed, measured

from tuner.decide.slo import parse_slo
from tuner.errors import UsageError
from tuner.propose.candidates import key_of
from tuner.study.options import SAMPLERS
from tuner.types import Failed, Measured, Params, Proposal, Twin

SMALL = {
    "max_num_seqs": {"type": "int", "low": 1, "high": 6},
    "stream_interval": {"type": "categorical", "choices": [1, 2]},
    "enforce_eager": {"type": "categorical", "choices": [False, True]},
}
SMALL_DEFAULTS: Params = {"max_num_seqs": 1, "stream_interval": 1, "enforce_eager": False}


def value(params: Params) -> float:
    """Best at 4 sequences and an interval of 2 only."""
    return (
        100.0
        + 10 * int(params["max_num_seqs"])
        + (500 if (params["max_num_seqs"], params["stream_interval"]) == (4, 2) else 0)
    )


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_the_defaults_come_first_then_the_enqueued_points(sampler: str) -> None:
    study = Asked(sampler=sampler)
    first, second = study.take(measured()), study.take(measured())
    assert first == Proposal(number=0, is_default=True, params=DEFAULTS)
    assert second == Proposal(number=1, params={**DEFAULTS, "max_num_seqs": 16})


def test_our_own_sampler_has_the_enqueued_points_among_its_candidates() -> None:
    space = space_of(
        {"max_num_seqs": {"type": "int", "low": 1, "high": 60_000, "log": True}}, enqueue=[{"max_num_seqs": 777}]
    )
    study = Asked(space, {"max_num_seqs": 256}, sampler="gp")
    assert {"max_num_seqs": 777} in study.proposer._candidates.points


def test_what_is_wished_comes_next_where_it_is_new_and_can_run() -> None:
    study = Asked()
    study.take(measured())
    wished = study.next({"max_num_seqs": 32})
    assert wished == Proposal(number=1, params={**DEFAULTS, "max_num_seqs": 32})
    study.take(measured())
    known = {"max_num_seqs": 16}  # trial 1 was that
    assert study.next(known) not in (None, Proposal(number=2, params={**DEFAULTS, **known}))
    outside = study.next({"max_num_seqs": 1_000_000})
    assert outside is not None
    assert SPACE.violations(outside.params) == []


@pytest.mark.parametrize("sampler", [s for s in SAMPLERS if s != "grid"])
def test_no_proposal_breaks_a_rule_or_a_bound_or_comes_twice(sampler: str) -> None:
    study = Asked(sampler=sampler)
    seen = []
    for number in range(15):
        proposal = study.take(measured(output_throughput=100.0 + number))
        assert proposal.number == number
        assert proposal.params not in seen
        assert proposal.is_default or SPACE.violations(proposal.params) == []
        seen.append(proposal.params)
    for params in seen:
        assert ("long_prefill_token_threshold" in params) == params["enable_chunked_prefill"]


@pytest.mark.parametrize(("sampler", "seed"), [*((name, 0) for name in SAMPLERS), ("tpe", 1), ("tpe", 2)])
def test_a_small_space_is_tried_to_its_last_point_and_then_it_is_said(sampler: str, seed: int) -> None:
    """TPE repeats itself there: of 48 points it once tried 13 to 22, and the best was not among them."""
    study = Asked(space_of(SMALL), SMALL_DEFAULTS, sampler=sampler, seed=seed)
    tried = []
    while (proposal := study.next()) is not None:
        study.take(measured(output_throughput=value(proposal.params)))
        tried.append(key_of(proposal.params))
        assert len(tried) <= 24
    assert len(set(tried)) == len(tried) == 24
    assert study.proposer.ended == "every setting of the search space that can run has been tried"


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_study_that_goes_on_proposes_what_an_uninterrupted_one_does(sampler: str) -> None:
    settings = {"sampler": sampler, "seed": 3}
    whole, parts = (
        Asked(space_of(SMALL), SMALL_DEFAULTS, **settings),
        Asked(space_of(SMALL), SMALL_DEFAULTS, **settings),
    )
    for _ in range(9):
        for study in (whole, parts):
            proposal = study.next()
            assert proposal is not None
            study.take(measured(output_throughput=value(proposal.params)))
        again = Asked(space_of(SMALL), SMALL_DEFAULTS, **settings)
        again.trials, parts = parts.trials, again
    assert [t.params for t in whole.trials] == [t.params for t in parts.trials]
    other = Asked(space_of(SMALL), SMALL_DEFAULTS, sampler=sampler, seed=4)
    other.trials = whole.trials[:1]
    assert other.next() is not None


def test_a_grid_has_an_order_of_its_seed() -> None:
    orders = set()
    for seed in range(4):
        study = Asked(space_of(SMALL), SMALL_DEFAULTS, sampler="grid", seed=seed)
        orders.add(tuple(key_of(study.take(measured()).params) for _ in range(6)))
    assert len(orders) == 4


def test_a_grid_without_an_end_is_refused_by_the_parameters_that_have_none() -> None:
    endless = {"gpu_memory_utilization": {"type": "float", "low": 0.8, "high": 0.95}, **SMALL}
    with pytest.raises(UsageError, match="gpu_memory_utilization has no step: give one, or take another sampler"):
        Asked(space_of(endless), {}, sampler="grid")
    with pytest.raises(UsageError, match="it has 200,000 of them, more than 20,000: max_num_seqs have"):
        Asked(space_of({"max_num_seqs": {"type": "int", "low": 1, "high": 200_000}}), {}, sampler="grid")


def test_a_space_that_cannot_be_gone_through_is_never_called_tried_to_the_end() -> None:
    """Only one value keeps its rule."""
    space = space_of(
        {"max_num_seqs": {"type": "int", "low": 1, "high": 1_000_000}},
        rules=[{"require": "max_num_seqs <= 1", "because": "it says so"}],
    )
    study = Asked(space, {"max_num_seqs": 1}, sampler="random")
    study.take(measured())
    assert study.next() is None
    assert study.proposer.ended == "2,000 draws found no setting that keeps the rules of the space and was not tried"


def test_the_samplers_of_optuna_learn_to_avoid_what_failed() -> None:
    """Three of four choices fail, and no value tells the rest apart. By chance 1 in 4 proposals would be runnable, so 30 of the
    120 late ones of 8 studies, with a standard deviation of 4.7 (a sampler that is told nothing of failures stays there)."""
    space = space_of(
        {
            "max_num_seqs": {"type": "int", "low": 1, "high": 1024, "log": True},
            "load_format": {"type": "categorical", "choices": ["none", "a", "b", "c"]},
        }
    )
    late = 0
    for seed in range(8):
        study = Asked(space, {"max_num_seqs": 256, "load_format": "none"}, seed=seed)
        for number in range(30):
            proposal = study.next()
            assert proposal is not None
            runs = proposal.params["load_format"] == "none"
            study.take(measured(output_throughput=100.0 + number % 7) if runs else failed())
            late += runs and number >= 15
    assert late >= 41


#: An SLO that nothing meets, missed 10 times over and more; more than 0.925 of the memory and steps above 3,000 tokens crash.
TIGHT = {
    "max_num_seqs": {"type": "int", "low": 8, "high": 1024, "log": True},
    "max_num_batched_tokens": {"type": "int", "low": 512, "high": 16384, "log": True},
    "gpu_memory_utilization": {"type": "float", "low": 0.85, "high": 0.95, "step": 0.01},
}
TIGHT_DEFAULTS: Params = {"max_num_seqs": 256, "max_num_batched_tokens": 2048, "gpu_memory_utilization": 0.92}


def launched(params: Params) -> tuple[Measured | Failed, float]:
    """The outcome, and the TTFT."""
    seqs, tokens = float(params["max_num_seqs"]), float(params["max_num_batched_tokens"])
    if float(params["gpu_memory_utilization"]) > 0.925 and tokens > 3000:
        return failed(), 0.0
    ttft_s = 0.2 * (1024 / seqs) ** 0.5 * (8192 / tokens) ** 0.4
    return measured(output_throughput=1000 + seqs, ttft_s=ttft_s), ttft_s


def test_a_crash_is_never_nearer_to_an_slo_than_a_slow_server() -> None:
    """Half of the launches after the start-up crashed while a failure counted as a miss by 1 and an SLO's as value / limit - 1;
    evenly drawn it is 13 %, and TPE is not to be above that by more than its own noise."""
    slo, crashed = parse_slo("ttft_p99=10ms"), 0
    space = space_of(TIGHT)
    for seed in range(6):
        study = Asked(space, TIGHT_DEFAULTS, seed=seed, words=words_of(space, (slo,)))
        for number in range(24):
            proposal = study.next()
            assert proposal is not None
            outcome, ttft_s = launched(proposal.params)
            study.take(outcome, {} if isinstance(outcome, Failed) else {slo.name: ttft_s / slo.limit_s - 1})
            crashed += isinstance(outcome, Failed) and number >= 6
    assert crashed / (6 * 18) < 0.2


def test_a_twin_is_not_proposed_again_and_counts_for_nothing() -> None:
    study = Asked(space_of(SMALL), SMALL_DEFAULTS)
    for number in range(12):
        study.take(Twin(equals=0, why="alike") if number % 2 else measured(output_throughput=100.0 + number))
    assert len({key_of(trial.params) for trial in study.trials}) == 12


def test_frozen_parameters_stay_as_vllm_has_them_until_they_are_opened() -> None:
    study = Asked(space_of(SMALL), SMALL_DEFAULTS, frozen=("enforce_eager", "stream_interval"))
    while study.next() is not None:
        study.take(measured())
    assert len(study.trials) == 6
    assert {trial.params["enforce_eager"] for trial in study.trials} == {False}
    assert study.proposer.ended == (
        "every setting of the groups that are open of the search space that can run has been tried"
    )
    study.proposer.freeze(("stream_interval",))
    while study.next() is not None:
        study.take(measured())
    assert len(study.trials) == 12


@pytest.mark.parametrize("sampler", ["model", "gp", "tpe"])
def test_a_proposal_of_a_long_study_takes_no_second(sampler: str) -> None:
    numbers: dict[str, object] = {f"n{i}": {"type": "int", "low": 1, "high": 1024, "log": True} for i in range(8)}
    words: dict[str, object] = {f"w{i}": {"type": "categorical", "choices": ["a", "b", "c"]} for i in range(4)}
    space, defaults = space_of(numbers | words), dict.fromkeys(numbers, 64) | dict.fromkeys(words, "a")
    drawn, study = Asked(space, defaults, sampler="random"), Asked(space, defaults, sampler=sampler)
    for number in range(40):
        drawn.take(measured(output_throughput=100.0 + number % 11))
    study.trials = drawn.trials
    study.next()
    took = []
    for _ in range(3):
        begun = time.process_time()
        study.next()
        took.append(time.process_time() - begun)
    assert min(took) < 1.0, took
