"""Servers that run: what can be said of them, and the sentences for those of which nothing can."""

import socket
from pathlib import Path

import pytest
from metrics_page import PageServer

from tuner.bench.diagnosing import Seen, diagnose_load, diagnose_traffic
from tuner.bench.sides import Conditions, pids_beside
from tuner.diagnose.causes import Cause
from tuner.errors import RunError, UsageError
from tuner.measure.command_line import settings_of
from tuner.measure.own_traffic import models_of, own_load, remarks
from tuner.measure.server_page import totals
from tuner.measure.timeline import Gauges
from tuner.types import Lengths, Workload, present

PAGE = (Path(__file__).parents[1] / "measure" / "vllm-0.32.0.metrics.txt").read_text()
PYTHON = "python_info 1.0\nprocess_cpu_seconds_total 3.0\n"
ASLEEP = PAGE + 'vllm:engine_sleep_state{engine="0",sleep_state="awake"} 0.0\n'


@pytest.mark.parametrize(
    ("status", "text", "sentence"),
    [
        (404, "", "answered HTTP 404: is this a vLLM server"),
        (503, "", "answered HTTP 503"),
        (200, "<html><body>Welcome to nginx!</body></html>", "is a web page and no metrics"),
        (200, 'sglang:num_running_reqs{model_name="m"} 3.0\n', "is of SGLang and not of vLLM"),
        (200, "tgi_request_count 3\n", "is of TGI and not of vLLM"),
        (200, PYTHON, "with --disable-log-stats"),
        (200, "", "is this a vLLM server"),
        (200, '{"vllm:prompt_tokens_total": 3}', "is this a vLLM server"),
        (200, "vllm:prompt_tokens_total not a number\n", "is no page of Prometheus metrics"),
        (200, ASLEEP, "sleeps"),
    ],
)
def test_what_tells_nothing_is_told_in_one_sentence(status: int, text: str, sentence: str) -> None:
    with PageServer(lambda: (status, text)) as server, pytest.raises(RunError, match=sentence) as told:
        diagnose_traffic(server.url, 1.0, None, {})
    assert "\n" not in str(told.value)
    assert f"{server.url}/metrics" in str(told.value)


def test_who_does_not_listen_is_told() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        with pytest.raises(RunError, match=r"/metrics cannot be read: .*Connection refused"):
            diagnose_traffic(f"127.0.0.1:{probe.getsockname()[1]}", 1.0, None, {})
    for nonsense in ("", "http://", "ftp://host:1", "http://host:8000/?a=b"):
        with pytest.raises(UsageError, match="is no server's URL"):
            diagnose_traffic(nonsense, 1.0, None, {})


def test_a_server_that_ends_meanwhile_is_told() -> None:
    answers = iter([(200, PAGE), (200, PAGE)])
    with PageServer(lambda: next(answers, (500, ""))) as server, pytest.raises(RunError, match="answered HTTP 500"):
        diagnose_traffic(server.url, 1.0, None, {})


def test_a_server_without_traffic_is_read() -> None:
    idle = PAGE.replace('vllm:num_requests_running{engine="0",model_name="tiny"} 8.0', "vllm:num_requests_running 0.0")
    with PageServer(lambda: (200, idle)) as server:
        seen = diagnose_traffic(server.url, 1.0, None, {"max_num_seqs": 16})
    assert (seen.base_url, seen.workload) == (server.url, None)
    assert seen.settings["max_num_seqs"] == 16
    assert seen.settings["enable_prefix_caching"] is True
    assert seen.measured.server is not None
    assert seen.measured.server.steps == 0.0
    assert seen.measured.cores is None  # what listens there is no vLLM
    assert seen.diagnosis.first.cause in (Cause.NO_LOAD, Cause.INSUFFICIENT)
    assert any("cannot be seen" in remark for remark in seen.remarks)


def test_its_own_traffic_is_a_load_whose_client_nobody_sees() -> None:
    def page(n: int) -> dict[str, float]:
        return totals(
            f"vllm:generation_tokens_total {1000 * n}\nvllm:prompt_tokens_total {500 * n}\n"
            f"vllm:request_success_total {10 * n}\nvllm:time_to_first_token_seconds_sum {n}\n"
            f"vllm:time_to_first_token_seconds_count {10 * n}\n"
        )

    found = own_load(page(1), page(3), 4.0)
    assert (found.output_throughput, found.total_token_throughput, found.request_throughput) == (500.0, 750.0, 5.0)
    assert found.completed == 20
    assert present(found.ttft_s).mean == pytest.approx(0.1)
    assert found.e2el_s is found.tpot_s is found.itl_s is None


