import asyncio
import dataclasses
import itertools
import socket
import threading
from pathlib import Path

import pytest
from faults.server import FaultServer
from metrics_page import PageServer
from samples import CLIENT
from waiting import in_a_calm_moment

from tuner.errors import LaunchError
from tuner.measure.server import ServerSampler, _Snapshot, kv_cache_tokens
from tuner.measure.server_page import kv_cache_tokens_of, totals
from tuner.types import FailureKind, Lengths, LoadResult, ServerMetrics, Workload, present

PAGE = (Path(__file__).parent / "vllm-0.32.0.metrics.txt").read_text()
NOTHING = LoadResult(
    records=(), window_start_s=0.0, window_end_s=1.0, client=CLIENT, warmup_s=1.0, stationary=True, shared_tokens=0
)
WORKLOAD = Workload(
    name="quick",
    api="completions",
    users=4,
    input_tokens=Lengths(low=24, high=32),
    output_tokens=Lengths(low=8, high=12),
    warmup_s=0.1,
    window_s=1.5,
)


def test_a_recorded_page_of_vllm_is_understood() -> None:
    values = totals(PAGE)
    assert values["vllm:prompt_tokens_total"] == 363337
    assert values["vllm:generation_tokens_total"] == 466053
    assert values["vllm:prefix_cache_hits_total"] == 0
    assert values["vllm:num_requests_running"] == 8
    assert not [name for name in values if "created" in name or "bucket" in name]
    assert kv_cache_tokens_of(PAGE) == 2097152


def test_engines_are_summed_and_the_usage_is_averaged() -> None:
    page = "".join(
        f'vllm:num_preemptions_total{{engine="{engine}"}} {engine + 1}\n'
        f'vllm:kv_cache_usage_perc{{engine="{engine}"}} {0.2 + engine / 10}\n'
        f'vllm:cache_config_info{{block_size="16",num_gpu_blocks="100",kv_cache_size_tokens="None",engine="{engine}"}} 1\n'
        for engine in (0, 1)
    )
    assert totals(page)["vllm:num_preemptions_total"] == 3
    assert totals(page)["vllm:kv_cache_usage_perc"] == pytest.approx(0.25)
    assert kv_cache_tokens_of(page) == 3200
    assert kv_cache_tokens_of('vllm:cache_config_info{num_gpu_blocks="None"} 1\n') is None
    assert kv_cache_tokens_of("") is None


@in_a_calm_moment
def test_client_and_server_agree_on_the_tokens_of_the_window() -> None:
    async def run(group: int) -> tuple[ServerMetrics, LoadResult]:
        async with FaultServer(token_s=0.005, group=group) as server:
            sampler = ServerSampler(server.base_url)
            long = dataclasses.replace(WORKLOAD, output_tokens=Lengths(low=33, high=33))
            result = await server.load(long, observe=lambda: sampler)
            assert await kv_cache_tokens(server.base_url) is None
            return sampler.metrics(result), result

    for group in (1, 8):
        metrics, result = asyncio.run(run(group))
        assert metrics.agreement == pytest.approx(1.0, abs=0.2)
        assert present(metrics.generation_tokens) > 100
        assert metrics.prefix_cache_hits == 0
        assert metrics.running_mean is not None
        assert 1 <= metrics.running_mean <= 4
        assert metrics.kv_cache_usage_mean is None
        assert metrics.kv_cache_usage_max is None
        assert metrics.waiting_mean is None
        assert result.window_end_s - result.window_start_s >= 1.5


def test_an_idle_client_has_no_agreement() -> None:
    async def run() -> ServerMetrics:
        async with FaultServer() as server, ServerSampler(server.base_url) as sampler:
            pass
        return sampler.metrics(NOTHING)

    assert asyncio.run(run()).agreement is None


def test_a_page_without_a_counter_is_refused_with_its_name() -> None:
    async def run() -> None:
        async with FaultServer() as server:
            server.hidden_metric = "prompt_tokens"
            async with ServerSampler(server.base_url) as sampler:
                pass
        sampler.metrics(NOTHING)

    with pytest.raises(LaunchError, match=r"/metrics has metrics of vLLM, but no vllm:prompt_tokens_total"):
        asyncio.run(run())


GARBLED = f'{PAGE}\nvllm:num_requests_running{{model="a\n'
CUT = f"{PAGE}\nvllm:num_requests_running 1.0 abc\n"


@pytest.mark.parametrize("bad", [GARBLED, CUT, "<html>"])
def test_a_bad_page_within_the_window_is_skipped(bad: str) -> None:
    answers = itertools.chain([PAGE], [bad] * 3, itertools.repeat(PAGE))

    async def run(url: str) -> ServerSampler:
        async with ServerSampler(url, speed=25.0) as sampler:
            await asyncio.sleep(0.4)
        return sampler

    with PageServer(lambda: (200, next(answers))) as server:
        sampler = asyncio.run(run(server.url))
    assert len(sampler.gauges()) > 3
    assert sampler.metrics().running_mean == 8


@pytest.mark.parametrize(
    ("bad", "sentence"),
    [
        (GARBLED, "is no page of Prometheus metrics"),
        (CUT, "is no page of Prometheus metrics"),
        ("<html>", "is a web page and no metrics"),
    ],
)
def test_a_bad_page_at_an_end_is_the_windows_failure(bad: str, sentence: str) -> None:
    leaving = threading.Event()

    async def run(url: str) -> None:
        async with ServerSampler(url):
            leaving.set()

    with (
        PageServer(lambda: (200, bad if leaving.is_set() else PAGE)) as server,
        pytest.raises(LaunchError, match=sentence) as caught,
    ):
        asyncio.run(run(server.url))
    assert caught.value.failed.kind is FailureKind.LOAD_FAILED
    assert f"{server.url}/metrics" in str(caught.value)


def test_nobody_listening_is_said() -> None:
    async def run(url: str) -> None:
        async with ServerSampler(url):
            pass

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        with pytest.raises(LaunchError, match="/metrics cannot be read"):
            asyncio.run(run(f"http://127.0.0.1:{probe.getsockname()[1]}"))


def test_counters_that_fall_are_another_servers_or_a_restarted_one() -> None:
    values = dict.fromkeys(("prompt_tokens", "generation_tokens", "num_preemptions", "prefix_cache_queries"), 10)

    def page(count: int) -> str:
        counters = {**values, "prefix_cache_hits": 0, "generation_tokens": count}
        return "".join(f"vllm:{name}_total {value}\n" for name, value in counters.items())

    sampler = ServerSampler("http://127.0.0.1:1")
    sampler._before, sampler._after = (
        _Snapshot(time_s=float(second), took_s=0.0, values=totals(page(count))) for second, count in ((0, 9), (1, 5))
    )
    with pytest.raises(
        LaunchError, match="vllm:generation_tokens_total of /metrics fell in the window: the server was"
    ):
        sampler.metrics(NOTHING)
