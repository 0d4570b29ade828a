from dataclasses import replace

from tuner.decide.overload import Overload, overloads
from tuner.decide.slo import parse_slo, parse_slos
from tuner.workload.presets import PRESETS

LOAD = replace(PRESETS["open-chat"], request_rate=50.0, warmup_s=1.0, window_s=4.0)


def test_as_many_as_may_miss_a_limit_in_the_window_may_not_wait_for_four_times_as_long_at_once() -> None:
    found = overloads(LOAD, parse_slos(["ttft_p99=500ms", "e2e_p90=2s", "ttft_mean=300ms"]))
    assert [replace(one, requests=round(one.requests)) for one in found] == [
        Overload(slo="ttft_p99", state="waiting", longer_s=2.0, requests=2),
        Overload(slo="e2e_p90", state="open", longer_s=8.0, requests=20),
        Overload(slo="ttft_mean", state="waiting", longer_s=1.2, requests=100),
    ]


def test_what_is_over_within_the_warm_up_is_no_overload() -> None:
    (found,) = overloads(replace(LOAD, warmup_s=10.0), [parse_slo("ttft_p99=500ms")])
    assert found.longer_s == 10.0


def test_the_times_of_tokens_say_nothing_of_requests_that_wait() -> None:
    assert overloads(LOAD, parse_slos(["tpot_p99=50ms", "itl_p99=80ms"])) == ()
