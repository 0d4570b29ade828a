"""Traces and datasets in the forms that are published, read whole or with a word about what is not used."""

import bz2
import gzip
import json
import lzma
from pathlib import Path

import pytest
from commands import tuner
from data_files import trace_file
from other_server import OtherServer, whole

from tuner.errors import UsageError
from tuner.workload.dataset import inspect_dataset
from tuner.workload.entry import Sample, sample
from tuner.workload.trace import inspect_trace, read_trace

TRACE = """{"chat_id": 7, "timestamp": 0.5, "input_length": 12, "output_length": 3, "hash_ids": [4, 5]}
{"chat_id": 8, "timestamp": 0.7, "input_length": 20, "output_length": 0, "hash_ids": [4, 6]}
{"chat_id": 9, "timestamp": 0.9, "input_length": 0, "output_length": 6, "hash_ids": []}
{"chat_id": 9, "timestamp": 1.5, "input_length": 14, "output_length": 8, "hash_ids": [4, 7]}
"""
WORKLOAD = (
    "api: chat\nusers: 2\ndataset: {}\nwarmup_s: 0.2\nwindow_s: 0.5\nmax_window_s: 1\nprecision: 0.9\nstall_s: 3\n"
)


def _write(folder: Path, name: str, data: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


def test_rows_that_ask_for_nothing_are_left_out_with_their_number(tmp_path: Path) -> None:
    file, summary = inspect_trace(_write(tmp_path, "t.jsonl", TRACE))
    assert summary.rows == 2
    assert [(a.offset_s, a.input_tokens, a.output_tokens) for a in read_trace(file)] == [(0.0, 12, 3), (1.0, 14, 8)]
    left_out, shared = file.notes
    assert left_out == "2 of its 4 rows are left out: they ask for no answer, or have no prompt"
    assert shared.startswith("its hash_ids say which prompts share a prefix, and the load's prompts share none")


def test_what_is_left_out_is_said_by_every_command_that_uses_it(tmp_path: Path) -> None:
    _write(tmp_path, "t.jsonl", TRACE)
    _write(tmp_path, "w.yaml", "api: chat\ntrace: t.jsonl\nwarmup_s: 0\nstall_s: 3\n")
    shown = tuner(tmp_path, "workload", "show", "w.yaml")
    assert "# trace t.jsonl: 2 of its 4 rows are left out" in shown.stdout
    with OtherServer(lambda number, body: whole(body["max_tokens"])) as server:
        done = tuner(tmp_path, "bench", server.url, "--workload", "w.yaml")
        assert done.returncode in (0, 1), done.stderr  # 1: a busy machine was the limit of so short a load
        assert "Error" not in done.stderr
    assert "trace t.jsonl: 2 of its 4 rows are left out" in done.stdout
    assert "trace t.jsonl: its hash_ids say" in done.stdout


def test_a_trace_of_which_nothing_is_left_is_refused(tmp_path: Path) -> None:
    rows = "Timestamp,Request tokens,Response tokens\n5,472,0\n9,10,0\n"
    with pytest.raises(UsageError, match=r"t\.csv:1: no row of the trace asks for an answer"):
        trace_file(_write(tmp_path, "t.csv", rows))


@pytest.mark.parametrize(
    "head",
    [
        "arrived_at,num_prefill_tokens,num_decode_tokens",
        "Timestamp,Request_Tokens,Response_Tokens",
        "timestamp,contexttokens,generatedtokens",
        "arrival_timestamp,prompt_len,output_len",
        "timestamp,ISL,OSL",
    ],
)
def test_columns_have_many_names(tmp_path: Path, head: str) -> None:
    (arrival,) = read_trace(trace_file(_write(tmp_path, "t.csv", f"{head}\n1.5,20,30\n")))
    assert (arrival.input_tokens, arrival.output_tokens) == (20, 30)


@pytest.mark.parametrize(
    ("suffix", "pack"), [(".gz", gzip.compress), (".bz2", bz2.compress), (".xz", lzma.compress), ("", gzip.compress)]
)
def test_compressed_files_are_read_as_what_is_in_them(tmp_path: Path, suffix: str, pack: object) -> None:
    assert callable(pack)
    trace = _write(tmp_path, f"t.jsonl{suffix}", pack(TRACE.encode()))
    assert inspect_trace(trace)[1].rows == 2
    assert inspect_trace(trace)[0].digest == inspect_trace(_write(tmp_path, "plain.jsonl", TRACE))[0].digest
    texts = _write(tmp_path, f"d.json{suffix}", pack(b'[{"prompt": "ba", "output": "do"}]'))
    assert inspect_dataset(texts)[1] == (Sample(prompt="ba", answer="do"),)


@pytest.mark.parametrize("cut", [20, -4])
def test_a_compressed_file_that_is_cut_is_one_sentence(tmp_path: Path, cut: int) -> None:
    path = _write(tmp_path, "t.jsonl.gz", gzip.compress(TRACE.encode())[:cut])
    with pytest.raises(UsageError, match=r"t\.jsonl\.gz cannot be read: what is compressed in it is cut or broken"):
        trace_file(path)


def test_of_a_bomb_only_as_much_is_unpacked_as_is_read(tmp_path: Path) -> None:
    path = _write(tmp_path, "t.csv.gz", gzip.compress(b"\0" * (64 << 20)))
    with pytest.raises(UsageError, match="this is binary data"):
        trace_file(path)


FORMS: dict[str, tuple[object, Sample]] = {
    "ShareGPT with a system": (
        {"conversations": [{"from": f, "value": v} for f, v in (("system", "S"), ("human", "Q"), ("gpt", "A"))]},
        Sample(prompt="Q", answer="A", system="S"),
    ),
    "conversations in OpenAI's words": (
        {"conversations": [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}]},
        Sample(prompt="Q", answer="A"),
    ),
    "conversation": (
        {"conversation": [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}], "turn": 1},
        Sample(prompt="Q", answer="A"),
    ),
    "messages in ShareGPT's words": (
        {"messages": [{"from": "human", "value": "Q"}, {"from": "gpt", "value": "A"}]},
        Sample(prompt="Q", answer="A"),
    ),
    "parts": (
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "Q"}, {"type": "text", "text": "!"}]}]},
        Sample(prompt="Q!", answer=None),
    ),
    "developer": (
        {"messages": [{"role": "developer", "content": "S"}, {"role": "user", "content": "Q"}]},
        Sample(prompt="Q", answer=None, system="S"),
    ),
    "batch file": (
        {"custom_id": "1", "body": {"messages": [{"role": "user", "content": "Q"}], "max_tokens": 9}},
        Sample(prompt="Q", answer=None, output_tokens=9),
    ),
    "texts by turns": ({"conversation": ["Q", "A", "Q2"]}, Sample(prompt="Q", answer="A")),
    "TRL": (
        {"prompt": [{"role": "user", "content": "Q"}], "completion": [{"role": "assistant", "content": "A"}]},
        Sample(prompt="Q", answer="A"),
    ),
    "output_tokens": ({"prompt": "Q", "output_tokens": 12}, Sample(prompt="Q", answer=None, output_tokens=12)),
    "GuideLLM": (
        {"prompt": "Q", "prompt_tokens_count": 4, "output_tokens_count": 12},
        Sample(prompt="Q", answer=None, output_tokens=12),
    ),
    "question": ({"question": "Q", "answer": "A"}, Sample(prompt="Q", answer="A")),
    "response": ({"prompt": "Q", "response": "A"}, Sample(prompt="Q", answer="A")),
    "Alpaca": ({"instruction": "Q", "input": "I", "output": "A"}, Sample(prompt="Q\n\nI", answer="A")),
    "Alpaca without input": ({"instruction": "Q", "input": "", "output": "A"}, Sample(prompt="Q", answer="A")),
    "Dolly": ({"instruction": "Q", "context": "C", "response": "A"}, Sample(prompt="Q\n\nC", answer="A")),
    "system_prompt": (
        {"system_prompt": "S", "question": "Q", "response": "A"},
        Sample(prompt="Q", answer="A", system="S"),
    ),
    "MT-Bench": ({"question_id": 81, "turns": ["Q", "Q2"]}, Sample(prompt="Q", answer=None)),
    "preferences": (
        {"prompt": "Q", "chosen": [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}]},
        Sample(prompt="Q", answer="A"),
    ),
    "a number that is none": ({"prompt": "Q", "output": "A", "output_tokens": 0}, Sample(prompt="Q", answer="A")),
}