def test_traffic_that_stops_and_several_models_are_to_be_known() -> None:
    load = own_load(totals(""), totals(""), 10.0)

    def gauges(until: int) -> list[Gauges]:
        running = [1.0 if at_s < until else 0.0 for at_s in range(11)]
        return [Gauges(time_s=t, running=n, waiting=0.0, kv_cache_usage=None) for t, n in enumerate(running)]

    assert remarks(load, gauges(11), ["m"]) == []
    assert remarks(load, gauges(0), ["m"]) == []  # there was none: the diagnosis says so
    (stopped,) = remarks(load, gauges(5), ["m"])
    assert "the traffic stopped 6 s before the end" in stopped
    (several,) = remarks(load, [], ["a", "b"])
    assert "2 models together (a, b)" in several
    page = 'vllm:num_requests_running{engine="0",model_name="b"} 1\nvllm:num_requests_running{model_name="a"} 1\n'
    assert models_of(page) == ["a", "b"]


@pytest.mark.parametrize(
    ("line", "settings"),
    [
        ("python vllm serve m --max-num-seqs 16 --enforce-eager", {"max_num_seqs": 16, "enforce_eager": True}),
        ("vllm serve m --no-enable-prefix-caching --dtype=auto", {"enable_prefix_caching": False, "dtype": "auto"}),
        ("python -m vllm.entrypoints.openai.api_server --model m --port 1", {}),
        (
            "vllm serve m --api-key secret --hf-token secret --gpu-memory-utilization 0.5",
            {"gpu_memory_utilization": 0.5},
        ),
        (
            "vllm serve m -O3 --compilation_config.cudagraph_mode FULL",
            {"optimization_level": 3, "compilation_config.cudagraph_mode": "FULL"},
        ),
        ("nginx --workers 3", {}),
        ("", {}),
    ],
)
def test_a_command_line_names_settings_and_no_secret(line: str, settings: dict[str, object]) -> None:
    assert settings_of(line.split()) == settings


def test_what_listens_and_is_no_vllm_has_no_processes_to_watch() -> None:
    with PageServer(lambda: (200, PAGE)) as server:
        assert pids_beside(server.url) == ()
    assert pids_beside("http://gpu-box.example:8000") == ()


@pytest.fixture(scope="module")
def loaded(vllm_url: str) -> Seen:
    workload = Workload(
        name="quick",
        api="completions",
        users=6,
        input_tokens=Lengths(low=24, high=32),
        output_tokens=Lengths(low=12, high=16),
        warmup_s=1.0,
        window_s=3.0,
        max_window_s=3.0,
    )
    conditions = Conditions(workload=workload, slos=(), model=None, gpus=None)
    return diagnose_load(vllm_url, conditions, {}, 7_000_000, lambda text: None)


@pytest.mark.engine
def test_a_real_server_under_load_has_a_diagnosis_with_steps_cores_and_queue_time(loaded: Seen) -> None:
    server, cores, line = loaded.measured.server, loaded.measured.cores, loaded.measured.timeline
    assert loaded.diagnosis.first.cause is not Cause.INSUFFICIENT
    assert loaded.diagnosis.first.evidence
    assert server is not None
    assert cores is not None
    assert line is not None
    assert present(server.steps) > 10
    # each step has a token for every request that runs, but for those that begin
    assert present(server.step_tokens_mean) >= 1.0
    assert present(server.queue_time_mean_s) >= 0.0
    assert present(server.inference_time_mean_s) >= present(server.decode_time_mean_s)
    assert present(server.running_max) >= present(server.running_mean)
    assert present(cores.engine_core) > 0.01
    assert present(cores.api_server_max) > 0.0
    assert cores.api_servers == 1
    assert 0 < present(cores.host_busy) <= 1
    assert loaded.settings["enforce_eager"] is True
    assert any(line.steps_per_s)
    assert any(line.server_cores)


@pytest.mark.engine
def test_a_real_server_that_nobody_uses_is_watched(loaded: Seen, vllm_url: str) -> None:
    seen = diagnose_traffic(vllm_url, 1.0, None, {})
    assert seen.models == loaded.models
    assert seen.measured.load.completed == 0
    assert seen.measured.cores is not None
