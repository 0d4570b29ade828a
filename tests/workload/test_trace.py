import dataclasses
import itertools
import json
import os
from pathlib import Path

import pytest
from data_files import trace_file

from tuner.errors import UsageError
from tuner.types import Lengths
from tuner.workload.trace import COLUMNS, MAX_BYTES, MAX_ROWS, inspect_trace, read_trace

HEAD = "timestamp,input_length,output_length\n"
# As their authors publish them; the numbers are made up.
MOONCAKE = '{"timestamp": 0, "input_length": 6758, "output_length": 500, "hash_ids": [0, 1]}\n' * 2
AZURE = """TIMESTAMP,ContextTokens,GeneratedTokens
2023-11-16 18:15:46.6805900,374,44
2023-11-16 18:15:50.9951690,396,109
"""
AZURE_2024 = AZURE.replace(".6805900", ".680590+00:00").replace(".9951690", ".995169+00:00")
BURST_GPT = """Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type
5,ChatGPT,472,18,490,Conversation log
45.5,GPT-4,1087,230,1317,API log
"""


def _file(folder: Path, text: str | bytes, name: str = "trace.csv") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def _said(path: Path, **how: float) -> str:
    with pytest.raises(UsageError) as error:
        trace_file(path, **how)
    said = str(error.value)
    assert said.startswith(str(path))
    assert "\n" not in said
    return said.removeprefix(str(path))


@pytest.mark.parametrize(
    ("text", "name", "offsets_s", "tokens"),
    [
        (MOONCAKE, "mooncake.jsonl", [0.0, 0.0], [(6758, 500), (6758, 500)]),
        (AZURE, "azure.csv", [0.0, 4.314579], [(374, 44), (396, 109)]),
        (AZURE_2024, "azure.csv", [0.0, 4.314579], [(374, 44), (396, 109)]),
        (BURST_GPT, "burst.csv", [0.0, 40.5], [(472, 18), (1087, 230)]),
        ("\ufeff" + BURST_GPT.replace("\n", "\r\n"), "excel.csv", [0.0, 40.5], [(472, 18), (1087, 230)]),
        (HEAD.replace(",", " , ") + "\n1,2.0,3\n\n", "blanks.CSV", [0.0], [(2, 3)]),
    ],
)
def test_published_traces(
    tmp_path: Path, text: str, name: str, offsets_s: list[float], tokens: list[tuple[int, int]]
) -> None:
    arrivals = list(read_trace(trace_file(_file(tmp_path, text, name))))
    assert [arrival.offset_s for arrival in arrivals] == pytest.approx(offsets_s, abs=1e-6)
    assert [(arrival.input_tokens, arrival.output_tokens) for arrival in arrivals] == tokens


@pytest.mark.parametrize(
    "names", [*itertools.zip_longest(*COLUMNS.values(), fillvalue=None)], ids=lambda names: str(names[1])
)
def test_every_name_of_a_column_is_known(tmp_path: Path, names: tuple[str | None, ...]) -> None:
    time, inputs, outputs = (name or known[0] for name, known in zip(names, COLUMNS.values(), strict=True))
    path = _file(tmp_path, json.dumps({time: 1, inputs: 2, outputs: 3}) + "\n", "trace.jsonl")
    assert [(arrival.input_tokens, arrival.output_tokens) for arrival in read_trace(trace_file(path))] == [(2, 3)]


def test_the_summary_says_what_is_replayed(tmp_path: Path) -> None:
    path = _file(tmp_path, HEAD + "100,5,9\n400,7,8\n1100,6,30\n")
    file, summary = inspect_trace(path, unit_s=0.001, speedup=0.5)
    assert (summary.rows, summary.span_s) == (3, 2.0)
    assert (summary.input_tokens, summary.output_tokens) == (Lengths(low=5, high=7), Lengths(low=8, high=30))
    assert (file.path, file.unit_s, file.speedup) == (path, 0.001, 0.5)


