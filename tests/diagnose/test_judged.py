"""Whether a remedy did what was said, in a sentence."""

from dataclasses import replace

import pytest
from samples import failed, measured, trial

from tuner.decide.objective import parse_objective
from tuner.diagnose.causes import Cause
from tuner.diagnose.diagnosis import Remedy
from tuner.diagnose.judged import Attempt, judged
from tuner.types import Mark, Measured, Outcome, ServerMetrics, Twin

THROUGHPUT, LATENCY = parse_objective("throughput"), parse_objective("ttft_p99")


def of(output_throughput: float = 100.0, ttft_s: float = 0.1, **server: float) -> Measured:
    found = measured(output_throughput=output_throughput, ttft_s=ttft_s)
    assert isinstance(found.server, ServerMetrics)
    return replace(found, server=replace(found.server, **server))  # type: ignore[arg-type]


FULL = of(preemptions=5.0, kv_cache_usage_max=0.99)
BEFORE = trial(2, FULL, params={"max_num_seqs": 64, "kv_cache_dtype": "auto"})
ATTEMPT = Attempt(
    cause=Cause.KV_CACHE,
    remedy=Remedy(name="kv_cache_dtype", direction="set", value="fp8", gain=0.3),
    trial=BEFORE,
    params={"max_num_seqs": 64, "kv_cache_dtype": "fp8"},
)


def said(outcome: Outcome | Twin) -> str:
    after = replace(trial(7, measured(), params=ATTEMPT.params), outcome=outcome)
    return judged(ATTEMPT, after, THROUGHPUT, None)


@pytest.mark.parametrize(
    ("outcome", "sentence"),
    [
        (
            of(120.0),
            "brought +20% of output_throughput in trial 7, one launch each, predicted was +30%; it is no longer",
        ),
        (of(100.5), "brought nothing in trial 7"),
        (of(80.0), "lost 20% of output_throughput"),
        (replace(FULL, startup_s=1.0), "it is still KV-cache bound"),
        (failed(), "could not be tried: trial 7 failed (out of memory)"),
        (Twin(equals=4, why="alike"), "changes nothing: trial 7 equals trial 4"),
        (replace(of(50.0), at_best=1.5, marks=(Mark.STOPPED_EARLY,)), "brought no gain: trial 7 was stopped early"),
    ],
)
def test_it_says_what_the_remedy_brought(outcome: Outcome | Twin, sentence: str) -> None:
    text = said(outcome)
    assert text.startswith("the remedy for KV-cache bound of trial 2 (kv_cache_dtype fp8) ")
    assert sentence in text


@pytest.mark.parametrize(
    ("outcome", "ends"), [(of(120.0), "; it is batch too small"), (FULL, "; it is KV-cache bound")]
)
def test_of_a_limit_that_was_predicted_alone_nothing_is_gone(outcome: Outcome, ends: str) -> None:
    """What a measurement never showed it cannot have cured."""
    attempt = replace(ATTEMPT, trial=replace(BEFORE, outcome=of()))
    text = judged(attempt, replace(trial(7, measured(), params=ATTEMPT.params), outcome=outcome), THROUGHPUT, None)
    assert "no longer" not in text
    assert text.endswith(ends)


def test_a_latency_gains_when_it_falls() -> None:
    after = trial(3, of(ttft_s=0.05), params=ATTEMPT.params)
    assert "brought +" in judged(ATTEMPT, after, LATENCY, None)
    assert "lost" in judged(ATTEMPT, trial(3, of(ttft_s=0.2), params=ATTEMPT.params), LATENCY, None)


def test_a_trial_tries_it_that_comes_later_and_has_its_settings() -> None:
    assert ATTEMPT.is_made_by(trial(7, FULL, params={**ATTEMPT.params, "block_size": 16}))
    assert not ATTEMPT.is_made_by(trial(7, FULL, params=BEFORE.params))
    assert not ATTEMPT.is_made_by(trial(1, FULL, params=ATTEMPT.params))
