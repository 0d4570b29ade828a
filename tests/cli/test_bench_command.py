"""`tuner bench` and `tuner compare` as a user runs them, against servers whose pace is known, and sides that are played."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
import typer
from samples import failed, load_metrics, measured
from serving import paced
from typer.testing import CliRunner, Result
from waiting import wait_for

from tuner.bench.comparison import Side, Tell
from tuner.cli import bench as bench_module
from tuner.cli import compare as compare_module
from tuner.cli.commands import bench, compare
from tuner.errors import LaunchError, RunError, TunerError, UsageError
from tuner.types import FailureKind, Mark, Measured, RateFound, RateTried

SHORT = ("--users", "4", "--warmup", "0.5", "--window", "1", "--max-window", "1")
APP = typer.Typer()
APP.command()(bench)
APP.command()(compare)


@pytest.fixture(autouse=True)
def as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of this machine's settings."""
    for name in [name for name in os.environ if name.startswith(("TUNER_", "OPENAI_"))]:
        monkeypatch.delenv(name)


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with paced("--ttft", "0.02", "--itl", "0.005") as url:
        yield url


def run(*arguments: str) -> Result:
    return CliRunner().invoke(APP, list(arguments))


def refused(done: Result, kind: type[TunerError], *parts: str) -> None:
    """The error that the command line prints as one sentence, and nothing on stdout."""
    assert isinstance(done.exception, kind), (done.exception, done.output)
    assert all(part in str(done.exception) for part in parts), str(done.exception)
    assert "\n" not in str(done.exception)
    assert done.stdout == ""


def side(name: str, *outcomes: Measured | BaseException) -> Side:
    """A side whose measurements are given."""
    left = iter(outcomes)

    async def once(salt: int, phase: Tell) -> Measured:
        outcome = next(left)
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    return Side(name, "a model", once)


def test_a_running_server_is_measured(server: str, tmp_path: Path) -> None:
    done = run(
        "bench", server.removeprefix("http://"), *SHORT, "--slo", "ttft_p99=9s", "--json", str(tmp_path / "r.json")
    )
    bound = "client bound" in done.stdout  # a busy machine
    assert done.exit_code == (1 if bound else 0), done.output
    assert re.search(r"Output throughput +[\d,.]+ +tok/s", done.stdout)
    assert "SLO ttft_p99 of at most 9,000 ms" in done.stdout
    assert "measuring" in done.stderr
    found = json.loads((tmp_path / "r.json").read_text())
    assert found["mean_tpot_ms"] == pytest.approx(5, abs=3)
    assert (found["model_id"], found["max_concurrency"], found["failed"]) == ("paced", 4, 0)
    assert found["request_goodput"] == found["request_throughput"]
    assert found["tuner"]["server"]["prefix_cache_hits"] == 0


def test_every_run_has_prompts_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server's prefix cache outlives the command, so no prompt may come twice."""
    salts, clock = [], iter([1_000.2, 1_004.8])

    async def once(salt: int, phase: Tell) -> Measured:
        salts.append(salt)
        return measured()

    monkeypatch.setattr(bench_module, "url_side", lambda url, setup: Side(url, "a model", once))
    monkeypatch.setattr(bench_module, "time", SimpleNamespace(time=lambda: next(clock)))
    assert [run("bench", "x:1").exit_code for _ in range(2)] == [0, 0]
    assert salts == [1_000, 1_004]


def test_json_on_stdout_stands_alone(server: str) -> None:
    done = run("bench", server, *SHORT, "--json", "-")
    assert json.loads(done.stdout)["model_id"] == "paced"
    assert "Output throughput" in done.stderr