@pytest.mark.parametrize(("entry", "found"), FORMS.values(), ids=FORMS)
def test_every_form_of_a_dataset_is_read(entry: dict[str, object], found: Sample) -> None:
    assert sample(entry) == found


def test_entries_that_cannot_be_sent_are_left_out_with_their_number(tmp_path: Path) -> None:
    image = {"role": "user", "content": [{"type": "text", "text": "Q"}, {"type": "image_url", "image_url": {}}]}
    entries = [{"messages": [image]}, {"prompt": "Q", "output": "A"}, {"conversations": None}]
    path = _write(tmp_path, "d.jsonl", "".join(f"{json.dumps(entry)}\n" for entry in entries))
    file, samples = inspect_dataset(path)
    assert len(samples) == 1
    assert file.notes == ("2 of the 3 entries are left out: they have no user's text",)


@pytest.mark.parametrize(
    ("entries", "asked"),
    [
        ('{"prompt": "ba do", "output_tokens": 12}\n{"prompt": "me", "output_tokens": 7}\n', {12, 7}),
        (f'{{"prompt": "ba", "response": "{"a" * 40}"}}\n{{"question": "me", "answer": "{"a" * 20}"}}\n', {10, 5}),
        (
            '{"messages": [{"role": "system", "content": "S"}, {"role": "user", "content": "Q"}], "max_tokens": 6}\n',
            {6},
        ),
    ],
    ids=["output_tokens", "answers", "system"],
)
def test_a_dataset_says_how_long_its_answers_are(tmp_path: Path, entries: str, asked: set[int]) -> None:
    _write(tmp_path, "d.jsonl", entries)
    _write(tmp_path, "w.yaml", WORKLOAD.format("d.jsonl"))
    with OtherServer(lambda number, body: whole(body["max_tokens"])) as server:
        done = tuner(tmp_path, "bench", server.url, "--workload", "w.yaml")
    assert done.returncode == 0, done.stderr
    later = server.asked[4:]  # the first ones are under way, and shorter
    assert {body["max_tokens"] for body in later} <= asked
    if "system" in entries:
        assert {json.dumps(body["messages"][0]) for body in later} == {'{"role": "system", "content": "S"}'}