def test_the_digest_is_of_the_arrivals(tmp_path: Path) -> None:
    csv = trace_file(_file(tmp_path, HEAD + "1,2,3\n2,3,4\n"))
    jsonl = trace_file(
        _file(
            tmp_path,
            "".join(
                json.dumps({"arrival_time": n, "prompt_tokens": n + 1, "completion_tokens": n + 2}) + "\n"
                for n in (1, 2)
            ),
            "same.jsonl",
        )
    )
    other = trace_file(_file(tmp_path, HEAD + "1,2,3\n2,3,5\n", "other.csv"))
    assert csv.digest == jsonl.digest != other.digest


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("time,input_length,output_length\n", ":1: there is no column for the time: call it timestamp, arrival_time, "),
        ("timestamp,input_length\n1,2\n", ":1: there is no column for the output tokens: call it output_length, "),
        (HEAD + "1,2,3\n2,many,3\n", ":3: the input tokens are 'many', which is not a whole number"),
        (HEAD + "1,2,3.5\n", ":2: the output tokens are '3.5', which is not a whole number"),
        (HEAD + "1,2\n", ":2: the output tokens are missing, "),
        (HEAD + "1,nan,2\n", ":2: the input tokens are 'nan', "),
        (HEAD + "soon,2,3\n", ":2: the time 'soon' is neither a number nor an ISO date and time"),
        (HEAD + "inf,2,3\n", ":2: the time 'inf' is neither"),
        (HEAD + "-1,2,3\n", ":2: the time '-1' is negative"),
        (HEAD + "5,2,3\n\n4,2,3\n", ":4: the time '4' is before that of the row above: sort the rows by time"),
        (HEAD + "1,0,3\n2,3,0\n", ":1: no row of the trace asks for an answer"),
        (HEAD + "1,3,1e300\n", ":2: the output tokens are '1e300', and 10,000,000 are the most"),
        (HEAD + "1,3,-7\n", ":2: the output tokens are '-7': below 0"),
        (
            HEAD + "0,2,3\n601,2,3\n",
            ":3: nothing arrives for 601 s before this row, and 600 s are the most: give a higher",
        ),
        (HEAD, ":1: the trace has no rows"),
        ("", ":1: the file is empty"),
        ("\n", ":1: there is no column for the time"),
        (HEAD.encode() + b"1,2,\xff\n", ":2: this is not UTF-8 text: "),
        (b"\x1f\x8b\x08\x00\x00", " cannot be read: what is compressed in it is cut or broken"),
        (b"\x03\x04\0\0", ":1: this is binary data"),
        (b"\x28\xb5\x2f\xfd\x04", " is compressed with zstd: unpack it"),
        (HEAD + "1,2,3" + " " * (1 << 20) + "\n", ":2: the line is longer than 1 MiB"),
        (HEAD + "1,2," + "3" * 200_000 + "\n", ":2: this is not valid CSV: "),
        (HEAD + '"1,2,3\n' + "4,5,6\n" * 50_000, " is not valid CSV: "),
    ],
    ids=lambda value: value[-30:] if isinstance(value, str) else "bytes",
)
def test_a_bad_csv_is_one_sentence_with_its_line(tmp_path: Path, text: str | bytes, says: str) -> None:
    assert says in _said(_file(tmp_path, text))


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ('{"timestamp": 1, "input_length": 5}', ":2: there is no column for the output tokens"),
        ('{"timestamp": 1, "input_length": 5, "output_length": true}', ":2: the output tokens are True, "),
        ('{"timestamp": NaN, "input_length": 5, "output_length": 5}', ":2: the time nan is neither"),
        ('{"timestamp": null, "input_length": 5, "output_length": 5}', ":2: the time missing"),
        (
            '{"timestamp": 1, "output_length": 5, "input_length": 1' + 400 * "0" + "}",
            ":2: the input tokens are 1000000",
        ),
        ('{"timestamp": 1', ":2: this is not valid JSON: "),
        ('{"timestamp": 1, "timestamp": 2}', ":2: this is not valid JSON: the key 'timestamp' is there twice"),
        ("[" * 100_000, ":2: this is not valid JSON: "),
        ("1" * 5000, ":2: this is not valid JSON: "),
        ("[1, 2]", ":2: expected a JSON object, found [1, 2]"),
    ],
    ids=lambda value: value[:40],
)
def test_a_bad_jsonl_is_one_sentence_with_its_line(tmp_path: Path, row: str, says: str) -> None:
    assert says in _said(_file(tmp_path, "\n" + row + "\n", "trace.jsonl"))


