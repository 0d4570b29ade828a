"""The page is read by what reads vLLM's: the window's counters, the KV cache's size, and the traffic."""

import re
from pathlib import Path

from tuner.measure.server_page import kv_cache_tokens_of, totals
from tuner.measure.traffic import parse, traffic
from tuner.sim.page import Counts, page

RECORDED = (Path(__file__).parents[1] / "measure" / "vllm-0.32.0.metrics.txt").read_text()
GAUGES = {"num_requests_running": 3, "num_requests_waiting": 1, "kv_cache_usage_perc": 0.25}
COUNTERS = {"prefix_cache_queries": 50, "prefix_cache_hits": 5, "num_preemptions": 2, "prompt_tokens": 60}


def text(counts: Counts) -> str:
    return page(counts, GAUGES, COUNTERS, {"kv_cache_size_tokens": 4096, "block_size": 16}, 'a "model"')


def test_the_names_are_vllms() -> None:
    names = set(re.findall(r"^# TYPE (\S+) ", text(Counts(8192)), re.MULTILINE))
    recorded = set(re.findall(r"^# TYPE (\S+) ", RECORDED, re.MULTILINE))
    histograms = {"vllm:request_prompt_tokens", "vllm:request_generation_tokens", "vllm:time_to_first_token_seconds"}
    histograms |= {"vllm:request_time_per_output_token_seconds", "vllm:e2e_request_latency_seconds"}
    assert names - histograms <= recorded  # the recorded page has no histograms of requests


def test_a_window_is_read_from_it() -> None:
    counts = Counts(8192, generation_tokens=70)
    found = totals(text(counts))
    assert found["vllm:generation_tokens_total"] == 70
    assert found["vllm:prompt_tokens_total"] == 60
    assert found["vllm:kv_cache_usage_perc"] == 0.25
    assert kv_cache_tokens_of(text(counts)) == 4096


def test_the_traffic_is_read_from_it() -> None:
    counts = Counts(8192)
    before = parse(text(counts), 0.0, "http://x")
    for number in range(100):
        counts.finish("length", 100 + number, 20, 0.1, 2.0)
    counts.finish("abort", 5, 1, 0.0, 0.0)
    found = traffic([before, parse(text(counts), 10.0, "http://x")])
    assert found.requests == 101
    assert found.input_mean == 149.5
    assert found.output_mean == 20
