"""A file of recorded measurements: what is read of it, and the sentence for each thing that can be wrong with it."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from record_samples import MEASURED
from replay_samples import SPACE, failure, header, line, metrics, written
from samples import measured

from tuner.errors import UsageError
from tuner.replay import file as surface_file
from tuner.replay.file import DURATION_S, STARTUP_S, read_surface
from tuner.replay.metrics import measured_of
from tuner.replay.surface import ReplayEngine, open_surface
from tuner.space.parameters import Int
from tuner.types import Failed, FailureKind, GpuMetrics, Mark, Measured, Params, ServerMetrics

GPU = GpuMetrics(gpus=(), samples=200, utilization=0.9, memory_used_bytes=15_000_000_000, power_w=None, sm_activity=0.5)
SPECULATED = ServerMetrics(
    prompt_tokens=1000.0,
    generation_tokens=500.0,
    preemptions=0.0,
    prefix_cache_queries=0.0,
    prefix_cache_hits=0.0,
    kv_cache_usage_mean=0.5,
    kv_cache_usage_max=0.75,
    running_mean=8.0,
    waiting_mean=1.0,
    agreement=1.0,
    drafts=100.0,
    draft_tokens=200.0,
    accepted_tokens=90.0,
    acceptance_length=1.9,
    acceptance_rate=0.45,
    acceptance_rates=(0.625, 0.275),
)


@pytest.mark.parametrize(
    "whole",
    [
        replace(measured(marks=(Mark.UNSTEADY, Mark.IMPRECISE)), gpu=GPU, kv_cache_tokens=12345),
        replace(MEASURED, gpu=replace(GPU, tensor_activity=0.25, energy_j=1.0)),
        replace(measured(), server=SPECULATED, gpu=None),
        replace(measured(), server=None, client=None, startup_s=None, warmup_s=None, server_cpu_cores=None),
    ],
)
def test_a_measurement_comes_back_from_its_numbers(whole: Measured) -> None:
    """All but what has no number: the distributions' counts, and how the server was started."""
    found = measured_of(whole.metrics(), whole.marks)
    assert found.metrics() == whole.metrics()
    assert found.marks == whole.marks
    assert (found.server, found.gpu, found.client) == (whole.server, whole.gpu, whole.client)
    assert isinstance(found.load.completed, int)


def test_a_line_is_a_launch_with_the_seconds_that_it_took(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        header(gpu="Tesla T4", source="our lab"),
        line(
            1.0,
            startup_s=50.0,
            duration_s=30.0,
            kv_cache_tokens=4096,
            marks=["unsteady"],
            about={"half": "test", "log": [1]},
        ),
        {
            "params": {},
            "metrics": {name: v for name, v in metrics(output_throughput=2.0).items() if name != "startup_s"},
        },
        line(3.0),  # its metrics say 30 s
        failure({"max_num_seqs": 1}, duration_s=5.0),
        failure({"max_num_seqs": 2}, kind="rejected"),
    )
    found = read_surface(path)
    assert (found.header.gpu, found.header.source) == ("Tesla T4", "our lab")
    assert [recording.line for recording in found.recordings] == [2, 3, 4, 5, 6]
    assert [r.took_s for r in found.recordings] == [80.0, STARTUP_S + DURATION_S, 30 + DURATION_S, STARTUP_S + 5, 0.0]
    first = found.recordings[0].outcome
    assert isinstance(first, Measured)
    assert (first.startup_s, first.kv_cache_tokens, first.marks) == (50.0, 4096, (Mark.UNSTEADY,))
    assert found.recordings[3].outcome == Failed(kind=FailureKind.OUT_OF_MEMORY, message="it did not fit")


def test_blank_lines_and_a_missing_newline_do_not_matter(tmp_path: Path) -> None:
    path = tmp_path / "surface.jsonl"
    path.write_text("\n" + json.dumps(header()) + "\n\n" + json.dumps(line()))
    assert [recording.line for recording in read_surface(path).recordings] == [4]