def test_a_later_row_without_a_column_is_said(tmp_path: Path) -> None:
    path = _file(tmp_path, MOONCAKE + '{"timestamp": 1, "input_length": 5}\n', "trace.jsonl")
    assert ":3: the output tokens are missing" in _said(path)


def test_a_gap_is_judged_as_it_is_replayed(tmp_path: Path) -> None:
    path = _file(tmp_path, HEAD + "0,2,3\n5000,2,3\n")
    assert "5,000 s" in _said(path)
    assert inspect_trace(path, unit_s=0.001)[1].span_s == 5.0
    assert inspect_trace(path, speedup=10.0)[1].span_s == 500.0
    assert "500,000 s" in _said(path, speedup=0.01)


def test_what_is_no_file_is_said(tmp_path: Path) -> None:
    assert _said(tmp_path) == " is a directory: give the path of a file"
    assert _said(tmp_path / "absent.csv") == " cannot be read: No such file or directory"
    os.mkfifo(tmp_path / "pipe.csv")  # opening it would wait for a writer for ever
    assert "is not a regular file" in _said(tmp_path / "pipe.csv")
    assert "cannot be read: " in _said(Path("a\0b.csv"))
    assert (
        _said(_file(tmp_path, HEAD, "trace.txt"))
        == ": a trace is a .jsonl or a .csv file, or one of them as .gz, .bz2 or .xz"
    )


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read anything")
def test_an_unreadable_file_is_said(tmp_path: Path) -> None:
    path = _file(tmp_path, HEAD)
    path.chmod(0)
    assert _said(path) == " cannot be read: Permission denied"


def test_of_a_gigabyte_only_the_first_rows_are_read(tmp_path: Path) -> None:
    """What stands below them is a hole of a gigabyte: it would be refused as binary, were it read."""
    path = _file(tmp_path, HEAD + "".join(f"{n / 100},2,3\n" for n in range(MAX_ROWS)))
    os.truncate(path, 1 << 30)
    file, summary = inspect_trace(path)
    assert (summary.rows, summary.span_s) == (MAX_ROWS, (MAX_ROWS - 1) / 100)
    assert sum(1 for _ in read_trace(file)) == MAX_ROWS


def test_a_gigabyte_of_long_rows_is_read_in_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert MAX_BYTES < 1 << 30
    monkeypatch.setattr("tuner.workload.trace.MAX_BYTES", 10_000)
    row = json.dumps({"timestamp": 1, "input_length": 5, "output_length": 6, "text": "x" * 940}) + "\n"
    path = _file(tmp_path, row * 10, "trace.jsonl")
    os.truncate(path, 1 << 30)
    assert inspect_trace(path)[1].rows == 10
    assert ":1: " in _said(_file(tmp_path, "\n" * 20_000, "blank.jsonl"))


def test_a_gigabyte_of_zeros_and_of_one_line_end_at_their_first_line(tmp_path: Path) -> None:
    for start, says in (
        (b"", ":1: this is binary data, not text"),
        (b"1" * (2 << 20), ":1: the line is longer than 1 MiB"),
    ):
        path = _file(tmp_path, start)
        os.truncate(path, 1 << 30)
        assert says in _said(path)


def test_a_trace_is_read_as_it_is_asked_for(tmp_path: Path) -> None:
    path = _file(tmp_path, HEAD + "1,2,3\n2,3,4\n")
    file = trace_file(path)
    _file(tmp_path, HEAD + "1,2,3\nbroken\n")
    arrivals = read_trace(dataclasses.replace(file, speedup=2.0))
    assert next(arrivals).input_tokens == 2
    with pytest.raises(UsageError, match=":3: the time 'broken'"):
        next(arrivals)