@pytest.mark.parametrize(("name", "value"), [("TUNER_API_KEY", "sk-own"), ("OPENAI_API_KEY", "sk-theirs")])
def test_the_key_comes_from_the_environment_and_is_not_told(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    class Guarded(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append(self.headers["Authorization"])
            self.send_response(401)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    monkeypatch.setenv(name, value)
    with ThreadingHTTPServer(("127.0.0.1", 0), Guarded) as guarded:
        thread = threading.Thread(target=guarded.serve_forever)
        thread.start()
        done = run("bench", f"http://127.0.0.1:{guarded.server_port}")
        guarded.shutdown()
        thread.join()
    assert seen == [f"Bearer {value}"]
    refused(done, RunError, "HTTP 401")
    assert value not in f"{done.exception}{done.output}"


def played(monkeypatch: pytest.MonkeyPatch, found: Measured) -> None:
    monkeypatch.setattr(bench_module, "url_side", lambda url, setup: side(url, found))


def test_a_client_bound_measurement_is_shown_and_ends_with_1(monkeypatch: pytest.MonkeyPatch) -> None:
    played(monkeypatch, measured(marks=(Mark.CLIENT_BOUND,)))
    done = run("bench", "x:1")
    assert done.exit_code == 1
    assert "Output throughput" in done.stdout
    assert "client bound: the load generator was the limit" in done.stdout


def test_a_missed_slo_ends_with_1_and_the_load_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    played(monkeypatch, measured(ttft_s=0.3))
    met, missed = (run("bench", "x:1", "--users", "8", "--slo", f"ttft_p99={limit}") for limit in ("1s", "100ms"))
    assert (met.exit_code, missed.exit_code) == (0, 1)
    assert "SLO ttft_p99 of at most 100 ms: 300.0 ms, missed" in missed.stdout
    assert "workload chat, 8 users" in met.stdout


def test_a_search_that_finds_no_rate_ends_with_1(monkeypatch: pytest.MonkeyPatch) -> None:
    played(monkeypatch, replace(measured(), load=replace(load_metrics(ttft_s=0.2), request_rate=0.1)))
    asked = ("bench", "x:1", "--request-rate", "2", "--find-rate")
    missed = run(*asked, "--slo", "ttft_p99=100ms")
    assert missed.exit_code == 1
    assert "no request rate was found that meets every SLO" in missed.stdout
    assert run(*asked, "--slo", "ttft_p99=300ms").exit_code == 0


def test_the_rate_comes_with_its_interval_and_all_that_was_tried(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    tried = (
        RateTried(request_rate=4.0, requests=200, met=True, seen={"ttft_p99_s": 0.2}),
        RateTried(request_rate=8.0, requests=210, met=False, seen={"ttft_p99_s": 0.7}),
        RateTried(request_rate=16.0, requests=200, met=False, failure="no byte [at all] came"),
    )
    found = replace(measured(), load=replace(load_metrics(ttft_s=0.2), request_rate=5.0))
    played(monkeypatch, replace(found, rate=RateFound(low=5.01, high=5.24, tried=tried)))
    asked = ("bench", "x:1", "--request-rate", "4", "--find-rate", "--slo", "ttft_p99=300ms")
    done = run(*asked, "--json", str(tmp_path / "x.json"))
    assert done.exit_code == 0
    assert "the highest that meets the SLOs: 5.01 to 5.24, 90% interval" in done.stdout
    lines = [line.split() for line in done.stdout.splitlines()]
    assert ["4.00", "200", "200.0", "met"] in lines
    assert ["8.00", "210", "700.0", "missed"] in lines
    assert ["16.00", "200", "-", "missed:", "no", "byte", "[at", "all]", "came"] in lines
    written = json.loads((tmp_path / "x.json").read_text())["tuner"]["rate"]
    assert (written["low"], written["high"]) == (5.01, 5.24)
    assert [one["met"] for one in written["tried"]] == [True, False, False]
    assert written["tried"][0]["seen"] == {"ttft_p99_s": 0.2}


def test_a_failed_measurement_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        bench_module, "url_side", lambda url, setup: side(url, LaunchError(failed(FailureKind.LOAD_FAILED)))
    )
    refused(run("bench", "x:1"), RunError, "CUDA out of memory")


BAD = {
    "bench {} --model nope": "has no model 'nope': it serves paced",
    "bench {} --users 3 --request-rate 4": "give one of them",
    "bench {} --find-rate --slo ttft_p99=1s": "--find-rate needs a rate to begin with",
    "bench {} --request-rate 3 --find-rate": "give at least one --slo",
    "bench {} --json /": "--json / cannot be written",
    "bench {} --json /nowhere/x.json": "--json /nowhere/x.json cannot be written",
    "bench {} --gpu-index 99": "--gpu-index 99: there is no such GPU",
    "bench {} --users 0": "users is 0",
    "bench {} --window 5 --max-window 2": "max_window_s is 2",
    "bench {} --workload chatt": "there is no workload 'chatt'",
    "bench ftp://x": "'ftp://x' is no URL of a server",
    "compare {} nonsense": "'nonsense' is nothing to compare",
    "compare {} none.yaml": "none.yaml cannot be read",
    "compare {} {} --repeats 0": "--repeats is 0 and must be at least 1",
    "compare {} {} --objective speed": "unknown objective 'speed'",
    "compare {} {} --objective goodput --slo itl_p99=1s": "--objective goodput counts the requests",
}


@pytest.mark.parametrize("command", BAD)
def test_bad_input(command: str, server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    refused(run(*command.replace("{}", server).split()), UsageError, BAD[command])


def test_a_server_that_is_not_there() -> None:
    refused(
        run("bench", "http://127.0.0.1:1"),
        RunError,
        "no server answers at http://127.0.0.1:1 (Connection refused): start it, or check host and port",
    )


def comparing(monkeypatch: pytest.MonkeyPatch, a: Side, b: Side, *more: str) -> Result:
    monkeypatch.setattr(compare_module, "sides_of", lambda names, setup, tell: [a, b])
    return run("compare", "x:1", "y:2", *more)


def test_a_comparison_shows_both_sides_and_the_verdict(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fast, slow = (side(name, *[measured(output_throughput=v)] * 6) for name, v in (("fast", 110), ("slow", 100)))
    done = comparing(monkeypatch, slow, fast, "--json", str(tmp_path / "c.json"))
    assert done.exit_code == 0, done.output
    assert "A: slow, model a model\nB: fast, model a model\n" in done.stdout
    assert re.search(r"Output throughput +100\.0 +110\.0 +tok/s +\+10\.0%", done.stdout)
    assert done.stdout.endswith(
        "B is faster: its output throughput is 10.0% higher (95% interval +10.0% to +10.0%, p 0.031, 6 pairs)\n"
    )
    found = json.loads((tmp_path / "c.json").read_text())
    assert (found["verdict"], len(found["b"]["measurements"])) == ("faster", 6)


def test_after_a_second_failure_the_rest_is_shown_and_the_reason_said(monkeypatch: pytest.MonkeyPatch) -> None:
    error = LaunchError(failed(FailureKind.LOAD_FAILED))
    done = comparing(monkeypatch, side("a", measured(), measured()), side("b", measured(), error, error))
    assert isinstance(done.exception, RunError)
    assert "pair 2 of 6, B (b) failed twice" in str(done.exception)
    assert "no verdict: output throughput +0.0% in 1 pair" in done.stdout


def test_an_interrupted_comparison_shows_what_was_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    done = comparing(monkeypatch, side("a", measured()), side("b", KeyboardInterrupt()))
    assert done.exit_code == 130
    assert "Interrupted after 0 of 6 pairs" in done.stderr
    assert "no verdict: no pair was measured" in done.stdout


def test_a_client_bound_comparison_ends_with_1(monkeypatch: pytest.MonkeyPatch) -> None:
    done = comparing(
        monkeypatch, side("a", measured()), side("b", measured(marks=(Mark.CLIENT_BOUND,))), "--repeats", "1"
    )
    assert done.exit_code == 1
    assert "client bound in 1 of 2 measurements" in done.stdout


@pytest.mark.parametrize("command", ["bench", "compare"])
def test_ctrl_c_ends_it_at_once_and_leaves_no_process(command: str, server: str, tmp_path: Path) -> None:
    urls = [server] if command == "bench" else [server, server]
    output = tmp_path / "output"
    with output.open("w") as file:
        started = subprocess.Popen(
            [sys.executable, "-m", "tuner", command, *urls, "--users", "4", "--warmup", "60"], stdout=file, stderr=file
        )
        wait_for(lambda: "warm-up" in output.read_text())
        children = psutil.Process(started.pid).children(recursive=True)
        started.send_signal(signal.SIGINT)
        assert started.wait(30) == 130
    assert not psutil.wait_procs(children, timeout=10)[1]
    said = output.read_text()
    assert "Interrupted" in said
    assert "Traceback" not in said