def with_throughput(value: float) -> dict[str, Any]:
    return {"params": {}, "metrics": metrics(output_throughput=value)}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", ":1: the file is empty"),
        ("\n\n", ": no line has `metrics`"),
        (json.dumps(failure({})), ": no line has `metrics`"),
        (json.dumps(header()), ": no line has `metrics`"),
        ('{"params": {}', ":1: this is not valid JSON: Expecting ',' delimiter"),
        (json.dumps(line()) + "\nparams", ":2: this is not valid JSON: Expecting value"),
        ('{"params": {"a": 1, "a": 2}, "metrics": {}}', ":1: this is not valid JSON: the key 'a' is there twice"),
        ("[" * 100_000, ":1: this is not valid JSON: maximum recursion depth exceeded"),
        ("[1, 2]", r":1: expected a JSON object, found \[1, 2\]"),
        ("{}", ":1: params: this key is required"),
        ('{"params": 3, "metrics": {}}', ":1: params: Input should be a valid dictionary"),
        ('{"params": {"max_num_seqs": null}, "metrics": {}}', ":1: params.max_num_seqs: expected a number, a string"),
        (
            '{"params": {"max_num_seqs": NaN}, "metrics": {}}',
            ":1: params.max_num_seqs: expected a number of at most 1e.18, found nan",
        ),
        (json.dumps({"params": {}}), ":1: a line has either `metrics` or `failure`"),
        (json.dumps(line() | failure({})), ":1: a line has either `metrics` or `failure`"),
        (json.dumps(line(startup=3)), ":1: startup: unknown key"),
        (json.dumps(line(duration_s=-1)), ":1: duration_s: expected a number from 0 to 1e"),
        (json.dumps(line(duration_s=1e7)), r":1: duration_s: expected a number from 0 to 1e\+06, found 10000000.0"),
        (json.dumps(line(startup_s=1e18)), r":1: startup_s: expected a number from 0 to 1e\+06, found 1e\+18"),
        (
            json.dumps({"params": {}, "metrics": metrics(startup_s=1e18)}),
            r":1: metrics: startup_s: expected a number from 0 to 1e\+06, found 1e\+18",
        ),
        (
            json.dumps(header(input_tokens=[448, 64])),
            r":1: surface.input_tokens: 448 is above 64: it is \[least, most\]",
        ),
        (
            json.dumps(header(output_tokens=[1, 10**13])),
            ":1: surface.output_tokens.1: Input should be less than or equal",
        ),
        (json.dumps(header(users=10**9)), ":1: surface.users: Input should be less than or equal to 1000000"),
        (json.dumps(header(request_rate=1e-30)), ":1: surface.request_rate: Input should be greater than or equal"),
        (json.dumps(line(is_default="yes")), ":1: is_default: Input should be a valid boolean"),
        (json.dumps(line(marks=["slow"])), ":1: marks.0: Input should be 'client bound'"),
        (
            json.dumps(with_throughput(float("nan"))),
            ":1: metrics.output_throughput: expected a number from 0 .*, found nan",
        ),
        (
            json.dumps(with_throughput(float("inf"))),
            ":1: metrics.output_throughput: expected a number from 0 .*, found inf",
        ),
        (json.dumps(with_throughput(-5.0)), ":1: metrics.output_throughput: expected a number from 0 .*, found -5.0"),
        ('{"params": {}, "metrics": {"failed": 1' + "0" * 400 + "}}", ":1: metrics.failed: expected a number from 0"),
        ('{"params": {}, "metrics": {"failed": "3"}}', ':1: metrics.failed: expected a number, found "3"'),
        ('{"params": {}, "metrics": {"failed": true}}', ":1: metrics.failed: expected a number, found true"),
        (json.dumps({"params": {}, "metrics": {"client_cpu": 1}}), ":1: metrics: client_workers is missing"),
        (json.dumps({"params": {}, "metrics": metrics(speed=1.0)}), ":1: metrics: there is no metric speed"),
        (json.dumps(failure({}, kind="too slow")), ":1: failure.kind: Input should be 'rejected', 'out of memory'"),
        (json.dumps(failure({}, kind="port in use")), ":1: failure: 'port in use' is no fault of the settings"),
        ('{"params": {}, "failure": {"kind": "crashed"}}', ":1: failure.message: this key is required"),
        ('{"surface": {"answer": "mean"}}', ":1: surface.answer: Input should be 'nearest' or 'interpolate'"),
        ('{"surface": {"card": "T4"}}', ":1: surface.card: unknown key"),
        (json.dumps(line()) + "\n" + json.dumps(header()), ":2: the line with `surface` must be the first one"),
        (json.dumps(header()) + "\n" + json.dumps(header()), ":2: the line with `surface` must be the first one"),
    ],
    ids=lambda value: value[:40],
)
def test_what_is_wrong_is_said_in_one_sentence(tmp_path: Path, text: str, why: str) -> None:
    path = tmp_path / "surface.jsonl"
    path.write_text(text)
    with pytest.raises(UsageError, match=why) as caught:
        open_surface(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_files_that_are_none_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file"):
        open_surface(tmp_path / "absent.jsonl")
    with pytest.raises(UsageError, match="is a directory"):
        open_surface(tmp_path)
    (tmp_path / "binary").write_bytes(b"\x00\x01" * 100)
    with pytest.raises(UsageError, match="binary:1: this is binary data, not text"):
        open_surface(tmp_path / "binary")


def test_a_file_of_a_gigabyte_is_refused_at_once(tmp_path: Path) -> None:
    path = tmp_path / "huge.jsonl"
    with path.open("wb") as file:
        file.truncate(1 << 30)  # sparse: it takes no room
    with pytest.raises(UsageError, match=r"huge.jsonl has 1,024 MiB and 128 are the most: leave out some lines"):
        open_surface(path)


def test_too_many_lines_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(surface_file, "MAX_LINES", 3)
    path = written(tmp_path, *[line(), line(), line()])
    assert len(read_surface(path).recordings) == 3
    path = written(tmp_path, *[line(), line(), line(), line()])
    with pytest.raises(UsageError, match=r"surface.jsonl:4: 3 lines are the most: leave out some"):
        open_surface(path)


@pytest.mark.parametrize(
    ("lines", "why"),
    [
        ([header(), line(params={"max_seqs": 3})], ":2: params: max_seqs is not a parameter of search space small"),
        ([header(), line(params={"max_num_seqs": "many"})], ":2: params: max_num_seqs many is not a number"),
        ([header(), line(params={"max_num_seqs": True})], ":2: params: max_num_seqs true is not a number"),
        ([header(), line(params={"max_num_seqs": 8.0})], ":2: params: max_num_seqs 8.0 is not a whole number"),
        ([header(), line(params={"max_num_seqs": 0})], ":2: params: max_num_seqs 0 has no logarithm"),
        ([header(), line(params={"dtype": "float"})], ":2: params: dtype is float and fixed to half in search space"),
        ([line(), line()], ': nothing says what vLLM\'s defaults are: mark their line with `"is_default": true`'),
        ([line(is_default=True)], ":1: params: the defaults need a value for max_num_seqs"),
        ([header(defaults={"max_num_seqs": 3}), line()], ": surface.defaults: the defaults need a value for gpu_mem"),
        ([header(defaults={"typo": 3}), line()], ": surface.defaults: typo is not a parameter"),
        (
            [header(), line(is_default=True, params={"max_num_seqs": 8}), line(is_default=True)],
            ":3: this line is marked `is_default` and has other params than line 2",
        ),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else "",
)
def test_lines_that_are_not_of_the_space_are_refused(tmp_path: Path, lines: list[dict[str, Any]], why: str) -> None:
    path = written(tmp_path, *lines)
    with pytest.raises(UsageError, match=why) as caught:
        ReplayEngine(open_surface(path), SPACE)
    assert str(caught.value).startswith(str(path))


def test_a_fixed_argument_may_be_named_and_an_unset_default_left_out(tmp_path: Path) -> None:
    named: Params = {"max_num_seqs": 8, "gpu_memory_utilization": 0.9, "enforce_eager": False, "dtype": "half"}
    engine = ReplayEngine(open_surface(written(tmp_path, line(is_default=True, params=named))), SPACE)
    resolved = engine.resolve(("some/model",))
    assert not isinstance(resolved, Failed)
    assert (resolved.settings["quantization"], resolved.settings["max_num_seqs"]) == ("none", 8)


def test_the_defaults_need_no_value_for_what_does_not_count_beside_them(tmp_path: Path) -> None:
    """They are not eager here, so they have no largest graph: nobody can say which it would be."""
    space = SPACE.model_copy(
        update={
            "parameters": {
                **SPACE.parameters,
                "max_cudagraph_capture_size": Int(type="int", low=8, high=64, when={"enforce_eager": True}),
            }
        }
    )
    path = written(tmp_path, header(), line(), line(params={"enforce_eager": True, "max_cudagraph_capture_size": 32}))
    points = open_surface(path).within(space)
    assert len(points.points) == 2
    assert points.answer({"enforce_eager": True, "max_cudagraph_capture_size": 32}, "").origin.endswith(
        "of these settings"
    )
