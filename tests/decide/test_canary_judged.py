import random

import pytest

from tuner.decide.canary import LEAST_REQUESTS, Limit, Slice, behind, verdict


def slices(
    count: int = 12, ttft_s: float = 0.1, answered: float = 1.0, noise: float = 0.1, seed: int = 0
) -> list[Slice]:
    rng = random.Random(seed)
    return [
        Slice(requests=50, answered=answered, means={"ttft": ttft_s * rng.lognormvariate(0, noise), "tpot": 0.01})
        for _ in range(count)
    ]


def test_one_that_is_as_good_stays() -> None:
    found = verdict(slices(), slices(seed=1), (), paired=True)
    assert found.stays
    assert any(line.startswith("TTFT ") for line in found.beside)


def test_one_that_is_worse_by_more_than_the_noise_goes_and_the_figure_is_said() -> None:
    found = verdict(slices(ttft_s=0.2), slices(seed=1), (), paired=True)
    assert not found.stays
    assert "its mean TTFT is 1" in found.against[0] or "its mean TTFT is 2" in found.against[0]


def test_noise_alone_does_not_take_it_back_more_often_than_is_said() -> None:
    gone = 0
    for seed in range(100):
        ours, theirs = slices(seed=seed), slices(seed=1000 + seed)
        gone += any(not behind(ours[:n], theirs[:n], paired=True, looks=12).stays for n in range(4, 13))
    assert gone <= 0.05 * 100


def test_a_latency_with_an_slo_is_judged_by_it_alone() -> None:
    limit = Limit(name="ttft_p99", latency="ttft", limit_s=0.5, seen_s=0.3)
    assert verdict(slices(ttft_s=0.2), slices(seed=1), [limit], paired=True).stays
    missed = verdict(
        slices(), slices(seed=1), [Limit(name="ttft_p99", latency="ttft", limit_s=0.2, seen_s=0.3)], paired=True
    )
    assert missed.against == ("it misses the SLO ttft_p99 of 200 ms: 300 ms",)


def test_an_slo_that_the_server_does_not_tell_is_not_met() -> None:
    found = verdict(
        slices(), slices(seed=1), [Limit(name="itl_p99", latency="itl", limit_s=0.2, seen_s=None)], paired=True
    )
    assert "does not tell itl_p99" in found.against[0]


def test_requests_that_it_does_not_answer_count() -> None:
    found = verdict(slices(answered=0.8), slices(seed=1), (), paired=True)
    assert "unanswered" in found.against[-1]


def test_what_nobody_used_was_not_tried() -> None:
    quiet = [Slice(requests=1, answered=None, means={}) for _ in range(12)]
    assert f"and {LEAST_REQUESTS} are the least" in verdict(quiet, slices(), (), paired=True).against[0]


@pytest.mark.parametrize("paired", [True, False])
def test_with_nothing_to_compare_with_and_no_slo_it_goes(paired: bool) -> None:
    found = verdict(slices(), [], (), paired=paired)
    assert "to compare it with" in found.against[0]


def test_without_other_replicas_it_is_compared_with_itself_before() -> None:
    assert verdict(slices(), slices(seed=1), (), paired=False).stays
    found = verdict(slices(ttft_s=0.3), slices(seed=1), (), paired=False)
    assert found.against[0].endswith("of what it was before")
