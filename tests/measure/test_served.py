import math
import re
from pathlib import Path

import pytest

from tuner.errors import UsageError
from tuner.measure.buckets import Observed
from tuner.measure.served import parse_served, quantile
from tuner.sim.page import Counts, page


def text(*latencies_s: float, aborted: int = 0) -> str:
    counts = Counts(8192)
    for ttft_s in latencies_s:
        counts.finish("length", 100, 11, ttft_s, ttft_s + 1.0)
    for _ in range(aborted):
        counts.finish("abort", 100, 0, 0.0, 0.0)
    return page(counts, {"num_requests_running": 2, "num_requests_waiting": 1}, {}, {}, "m")


def test_what_was_answered_between_two_pages() -> None:
    before, after = parse_served(text(0.1), 0.0, "u"), parse_served(text(0.1, 0.3, 0.5, aborted=2), 10.0, "u")
    found = after.since(before)
    assert (found.time_s, found.finished, found.unanswered, found.in_flight) == (10, 4, 2, 0)
    assert found.latencies["ttft"].mean == pytest.approx(0.4)
    assert found.latencies["tpot"].mean == pytest.approx(0.1)
    assert "itl" not in found.latencies
    assert not after.is_restarted(before)
    assert before.is_restarted(after)


def test_a_process_that_has_answered_more_than_the_one_before_is_another_one() -> None:
    """As vLLM's page tells since when it counts; one that does not is told by its counters."""
    real = (Path(__file__).parent / "vllm-0.32.0.metrics.txt").read_text()
    later = re.sub(r"^(vllm:request_success_created.*) 1\.7", r"\1 1.8", real, flags=re.MULTILINE)
    silent = re.sub(r"^.*_created.*\n", "", real, flags=re.MULTILINE)
    assert later != real
    before, after, unknown = (parse_served(page, 0.0, "u") for page in (real, later, silent))
    assert before.finished == after.finished
    assert after.is_restarted(before)
    assert not before.is_restarted(before)
    assert not unknown.is_restarted(before)
    assert not after.is_restarted(unknown)


def test_quantiles_are_those_of_prometheus() -> None:
    observed = Observed(at_most={0.1: 0, 0.5: 10, 1.0: 90, math.inf: 100}, sum=70)
    assert quantile(observed, 0.5) == pytest.approx(0.75)
    assert quantile(observed, 0.05) == pytest.approx(0.3)
    assert quantile(observed, 0.99) == 1.0  # above the last bound it is that
    assert quantile(Observed(at_most={1.0: 0, math.inf: 0}, sum=0), 0.5) is None


@pytest.mark.parametrize("page", ["", "hello", "vllm:num_requests_running 1\n", "vllm:request_success_total{ 3\n"])
def test_another_page_is_said(page: str) -> None:
    with pytest.raises(UsageError, match="http://u/metrics"):
        parse_served(page, 0.0, "http://u/metrics")


@pytest.mark.engine
def test_a_real_vllm_tells_all_of_it(vllm_url: str) -> None:
    import json
    import urllib.request

    from tuner.retune.served_slices import served

    body = {"model": json.load(urllib.request.urlopen(f"{vllm_url}/v1/models"))["data"][0]["id"], "prompt": [1, 2, 3]}
    request = urllib.request.Request(
        f"{vllm_url}/v1/completions",
        json.dumps({**body, "max_tokens": 4, "ignore_eos": True}).encode(),
        {"Content-Type": "application/json"},
    )
    before = served(f"{vllm_url}/metrics")
    urllib.request.urlopen(request).read()
    found = served(f"{vllm_url}/metrics").since(before)
    assert found.finished >= 1
    assert {"ttft", "tpot", "itl", "e2el"} <= set(found.latencies)
    assert found.latencies["ttft"].count >= 1
