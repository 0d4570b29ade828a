"""Pages of metrics, whole and broken, of this vLLM and of older ones."""

from contextlib import suppress
from pathlib import Path
from random import Random

import pytest

from tuner.errors import RunError, UsageError
from tuner.measure.exposition import samples
from tuner.measure.page_faults import counted, why_absent
from tuner.measure.server_page import KV_USAGE, totals
from tuner.measure.server_window import server_metrics
from tuner.measure.summed import summed
from tuner.measure.told import told
from tuner.measure.traffic import parse

PAGE = (Path(__file__).parent / "vllm-0.32.0.metrics.txt").read_text()
OLDER = """
vllm:prompt_tokens_total{engine="0"} 10
vllm:generation_tokens_total{engine="0"} 20
vllm:gpu_cache_usage_perc{engine="0"} 0.5
"""
OLD_CACHE = 'vllm:gpu_prefix_cache_queries_total{engine="0"} 8\nvllm:gpu_prefix_cache_hits_total{engine="0"} 2\n'


@pytest.mark.parametrize(
    "line", ['vllm:num_requests_running{model="a', 'vllm:num_requests_running{a="b"} abc', "vllm:num_requests_running"]
)
def test_a_broken_line_is_no_page_whoever_reads_it(line: str) -> None:
    with pytest.raises(ValueError, match="cut or broken"):
        totals(f"{PAGE}\n{line}")
    with pytest.raises(RunError, match=r"^URL is no page of Prometheus metrics \(a line of it is cut or broken\)"):
        counted(f"{PAGE}\n{line}", "URL")


def test_whatever_is_broken_raises_nothing_else() -> None:
    dice, lines = Random(1), [line for line in PAGE.splitlines() if line.startswith("vllm:num_requests")]
    for _ in range(500):
        line = dice.choice(lines)
        place = dice.randrange(len(line))
        broken = dice.choice([line[:place], f"{line[:place]}{dice.choice('{}=,# 1' + chr(34))}{line[place + 1 :]}"])
        with suppress(ValueError):
            samples(broken, ("vllm:",))


@pytest.mark.parametrize("value", ["NaN", "+Inf", "-Inf"])
def test_what_is_no_finite_number_is_not_known(value: str) -> None:
    page = f"vllm:num_requests_running 3\nvllm:num_requests_waiting {value}\nvllm:request_success_total {value}\n"
    assert totals(page) == {"vllm:num_requests_running": 3.0}
    histogram = f'vllm:x_sum {value}\nvllm:x_bucket{{le="+Inf"}} 3\n'
    assert summed(histogram, ("vllm:x",), "URL").histogram("vllm:x") is None


def test_an_older_vllm_is_read_by_its_names() -> None:
    assert totals(OLDER)[KV_USAGE] == 0.5
    assert totals(OLDER + OLD_CACHE)["vllm:prefix_cache_queries_total"] == 8
    assert told(OLDER + OLD_CACHE).hits == 0.25
    both = OLDER + OLD_CACHE + OLD_CACHE.replace("gpu_", "") + "vllm:kv_cache_usage_perc 0.7\n"
    assert totals(both)["vllm:prefix_cache_hits_total"] == 2
    assert totals(both)[KV_USAGE] == 0.7


def test_what_an_older_vllm_does_not_count_is_not_known() -> None:
    values = counted(OLDER, "URL")
    found = server_metrics(values, values, [values])
    assert (found.prompt_tokens, found.generation_tokens, found.kv_cache_usage_mean) == (0.0, 0.0, 0.5)
    assert found.prefix_cache_queries is found.prefix_cache_hits is found.preemptions is None
    assert told(OLDER).hits is told(OLDER + OLD_CACHE.splitlines()[0]).hits is None


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("python_info 1.0\n", "--disable-log-stats"),
        ("vllm:num_requests_running 1.0\npython_info 1.0\n", "has metrics of vLLM, but no NAME: tuner needs a version"),
        (" <html>\nvllm: is here</html>", "is a web page and no metrics"),
        ("sglang:x 1\n", "is of SGLang"),
        ("", "has no NAME: is this a vLLM server"),
    ],
)
def test_why_a_page_lacks_a_metric(text: str, why: str) -> None:
    sentence = why_absent(text, "URL", "NAME")
    assert why in sentence
    assert ("--disable-log-stats" in sentence) == ("--disable-log-stats" in why)
    assert "\n" not in sentence


def test_a_page_without_requests_is_told_of_as_any_other() -> None:
    with pytest.raises(UsageError, match="is a web page"):
        parse("<html>", 0.0, "URL")
