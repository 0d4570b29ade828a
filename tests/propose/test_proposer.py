"""The proposer on a real SQLite or PostgreSQL database, with Optuna itself as the reader."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import optuna
import pytest
from samples import failed, measured, trial

from tuner.decide.objective import OBJECTIVES
from tuner.decide.slo import parse_slo
from tuner.errors import UsageError
from tuner.propose.proposer import Proposer, storage
from tuner.record.store import Store
from tuner.space.parameters import Categorical, Float, Int
from tuner.space.search_space import SearchSpace
from tuner.types import Outcome, Params, Proposal, Trial, Value

SPACE = SearchSpace.model_validate(
    {
        "gpu": {"names": []},
        "parameters": {
            "max_num_seqs": {"type": "int", "low": 1, "high": 64, "log": True},
            "max_num_batched_tokens": {"type": "int", "low": 16, "high": 4096, "log": True},
            "enable_chunked_prefill": {"type": "categorical", "choices": [True, False]},
            "long_prefill_token_threshold": {
                "type": "categorical",
                "choices": [0, 512],
                "when": {"enable_chunked_prefill": True},
            },
        },
        "rules": [{"require": "max_num_batched_tokens >= max_num_seqs", "because": "vLLM refuses to start otherwise"}],
        "enqueue": [{"max_num_seqs": 16}],
    }
)
DEFAULTS: Params = {
    "max_num_seqs": 128,  # outside the range: trial 0 is still a point of the study
    "max_num_batched_tokens": 2048,
    "enable_chunked_prefill": True,
    "long_prefill_token_threshold": 0,
}


@pytest.fixture
def url(storage_url: str) -> str:
    """The URL as the study hands it on: of a database that the store has opened once."""
    store = Store.open(storage_url)
    store.close()
    return store.url


class Make(Protocol):
    def __call__(self, url: str, space: SearchSpace = SPACE, **changes: object) -> Proposer: ...


@pytest.fixture
def proposer() -> Iterator[Make]:
    made = []

    def make(url: str, space: SearchSpace = SPACE, **changes: object) -> Proposer:
        settings = {"objectives": [OBJECTIVES["throughput"]], "slos": [], "defaults": DEFAULTS, "seed": 0} | changes
        made.append(Proposer(url, "s", space=space, **settings))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for one in made:
        one.close()


def ended(proposal: Proposal, outcome: Outcome) -> Trial:
    return trial(proposal.number, outcome, params=proposal.params, is_default=proposal.is_default)


def take(search: Proposer) -> Proposal:
    found = search.propose()
    assert found is not None
    return found


def stored(url: str) -> list[optuna.trial.FrozenTrial]:
    """What any reader of the database sees."""
    with reader(url) as study:
        return study.trials


@contextmanager
def reader(url: str) -> Iterator[optuna.Study]:
    opened = storage(url)
    try:
        yield optuna.load_study(study_name="s", storage=opened)
    finally:
        opened.remove_session()
        opened.engine.dispose()


def test_the_defaults_come_first_then_the_enqueued_points(url: str, proposer: Make) -> None:
    search = proposer(url)
    first, second = take(search), take(search)
    assert (first.number, first.is_default, first.params) == (0, True, DEFAULTS)
    assert (second.number, second.is_default, second.params) == (1, False, {**DEFAULTS, "max_num_seqs": 16})


def test_what_is_wished_comes_next_where_it_is_new_and_can_run(url: str, proposer: Make) -> None:
    search = proposer(url)
    take(search)
    wished = search.propose({"max_num_seqs": 32})
    assert wished is not None
    assert wished.params == {**DEFAULTS, "max_num_seqs": 32}
    again = search.propose({"max_num_seqs": 32})
    assert again is not None
    assert again.params == {**DEFAULTS, "max_num_seqs": 16}  # the first of those that the space enqueues
    outside = search.propose({"max_num_seqs": 1_000_000})
    assert outside is not None
    assert SPACE.violations(outside.params) == []


def test_no_proposal_breaks_a_rule_or_a_bound_or_comes_twice(url: str, proposer: Make) -> None:
    search = proposer(url)
    seen = []
    for number in range(15):
        proposal = take(search)
        assert proposal.number == number
        assert proposal.params not in seen
        assert proposal.is_default or SPACE.violations(proposal.params) == []
        seen.append(proposal.params)
        search.tell(ended(proposal, measured(output_throughput=100.0 + number)))
    without = [p for p in seen if p["enable_chunked_prefill"] is False]
    assert without
    assert all("long_prefill_token_threshold" not in p for p in without)


def test_a_failed_trial_is_pruned_without_a_value_and_infeasible(url: str, proposer: Make) -> None:
    search = proposer(url)
    search.tell(ended(take(search), failed()))
    (told,) = stored(url)
    assert told.state == optuna.trial.TrialState.PRUNED
    assert told.value is None
    assert told.constraints["launch"] > 0
    assert told.user_attrs["status"] == "out of memory"
    assert "output_throughput" not in told.user_attrs
    assert told.system_attrs["constraints"] == [1.0]  # what optuna-dashboard reads


def test_a_trial_that_misses_an_slo_is_complete_and_infeasible(url: str, proposer: Make) -> None:
    search = proposer(url, slos=[parse_slo("ttft_p99=50ms")])
    told = ended(take(search), measured(output_throughput=900.0))
    search.tell(Trial(**{f: getattr(told, f) for f in told.__slots__} | {"violations": {"ttft_p99": 1.0}}))
    (frozen,) = stored(url)
    assert frozen.value == 900.0
    assert frozen.constraints["ttft_p99"] == 1.0
    with reader(url) as study, pytest.raises(ValueError, match=r"[Ff]easible"):
        _ = study.best_trial


def test_metrics_are_user_attributes(url: str, proposer: Make) -> None:
    search = proposer(url)
    search.tell(ended(take(search), measured(output_throughput=123.0, ttft_s=0.25)))
    attributes = stored(url)[0].user_attrs
    assert attributes["output_throughput"] == 123.0
    assert attributes["ttft_p99_s"] == 0.25
    assert attributes["status"] == "measured"


def test_telling_twice_changes_nothing(url: str, proposer: Make) -> None:
    search = proposer(url)
    proposal = take(search)
    search.tell(ended(proposal, measured(output_throughput=1.0)))
    search.tell(ended(proposal, measured(output_throughput=2.0)))
    assert [t.value for t in stored(url)] == [1.0]


def test_an_interrupted_trial_keeps_its_number_and_settings(url: str, proposer: Make) -> None:
    before = proposer(url)
    before.tell(ended(take(before), measured()))
    lost = take(before)
    after = proposer(url)
    assert after.unfinished() == [lost]
    after.tell(ended(lost, measured()))
    assert after.unfinished() == []
    assert [t.number for t in stored(url)] == [0, 1]


def test_a_restarted_search_does_not_repeat_its_points(url: str, proposer: Make) -> None:
    for _ in range(8):
        search = proposer(url)
        search.tell(ended(take(search), measured()))
    points = [tuple(t.params.items()) for t in stored(url)]
    assert len(set(points)) == len(points) == 8


def test_an_exhausted_space_ends_the_search(url: str, proposer: Make) -> None:
    small = SearchSpace.model_validate(
        {"gpu": {"names": []}, "parameters": {"stream_interval": {"type": "categorical", "choices": [1, 2]}}}
    )
    search = proposer(url, small, defaults={"stream_interval": 1})
    assert [take(search).params["stream_interval"] for _ in range(2)] == [1, 2]
    assert search.propose() is None


def test_another_space_under_the_same_name_is_refused(url: str, proposer: Make) -> None:
    search = proposer(url)
    search.tell(ended(take(search), measured()))
    other = SearchSpace.model_validate(
        {"gpu": {"names": []}, "parameters": {"max_num_seqs": {"type": "categorical", "choices": ["a", "b"]}}}
    )
    with pytest.raises(UsageError, match="another name with --study"):
        proposer(url, other, defaults={"max_num_seqs": "a"})


def test_the_sampler_learns_to_avoid_what_failed(url: str, proposer: Make) -> None:
    """Three of four choices fail, and no value tells the rest apart. By chance 1 in 4 proposals would be runnable; of 15
    late ones at least 8 are (probability by chance 1.7 %; a sampler that is told nothing of failures stays there)."""
    choices = ["none", "a", "b", "c"]
    space = SearchSpace.model_validate(
        {
            "gpu": {"names": []},
            "parameters": {
                "max_num_seqs": {"type": "int", "low": 1, "high": 1024, "log": True},
                "load_format": {"type": "categorical", "choices": choices},
            },
        }
    )
    search = proposer(url, space, defaults={"max_num_seqs": 256, "load_format": "none"})
    late = []
    for number in range(30):
        proposal = take(search)
        runs = proposal.params["load_format"] == "none"
        search.tell(ended(proposal, measured(output_throughput=100.0 + number % 7) if runs else failed()))
        if number >= 15:
            late.append(runs)
    assert sum(late) >= 8, late


def test_a_default_off_the_grid_is_a_point_and_what_is_proposed_is_on_it(url: str, proposer: Make) -> None:
    """An enqueued point is filled with the legal values nearest to the defaults."""
    space = SearchSpace.model_validate(
        {
            "name": "off",
            "gpu": {"names": []},
            "parameters": {
                "gpu_memory_utilization": {"type": "float", "low": 0.85, "high": 0.95, "step": 0.01},
                "max_num_seqs": {"type": "int", "low": 16, "high": 64, "step": 16},
                "block_size": {"type": "categorical", "choices": [32, 64]},
            },
            "enqueue": [{"max_num_seqs": 48}],
        }
    )
    defaults: Params = {"gpu_memory_utilization": 0.171, "max_num_seqs": 100, "block_size": 16}
    search = proposer(url, space, defaults=defaults)
    assert take(search).params == defaults
    found = [take(search).params for _ in range(8)]
    assert found[0] == {"gpu_memory_utilization": 0.85, "max_num_seqs": 48, "block_size": 32}
    assert not [why for params in found for why in space.violations(params)]
    assert len({tuple(params.values()) for params in found}) == 8


@pytest.mark.parametrize(
    ("parameter", "value", "nearest"),
    [
        (Int(type="int", low=8, high=30, step=8), 29, 24),
        (Int(type="int", low=8, high=30), 1000, 30),
        (Int(type="int", low=8, high=30), "none", 8),
        (Float(type="float", low=0.85, high=0.95, step=0.01), 0.9249, 0.92),
        (Float(type="float", low=0.5, high=1.0), 0.1, 0.5),
        (Categorical(type="categorical", choices=(True, False)), False, False),
        (Categorical(type="categorical", choices=("a", "b")), "c", "a"),
    ],
)
def test_the_nearest_value(parameter: Int | Float | Categorical, value: Value, nearest: Value) -> None:
    assert parameter.nearest(value) == nearest
    assert parameter.why_outside(parameter.nearest(value)) is None
