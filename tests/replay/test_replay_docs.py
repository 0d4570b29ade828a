"""What docs/replay.md says: its example is read and answers, and its lists and numbers are those of the code."""

import re
from pathlib import Path

from conftest import REPOSITORY

from tuner.replay.file import DURATION_S, MAX_BYTES, MAX_LINES, STARTUP_S, Header, _Line
from tuner.replay.metrics import measured_of
from tuner.replay.points import NEIGHBOURS, POWER
from tuner.replay.surface import ReplayEngine, open_surface
from tuner.space.files import load_space
from tuner.types import Failed, FailureKind, Mark, Measured, present

TEXT = (REPOSITORY / "docs" / "replay.md").read_text()
PARAGRAPHS = [" ".join(paragraph.split()) for paragraph in TEXT.split("\n\n")]


def paragraph(start: str) -> str:
    (found,) = [text for text in PARAGRAPHS if text.startswith(start)]
    return found


def test_the_example_is_a_surface_of_the_space_that_the_command_names(tmp_path: Path) -> None:
    (example,) = re.findall(r"```jsonl\n(.*?)```", TEXT, re.DOTALL)
    (command,) = re.findall(r"^\$ (.+)$", TEXT, re.MULTILINE)
    assert "--surface surface.jsonl --gpu cpu" in command
    path = tmp_path / "surface.jsonl"
    path.write_text(example)
    surface = open_surface(path)
    space = surface.searched(load_space("cpu"))
    assert surface.describe() == f"REPLAYED from {path}: 3 points, nearest point"
    with ReplayEngine(surface, space) as engine:
        resolved = engine.resolve(("demo", "--max-num-seqs", "16"))
    assert not isinstance(resolved, Failed)
    assert (resolved.settings["max_num_seqs"], resolved.settings["max_num_batched_tokens"]) == (16, 2048)
    defaults, fewer, larger = (
        surface.within(space).answer(params, "")
        for params in ({}, {"max_num_seqs": 16}, {"max_num_batched_tokens": 4096, "stream_interval": 8})
    )
    assert isinstance(defaults.outcome, Measured)
    assert isinstance(fewer.outcome, Measured)
    assert present(defaults.outcome.load.output_throughput) > present(fewer.outcome.load.output_throughput)
    assert (defaults.took_s, fewer.took_s, larger.took_s) == (73.0, STARTUP_S + DURATION_S, 31.0)
    assert fewer.outcome.marks == (Mark.IMPRECISE,)
    assert isinstance(larger.outcome, Failed)


def test_every_key_is_explained() -> None:
    assert re.findall(r"^\| `(\w+)` \|", TEXT, re.MULTILINE) == list(_Line.model_fields)
    keys = re.findall(r"`(\w+)`", paragraph("The first line's `surface`"))
    assert set(keys) == {"surface", *Header.model_fields}


def test_each_metric_that_is_named_may_stand_alone() -> None:
    text = paragraph("A measurement needs")
    words = re.findall(r"`(\w+)`", text)
    statistics = [word for word in words if word == "mean" or word == "std" or re.fullmatch(r"p\d+", word)]
    latencies = [word for word in words if word in ("ttft", "tpot", "itl", "e2el")]
    assert (len(statistics), len(latencies)) == (6, 4)
    named = [word for word in words if word not in (*statistics, *latencies, "client_cpu")]
    for name in [*named, *(f"{latency}_{statistic}_s" for latency in latencies for statistic in statistics)]:
        assert measured_of({name: 2.0}).metrics() == {name: 2.0}


def test_the_kinds_of_failures_are_those_of_the_settings() -> None:
    kinds = re.findall(r"`([^`]+)`", paragraph("The kinds of a failure").split(".")[0])
    assert kinds == [kind.value for kind in FailureKind if kind.is_of_the_settings]


def test_the_numbers_are_those_of_the_code() -> None:
    assert f"{MAX_LINES:,} lines and {MAX_BYTES >> 20} MiB" in paragraph("A file has at most")
    assert f"the {NEIGHBOURS} nearest measured points" in paragraph("1. **Exact.**")
    assert POWER == 2
    assert f"{STARTUP_S:g} s and {DURATION_S:g} s" in paragraph("A launch takes")
