"""Ngram speculation on a real vLLM, on texts that repeat themselves: what tuner records, against what vLLM itself counts."""

import asyncio
import json
import re
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import commands
import pytest
from samples import CLIENT
from serving import vllm
from waiting import in_a_calm_moment

from tuner.launch.fork_server import ForkServer
from tuner.launch.vllm import VllmLauncher
from tuner.load.target import find_target
from tuner.measure.server import ServerSampler
from tuner.space.files import load_space
from tuner.study.measurement import measure
from tuner.types import Failed, LoadResult, Mark, Measured, ServerMetrics, Value, present
from tuner.workload.presets import load_workload

pytestmark = [pytest.mark.engine, pytest.mark.timeout(900)]
NGRAM = {"method": "ngram", "num_speculative_tokens": 3, "prompt_lookup_max": 4, "prompt_lookup_min": 1}
LOAD = "api: chat\nusers: 4\noutput_tokens: 48\nwarmup_s: 1\nwindow_s: 5\nmax_window_s: 5\n"
SPACE = """\
gpu: {names: []}
environment: {VLLM_ENABLE_V1_MULTIPROCESSING: "0", OMP_NUM_THREADS: "1"}
fixed:
  enforce_eager: true
  max_model_len: 2048
  kv_cache_memory_bytes: 268435456
  speculative_config.method: ngram
  speculative_config.num_speculative_tokens: 2
  speculative_config.prompt_lookup_max: 4
  speculative_config.prompt_lookup_min: 1
parameters:
  max_num_seqs: {type: int, low: 4, high: 8}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With texts, and a workload of them."""
    folder = tmp_path_factory.mktemp("texts")
    with (folder / "talks.jsonl").open("w") as file:
        for day in range(60):
            who, what = ("Ada", "Ben", "Cleo")[day % 3], ("lamp", "chair", "desk", "shelf")[day // 3 % 4]
            line = f"{who} ordered one {what}. The {what} was sent to {who} on day {day}. "
            file.write(json.dumps({"prompt": line * 4 + f"Repeat what {who} ordered."}) + "\n")
    (folder / "load.yaml").write_text(f"{LOAD}dataset: talks.jsonl\n")
    return folder


@pytest.fixture(scope="module")
def url(engine_python: Path, demo_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    log = tmp_path_factory.mktemp("vllm")
    with vllm(engine_python, demo_model, log, "--speculative-config", json.dumps(NGRAM)) as url:
        yield url


def counted(url: str) -> dict[str, float]:
    """vLLM's own numbers, read by nothing of tuner's."""
    with urllib.request.urlopen(f"{url}/metrics") as answer:
        text = answer.read().decode()
    return {name: float(value) for name, value in re.findall(r"^vllm:(\S+?)\{[^}]*\} (\S+)$", text, re.MULTILINE)}


def ask(url: str, prompt: str) -> None:
    body = {"prompt": prompt, "max_tokens": 64, "temperature": 0, "ignore_eos": True}
    request = urllib.request.Request(
        f"{url}/v1/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    urllib.request.urlopen(request).read()


def test_what_is_recorded_is_what_vllm_counts(url: str, folder: Path) -> None:
    prompts = [json.loads(line)["prompt"] for line in (folder / "talks.jsonl").read_text().splitlines()[:12]]
    nothing = LoadResult(
        records=(), window_start_s=0, window_end_s=1, client=CLIENT, warmup_s=1, stationary=True, shared_tokens=0
    )

    async def run() -> ServerMetrics:
        async with ServerSampler(url) as sampler:
            for prompt in prompts:
                await asyncio.to_thread(ask, url, prompt)
        return sampler.metrics(nothing)

    before = counted(url)
    found = asyncio.run(run())
    after = counted(url)
    drafts, drafted, accepted = (
        after[f"spec_decode_num_{name}_total"] - before[f"spec_decode_num_{name}_total"]
        for name in ("drafts", "draft_tokens", "accepted_tokens")
    )
    assert drafts > 0
    assert (found.drafts, found.draft_tokens, found.accepted_tokens) == (drafts, drafted, accepted)
    assert found.acceptance_length == pytest.approx(1 + accepted / drafts)
    assert found.acceptance_rate == pytest.approx(accepted / drafted)
    assert found.acceptance_rates is not None
    assert sum(found.acceptance_rates) == pytest.approx(accepted / drafts)


@in_a_calm_moment  # vLLM's counters are read a moment before or after the window's ends
def test_a_chunk_of_several_tokens_keeps_the_counts_and_times_true(url: str, folder: Path) -> None:
    workload = load_workload(str(folder / "load.yaml"))

    async def run() -> Measured:
        return await measure(await find_target(url, None, None), workload)

    before = counted(url)
    found = asyncio.run(run())
    after = counted(url)
    assert found.server is not None
    assert found.server.acceptance_length is not None
    assert 1 < found.server.acceptance_length <= 4
    assert found.server.agreement == pytest.approx(1, abs=0.05)
    assert found.load.failed == 0
    assert found.load.answer_share == 1
    assert found.load.chunk_tokens is not None
    assert found.load.chunk_tokens > 1.01
    assert found.load.tpot_s is not None
    assert found.load.itl_s is not None
    assert present(present(found.load.tpot_s).mean) < present(present(found.load.itl_s).mean)
    name = "request_time_per_output_token_seconds"
    theirs = (after[f"{name}_sum"] - before[f"{name}_sum"]) / (after[f"{name}_count"] - before[f"{name}_count"])
    assert theirs / 2 < present(present(found.load.tpot_s).mean) < theirs * 3  # a busy machine reads late
    assert Mark.RANDOM_TEXT not in found.marks


def test_a_trial_has_its_acceptance_and_a_cache_of_its_own(engine_python: Path, demo_model: Path, folder: Path) -> None:
    (folder / "mine.yaml").write_text(SPACE)
    common = ("--space", "mine.yaml", "--model", str(demo_model), "--vllm-python", str(engine_python))
    said = commands.tuner(
        folder,
        *("optimize", *common, "--workload", "load.yaml", "--trials", "1", "--verify", "0", "--study", "a"),
        *("--cache-dir", "cache", "--storage", "sqlite:///x.db", "--start", "plain"),
    )
    assert said.returncode == 0, said.stderr
    shown = commands.tuner(folder, "show", "a", "0", "--json", "-", "--storage", "sqlite:///x.db")
    trial = json.loads(shown.stdout)
    assert 1 < trial["metrics"]["server_acceptance_length"] <= 3
    assert 0 < trial["metrics"]["server_acceptance_rate_2"] <= trial["metrics"]["server_acceptance_rate_1"] <= 1
    assert trial["resolved"]["speculative_config.num_speculative_tokens"] == 2
    assert list((folder / "cache").glob("*/vllm/speculative-2"))
    exported = commands.tuner(folder, "export", "a", "--trial", "0", "--storage", "sqlite:///x.db").stdout
    assert "--speculative-config.num_speculative_tokens 2" in exported
    assert "synthetic" not in exported


def test_vllm_itself_takes_what_is_passed_and_what_is_replayed(engine_python: Path, demo_model: Path) -> None:
    draft = VllmLauncher(
        python=engine_python,
        model=str(demo_model),
        fixed={"enforce_eager": True, "max_model_len": 512, "kv_cache_memory_bytes": 1 << 28},
        acceptance=(0.8, 0.6, 0.4),
    )
    config = "speculative_config"
    with ForkServer(engine_python, load_space("cpu").environment) as engine:
        for launcher, key, value in (
            (draft, "synthetic_acceptance_rates", "[0.8, 0.6]"),
            (replace(draft, acceptance=2.5), "synthetic_acceptance_rates", "[1.0, 0.5]"),  # as vLLM makes of a length
            (replace(draft, acceptance=None), "rejection_sample_method", "standard"),
        ):
            point: dict[str, Value] = {f"{config}.method": "draft_model", f"{config}.model": str(demo_model)}
            command = launcher.command({**point, f"{config}.num_speculative_tokens": 2})
            arguments = (*command.argv[command.argv.index("serve") + 1 :], *launcher.replayed(command))
            resolved = engine.resolve(arguments)
            assert not isinstance(resolved, Failed), resolved.message
            assert (resolved.settings[f"{config}.model"], resolved.settings[f"{config}.{key}"]) == (
                str(demo_model),
                value,
            )
        point = {f"{config}.method": "ngram", f"{config}.num_speculative_tokens": 2}
        found = engine.resolve(draft.arguments({**point, f"{config}.prompt_lookup_max": 3}))
        assert not isinstance(found, Failed)
        assert (found.settings[f"{config}.method"], found.settings["async_scheduling"]) == ("ngram", False)
        off = engine.resolve(draft.arguments({f"{config}.method": "none"}))
        assert not isinstance(off, Failed)
        assert not [name for name in off.settings if name.startswith(config)]
