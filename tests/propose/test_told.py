"""What Optuna is told of a trial beside its value: numbers that do not lie."""

from dataclasses import replace
from datetime import timedelta
from math import log

import pytest
from propose_samples import DEFAULTS, SPACE, ended, words_of
from samples import failed, measured, seconds

from tuner.decide.objective import OBJECTIVES
from tuner.decide.slo import parse_slo
from tuner.propose.prior import CAUSE, ERROR, LAUNCH, STARTUP, TOOK
from tuner.propose.told import Made, cause_of, missed, told
from tuner.types import Failed, FailureKind, Measured, Proposal

FIRST = Proposal(number=0, params=DEFAULTS, is_default=True)


def test_a_miss_is_bounded_and_keeps_its_order() -> None:
    assert missed(0.0) == 0.0
    assert missed(1.0) == 0.5
    assert missed(-0.5) == -1.0
    assert missed(-1.0) == -1.0  # there is no such latency
    misses = [missed(value) for value in (-0.9, -0.1, 0.0, 0.1, 5.0, 30.0, 1e9, float("inf"))]
    assert misses == sorted(misses)
    assert misses[-1] == 1.0


def test_the_error_is_that_of_the_interval() -> None:
    exact = measured(output_throughput=100.0)
    known = replace(exact, load=replace(exact.load, output_throughput_ci95=3.92, ci95={"ttft_p99_s": (0.1, 0.2)}))
    assert OBJECTIVES["throughput"].error(known) == pytest.approx(0.02)
    assert OBJECTIVES["ttft_p99"].error(known) == pytest.approx(log(2) / 3.92)
    assert OBJECTIVES["requests"].error(known) is None
    (one,) = told([ended(FIRST, exact)], (), words_of())
    assert one.user_attrs[ERROR] == 0.02


def test_the_time_that_it_took_and_its_start_are_told() -> None:
    trial = ended(FIRST, measured())
    (one,) = told([replace(trial, ended_at=trial.started_at + timedelta(seconds=80))], (), words_of())
    assert (one.user_attrs[TOOK], one.user_attrs[STARTUP]) == (80.0, 30.0)
    assert one.duration == timedelta(seconds=80)
    (refused,) = told([replace(ended(FIRST, failed()), attempts=0)], (), words_of())
    assert TOOK not in refused.user_attrs


def test_failures_that_differ_in_numbers_have_one_cause() -> None:
    texts = ["\nCUDA out of memory: tried 2.50 GiB\nmore", "CUDA out of memory: tried 13.25 GiB"]
    causes = {cause_of(Failed(kind=FailureKind.OUT_OF_MEMORY, message=text)) for text in texts}
    assert causes == {"out of memory: CUDA out of memory: tried . GiB"}
    assert cause_of(Failed(kind=FailureKind.CRASHED, message="")) == "crashed: "


def test_what_was_made_of_a_trial_is_made_again_only_where_it_would_be_another() -> None:
    made, words, first = Made(), words_of(), ended(FIRST, measured())
    (one,) = told([first], (), words, made)
    assert told([first], [Proposal(number=1, params=DEFAULTS, is_default=False)], words, made)[0] is one
    assert told([first], (), words) == [one]
    slow = replace(first, outcome=measured(output_throughput=1.0))
    (other,) = told([slow], (), words, made)
    assert other.value == 1.0
    forked = [ended(replace(FIRST, number=n), replace(measured(), start="warm")) for n in (1, 2)]
    assert told([slow, *forked], (), words, made) == told([slow, *forked], (), words)  # most are forked: FAIL
    name = "long_prefill_token_threshold"
    widened = [Proposal(number=3, params={**DEFAULTS, name: 777}, is_default=False)]
    found = told([slow, *forked], widened, words, made)
    assert found[:3] == told([slow, *forked], widened, words)[:3]
    assert 777 in found[0].distributions[name].choices  # type: ignore[attr-defined]


def test_a_failure_has_no_value_and_outweighs_every_slo() -> None:
    slos = (parse_slo("ttft_p99=1ms"), parse_slo("tpot_p99=1ms"))
    (one,) = told([ended(FIRST, failed())], (), words_of(SPACE, slos))
    assert (one.state.name, one.values) == ("PRUNED", None)
    assert one.constraints == {LAUNCH: 3.0, "ttft_p99": 0.0, "tpot_p99": 0.0}
    assert one.user_attrs[CAUSE] == "out of memory: CUDA out of memory"
    assert not {"output_throughput", ERROR} & one.user_attrs.keys()


def test_what_has_nothing_of_what_is_optimized_is_no_measurement_of_it() -> None:
    answered = measured()
    silent = replace(answered, load=replace(answered.load, tpot_s=None))
    (one,) = told([ended(FIRST, silent)], (), words_of(SPACE, (), "tpot_p99"))
    assert (one.state.name, one.constraints, one.user_attrs[CAUSE]) == ("PRUNED", {LAUNCH: 1.0}, "no tpot_p99_s")
    slo = parse_slo("tpot_p99=1s")
    (one,) = told([ended(FIRST, silent, {"tpot_p99": -1.0})], (), words_of(SPACE, (slo,)))
    assert (one.state.name, one.constraints["tpot_p99"]) == ("COMPLETE", -1.0)


def test_servers_that_came_to_be_otherwise_are_not_compared() -> None:
    def of(start: str, number: int) -> Measured:
        return replace(measured(output_throughput=100.0 + number), start=start)

    starts = ["plain", "warm", "warm"]
    trials = [ended(Proposal(number=n, params={"max_num_seqs": n + 1}), of(start, n)) for n, start in enumerate(starts)]
    assert [one.state.name for one in told(trials, (), words_of())] == ["FAIL", "COMPLETE", "COMPLETE"]


def test_numbers_are_kept_where_one_is_missing() -> None:
    last = ended(Proposal(number=2, params={"max_num_seqs": 4}), measured(ttft_s=seconds(0.3).p99 or 0.3))
    found = told([ended(FIRST, measured()), last], [Proposal(number=3, params={"max_num_seqs": 8})], words_of())
    assert [one.state.name for one in found] == ["COMPLETE", "FAIL", "COMPLETE", "RUNNING"]
