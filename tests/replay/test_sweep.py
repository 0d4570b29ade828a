"""What `vllm bench sweep serve` of vLLM 0.32 has written (sweep_sample/, of a real server on the CPU) is read as it is meant.

The layouts that this sample has not are written here as vllm/benchmarks/sweep/serve.py writes them.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tuner.errors import UsageError
from tuner.replay.file import read_surface
from tuner.replay.launches import Imported, surface_text
from tuner.replay.sweep import read_sweep
from tuner.types import Failed, FailureKind

SAMPLE = Path(__file__).parent / "sweep_sample"
OF_12 = {"max_concurrency": "12"}
FOLDER = "SERVE--max_num_seqs=4-max_num_batched_tokens=512-BENCH--max_concurrency=12-random_output_len=24"


def result(**more: Any) -> dict[str, Any]:
    """As `vllm bench serve --save-result` has it, in its order."""
    about = {"date": "20261129-080808", "backend": "openai", "label": None, "model_id": "demo", "num_prompts": 4}
    load = {"request_rate": "inf", "burstiness": 1.0, "max_concurrency": 2}
    numbers = {"duration": 2.0, "completed": 4, "failed": 0, "output_throughput": 32.0, "p99_ttft_ms": 250.0}
    return {**about, **load, **numbers, **more}


def write(path: Path, value: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=4))
    return path


def sweep_of(folder: Path, *runs: tuple[str, dict[str, Any], dict[str, Any]]) -> Path:
    """A run each: the name of its combination, what the server was given, and what the load was."""
    for name, serve, bench in runs:
        write(folder / name / "run=0.json", {**result(), "run_number": 0, **serve, **bench})
    return folder


def only(found: Imported) -> Any:
    (launch,) = found.launches
    return launch


def test_each_run_of_the_sample_is_a_launch_with_what_the_server_was_given() -> None:
    found = read_sweep(SAMPLE, OF_12)
    counted = [(dict(launch.params), launch.is_measured) for launch in found.launches]
    few = {"max_num_seqs": 4, "max_num_batched_tokens": 512}
    many = {"max_num_seqs": 16, "max_num_batched_tokens": 512}
    chunked = {"max_num_seqs": 16, "max_num_batched_tokens": 2048, "stream_interval": 8}
    assert sorted(counted, key=str) == sorted(
        [
            *[(params, True) for params in (few, many, chunked) for _ in range(2)],  # neither warm-ups nor summaries
            ({"max_num_seqs": 64, "max_num_batched_tokens": 16}, False),
        ],
        key=str,
    )
    assert found.header.model == "demo"
    assert found.header.users == 12


def test_numbers_have_our_names_and_units() -> None:
    raw = json.loads((SAMPLE / FOLDER / "run=1.json").read_text())
    found = read_sweep(SAMPLE / FOLDER / "run=1.json", {})
    told = only(found).outcome
    assert told["output_throughput"] == raw["output_throughput"]
    assert told["window_s"] == raw["duration"]
    assert told["input_tokens"] == raw["total_input_tokens"] == 24 * 48
    for ours, theirs in (
        ("ttft_p99_s", "p99_ttft_ms"),
        ("ttft_p50_s", "median_ttft_ms"),
        ("e2el_std_s", "std_e2el_ms"),
    ):
        assert told[ours] == pytest.approx(raw[theirs] / 1000)
    assert "max_output_tokens_per_s" in found.notes[0]
    assert "goodput" not in told


def test_a_server_that_did_not_start_stays_failed(tmp_path: Path) -> None:
    failed = [launch.outcome for launch in read_sweep(SAMPLE, OF_12).launches if not launch.is_measured]
    assert failed == [
        Failed(kind=FailureKind.CRASHED, message="RuntimeError: Server process crashed with return code 1")
    ]
    late = {
        "error_type": "TimeoutError",
        "error": "not ready within 300 seconds",
        "serve_overrides": {"max_num_seqs": 9},
    }
    sweep_of(tmp_path, ("SERVE--max_num_seqs=4", {"max_num_seqs": 4}, {}))
    write(tmp_path / "SERVE-max_num_seqs=9-failure.json", late)
    kinds = [launch.outcome.kind for launch in read_sweep(tmp_path, {}).launches if isinstance(launch.outcome, Failed)]
    assert kinds == [FailureKind.START_TIMEOUT]


def test_a_run_that_failed_stays_failed_beside_its_repeats(tmp_path: Path) -> None:
    folder = "SERVE--max_num_seqs=4-BENCH--max_concurrency=2"
    sweep_of(tmp_path, (folder, {"max_num_seqs": 4}, {"max_concurrency": 2}))
    failure = {
        "run_number": 1,
        "error_type": "CalledProcessError",
        "error": "exit 1",
        "serve_overrides": {"max_num_seqs": 4},
        "bench_overrides": {"max_concurrency": 2},
    }
    write(tmp_path / folder / "run=1.failure.json", failure)
    found = read_sweep(tmp_path, {})
    assert [launch.is_measured for launch in found.launches] == [True, False] or [
        launch.is_measured for launch in found.launches
    ] == [False, True]
    assert all(launch.params == {"max_num_seqs": 4} for launch in found.launches)


def test_a_run_that_completed_nothing_is_a_failure(tmp_path: Path) -> None:
    sweep_of(tmp_path, ("SERVE--max_num_seqs=4", {"max_num_seqs": 4}, {}))
    none = result(completed=0, failed=4, output_throughput=0.0)
    write(tmp_path / "SERVE--max_num_seqs=8" / "run=0.json", {**none, "run_number": 0, "max_num_seqs": 8})
    outcome = next(launch.outcome for launch in read_sweep(tmp_path, {}).launches if launch.params["max_num_seqs"] == 8)
    assert outcome == Failed(kind=FailureKind.LOAD_FAILED, message="no request was completed")


def test_a_surface_is_of_one_load() -> None:
    with pytest.raises(UsageError, match=r"--load max_concurrency=VALUE, which is 12 or 4 here"):
        read_sweep(SAMPLE, {})
    with pytest.raises(UsageError, match="no run with max_concurrency=9 has a measurement"):
        read_sweep(SAMPLE, {"max_concurrency": "9"})
    with pytest.raises(UsageError, match="--load colour: no run says it"):
        read_sweep(SAMPLE, {"colour": "red"})


def test_a_summary_alone_tells_the_same(tmp_path: Path) -> None:
    shutil.copy(SAMPLE / FOLDER / "summary.json", tmp_path)
    whole = read_sweep(SAMPLE / FOLDER, {})
    # A summary elsewhere has lost the folder's name, which says what was the server's.
    (tmp_path / FOLDER).mkdir()
    shutil.move(tmp_path / "summary.json", tmp_path / FOLDER)
    assert [(launch.params, launch.outcome) for launch in read_sweep(tmp_path, {}).launches] == [
        (launch.params, launch.outcome) for launch in whole.launches
    ]


@pytest.mark.parametrize(
    ("folder", "serve", "bench", "params"),
    [
        ("SERVE--max-num-seqs=4", {"max-num-seqs": 4}, {}, {"max_num_seqs": 4}),
        ("SERVE--few", {"_benchmark_name": "few", "max_num_seqs": 4}, {}, {"max_num_seqs": 4}),
        (
            "SERVE--few-BENCH--long",
            {"_benchmark_name": "long", "max_num_seqs": 4},
            {"random-output-len": 512},
            {"max_num_seqs": 4},
        ),
        (
            "SERVE--compilation_config={'cudagraph_mode': 'FULL', 'pass_config': {'fuse': True}}",
            {"compilation_config": {"cudagraph_mode": "FULL", "pass_config": {"fuse": True}}},
            {},
            {"compilation_config.cudagraph_mode": "FULL", "compilation_config.pass_config.fuse": True},
        ),
        ("SERVE--dtype=half-seed=3-BENCH--seed=3", {"dtype": "half", "seed": 3}, {}, {"dtype": "half", "seed": 3}),
        ("BENCH--random_input_len=9", {}, {"random_input_len": 9}, {}),
        ("SERVE--port=9000-enforce_eager=True", {"port": 9000, "enforce_eager": True}, {}, {"enforce_eager": True}),
        ("SERVE--block_sizes=[1, 2]", {"block_sizes": [1, 2]}, {}, {"block_sizes": "[1, 2]"}),
    ],
)
def test_what_is_the_servers_and_what_the_loads(
    tmp_path: Path, folder: str, serve: dict[str, Any], bench: dict[str, Any], params: dict[str, Any]
) -> None:
    launch = only(read_sweep(sweep_of(tmp_path, (folder, serve, bench)), {}))
    assert launch.params == params


def test_no_secret_of_the_sweep_is_in_the_surface(tmp_path: Path) -> None:
    name, serve = (
        "SERVE--api-key=sk-1-BENCH--header=Authorization=sk-2",
        {"api-key": "sk-1", "a.auth": "sk-3", "max_num_seqs": 4},
    )
    sweep_of(tmp_path, (name, serve, {"header": "Authorization=sk-2"}))
    failure = {
        "error_type": "CalledProcessError",
        "error": "Command '['vllm', 'bench', 'serve', '--header', 'Authorization=sk-2']' returned non-zero exit status 1.",
        "serve_overrides": serve,
        "bench_overrides": {"header": "Authorization=sk-2"},
    }
    write(tmp_path / name / "run=1.failure.json", failure)
    found = read_sweep(tmp_path, {})
    text = surface_text(found) + " ".join(found.notes)
    assert "sk-" not in text
    assert "CalledProcessError: its command returned non-zero exit status 1." in text
    assert "api_key" in found.notes[0]


def test_acceptance_in_percent_becomes_a_share(tmp_path: Path) -> None:
    drafts = {"spec_decode_acceptance_rate": 62.5, "spec_decode_acceptance_length": 2.25, "spec_decode_num_drafts": 40}
    write(tmp_path / "SERVE--a=1" / "run=0.json", {**result(**drafts), "run_number": 0, "a": 1})
    told = only(read_sweep(tmp_path, {})).outcome
    assert (told["server_acceptance_rate"], told["server_acceptance_length"]) == (0.625, 2.25)


def test_the_surface_is_one_that_can_be_read(tmp_path: Path) -> None:
    path = tmp_path / "surface.jsonl"
    path.write_text(surface_text(read_sweep(SAMPLE, OF_12)))
    file = read_surface(path)
    assert [recording.params for recording in file.recordings] == [
        launch.params for launch in read_sweep(SAMPLE, OF_12).launches
    ]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{", "this is not valid JSON"),
        ("[1]", "expected a result of `vllm bench serve`, found 1"),
        ("{}", "this is no result of `vllm bench serve`: it has no output_throughput"),
        ('{"avg_cold_startup_time": 3}', "`vllm bench sweep startup` measures how long a start takes"),
        ("[" * 100_000, "this is not valid JSON"),
        ('{"run_number": 0, "run_number": 1}', "this is not valid JSON: the key 'run_number' is there twice;"),
        (
            '{"output_throughput": 1, "run_number": 0, "max_num_seqs": null}',
            "max_num_seqs is None, and must be a number",
        ),
        ('{"output_throughput": 1, "run_number": 0, "Max Seqs": 3}', "'Max Seqs' is no name of an argument of vLLM"),
        ("\xff", "this is not valid JSON"),
    ],
)
def test_files_that_are_none(tmp_path: Path, text: str, why: str) -> None:
    file = tmp_path / "SERVE--a" / "run=0.json"
    file.parent.mkdir()
    file.write_bytes(text.encode("latin-1"))
    with pytest.raises(UsageError, match=r"run=0\.json: ") as caught:
        read_sweep(tmp_path, {})
    assert why in str(caught.value)
    assert "\n" not in str(caught.value)


def test_folders_that_hold_none(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no result of"):
        read_sweep(tmp_path, {})
    with pytest.raises(UsageError, match="does not exist"):
        read_sweep(tmp_path / "nowhere", {})
    write(tmp_path / "SERVE-a-failure.json", {"error_type": "E", "error": "e", "serve_overrides": {"a": 1}})
    with pytest.raises(UsageError, match="no run has a measurement"):
        read_sweep(tmp_path, {})


def test_numbers_that_are_none_are_left_out_and_said(tmp_path: Path) -> None:
    text = json.dumps({**result(p99_tpot_ms=float("nan"), mean_itl_ms=-1.0), "run_number": 0, "max_num_seqs": 4})
    file = tmp_path / "SERVE--max_num_seqs=4" / "run=0.json"
    file.parent.mkdir()
    file.write_text(text)
    found = read_sweep(tmp_path, {})
    assert {"tpot_p99_s", "itl_mean_s"}.isdisjoint(only(found).outcome)
    assert "tpot_p99_s" in found.notes[0]


@pytest.mark.parametrize(
    "load",
    [
        {"max_concurrency": 10**9},
        {"max_concurrency": "9" * 5000},
        {"request_rate": 1e-30},
        {"request_rate": 1e30},
        {"input_lens": [10**12]},
    ],
)
def test_a_load_that_nobody_has_measured_is_not_said_in_the_header(tmp_path: Path, load: dict[str, Any]) -> None:
    write(tmp_path / "run=0.json", {**result(max_concurrency=None), "duration": 1e9, **load})
    found = read_sweep(tmp_path, {})
    told = found.header
    assert (told.users, told.request_rate, told.input_tokens) == (None, None, None)
    (tmp_path / "surface.jsonl").write_text(surface_text(found))
    read_surface(tmp_path / "surface.jsonl")
