"""A trace file, JSONL or CSV, in; its arrivals out, or one sentence with file and line. Knows nothing of how they are sent.

The columns are those of Mooncake's traces (timestamp, input_length, output_length), of Azure's LLM inference traces (TIMESTAMP,
ContextTokens, GeneratedTokens), of BurstGPT (Timestamp, Request tokens, Response tokens), of Qwen-Bailian and of Vidur, and
the plain words for them. Rows that asked for no answer, or with no prompt, are no requests: they are left out, which the
file's notes say.
"""

import csv
import hashlib
import itertools
import json
import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from tuner.errors import UsageError
from tuner.space.json_text import read_json_text
from tuner.types import DataFile, Lengths
from tuner.workload.lengths import MAX_TOKENS
from tuner.workload.textlines import open_data, read_lines

#: What stands below so many rows is neither validated, digested nor replayed: it is never read.
MAX_ROWS = 200_000
MAX_BYTES = 256 << 20  # likewise, however long the rows are
#: Without an arrival for longer than this a measurement would wait and see nothing.
MAX_GAP_S = 600.0
#: By what they hold: the names that a column may have, in any case, with or without underscores.
COLUMNS = {
    "time": ("timestamp", "arrival_time", "arrived_at", "arrival_timestamp"),
    "input tokens": (
        *("input_length", "input_tokens", "ContextTokens", "Request tokens", "prompt_tokens"),
        *("input_len", "prompt_len", "num_prefill_tokens", "isl"),
    ),
    "output tokens": (
        *("output_length", "output_tokens", "GeneratedTokens", "Response tokens", "completion_tokens"),
        *("output_len", "num_decode_tokens", "osl"),
    ),
}
#: What Mooncake's and Qwen-Bailian's traces say of the blocks that prompts share.
_SHARED = "hash_ids"

#: A row's place "path:line", and the texts or JSON values in it by column.
_Row = tuple[str, Mapping[str, object]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """A request that is due `offset_s` after the load's start. None: the workload's distribution says how long it is."""

    offset_s: float
    input_tokens: int | None
    output_tokens: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceSummary:
    """What is replayed: `rows` arrivals (at most MAX_ROWS) over `span_s` seconds, `speedup` included."""

    rows: int
    span_s: float
    input_tokens: Lengths
    output_tokens: Lengths


def inspect_trace(path: Path, unit_s: float = 1.0, speedup: float = 1.0) -> tuple[DataFile, TraceSummary]:
    """Read the first MAX_ROWS rows (of the first MAX_BYTES): the digest of their arrivals, and what they amount to.

    Raises UsageError "path:line: ..." where the file cannot be read, a row cannot be replayed, times go backwards, or nothing
    arrives for longer than MAX_GAP_S.
    """
    digest = hashlib.sha256()
    input_tokens, output_tokens = set(), set()
    rows, last_s = 0, 0.0
    left_out = _LeftOut()
    for offset_s, inputs, outputs in _replay(path, unit_s, speedup, left_out):
        digest.update(f"{offset_s!r} {inputs} {outputs}\n".encode())
        input_tokens.add(inputs)
        output_tokens.add(outputs)
        rows, last_s = rows + 1, offset_s
    if not rows:
        what = "no row of the trace asks for an answer" if left_out.rows else "the trace has no rows"
        raise UsageError(f"{path}:1: {what}")
    file = DataFile(
        path=path, digest=digest.hexdigest(), unit_s=unit_s, speedup=speedup, notes=left_out.notes(rows + left_out.rows)
    )
    return file, TraceSummary(
        rows=rows, span_s=last_s, input_tokens=_lengths(input_tokens), output_tokens=_lengths(output_tokens)
    )


def read_trace(file: DataFile) -> Iterator[Arrival]:
    """The arrivals in order, row by row as they are asked for. The first one is due at once. Raises UsageError as above."""
    for offset_s, inputs, outputs in _replay(file.path, file.unit_s, file.speedup):
        yield Arrival(offset_s=offset_s, input_tokens=inputs, output_tokens=outputs)


@dataclass(slots=True)
class _LeftOut:
    """What of a trace is not replayed."""

    rows: int = 0
    has_shared: bool = False

    def notes(self, rows: int) -> tuple[str, ...]:
        found = []
        if self.rows:
            found.append(f"{self.rows:,} of its {rows:,} rows are left out: they ask for no answer, or have no prompt")
        if self.has_shared:
            found.append(
                f"its {_SHARED} say which prompts share a prefix, and the load's prompts share none: a prefix cache"
                " helps less than it did"
            )
        return tuple(found)


def _lengths(tokens: Collection[int]) -> Lengths:
    return Lengths(low=min(tokens), high=max(tokens))


def _replay(
    path: Path, unit_s: float, speedup: float, left_out: _LeftOut | None = None
) -> Iterator[tuple[float, int, int]]:
    """Offset in seconds, input tokens and output tokens of each row that is replayed; `left_out` is told of the others."""
    left_out = left_out or _LeftOut()
    names: tuple[str, ...] = ()
    first_s = last_s = None
    with _open(path) as file:
        for where, row in itertools.islice(_rows(path, file), MAX_ROWS):
            names = names or _columns(row, where)
            time, inputs, outputs = (row.get(name) for name in names)
            time_s = _seconds(time, unit_s, where)
            counts = _tokens(inputs, "input tokens", where), _tokens(outputs, "output tokens", where)
            left_out.has_shared = left_out.has_shared or bool(row.get(_SHARED))
            if 0 in counts:
                left_out.rows += 1
                continue
            if first_s is None or last_s is None:
                first_s = last_s = time_s
            if time_s < last_s:
                raise UsageError(
                    f"{where}: the time {_shown(time)} is before that of the row above: sort the rows by time"
                )
            if (gap_s := (time_s - last_s) / speedup) > MAX_GAP_S:
                raise UsageError(
                    f"{where}: nothing arrives for {gap_s:,.0f} s before this row, and {MAX_GAP_S:g} s are the most: "
                    "give a higher `speedup`, correct `unit`, or cut the gap out"
                )
            last_s = time_s
            yield (time_s - first_s) / speedup, *counts


def _open(path: Path) -> BinaryIO:
    file = open_data(path)
    if _kind(path) not in (".jsonl", ".csv"):
        file.close()
        raise UsageError(f"{path}: a trace is a .jsonl or a .csv file, or one of them as .gz, .bz2 or .xz")
    return file


def _kind(path: Path) -> str:
    """ ".csv" of trace.csv and of trace.csv.gz."""
    return Path(path.stem if path.suffix.lower() in (".gz", ".bz2", ".xz") else path.name).suffix.lower()


def _rows(path: Path, file: BinaryIO) -> Iterator[_Row]:
    lines = read_lines(path, file, MAX_BYTES)
    return _csv_rows(path, lines) if _kind(path) == ".csv" else _jsonl_rows(path, lines)


def _jsonl_rows(path: Path, lines: Iterator[str]) -> Iterator[_Row]:
    for number, line in enumerate(lines, start=1):
        if line.isspace():
            continue
        where = f"{path}:{number}"
        try:
            value = read_json_text(line)
        except (ValueError, RecursionError) as error:
            raise UsageError(f"{where}: this is not valid JSON: {getattr(error, 'msg', error)}") from error
        if not isinstance(value, dict):
            raise UsageError(f"{where}: expected a JSON object, found {_shown(value)}")
        yield where, value


def _csv_rows(path: Path, lines: Iterator[str]) -> Iterator[_Row]:
    reader = csv.DictReader(lines)
    try:
        reader.fieldnames = [name.strip() for name in reader.fieldnames or ()]
        _columns(reader.fieldnames, f"{path}:1")
        for row in reader:
            yield f"{path}:{reader.line_num}", row
    except csv.Error as error:
        raise UsageError(f"{path}:{reader.reader.line_num}: this is not valid CSV: {error}") from error


def _columns(names: Collection[str], where: str) -> tuple[str, ...]:
    """The names of the three columns."""
    found = []
    plain = {_plain(name): name for name in names}
    for what, known in COLUMNS.items():
        name = next((plain[_plain(name)] for name in known if _plain(name) in plain), None)
        if name is None:
            raise UsageError(
                f"{where}: there is no column for the {what}: call it {', '.join(known[:-1])} or {known[-1]}"
            )
        found.append(name)
    return tuple(found)


def _plain(name: str) -> str:
    return name.lower().replace("_", "").replace(" ", "")


def _seconds(value: object, unit_s: float, where: str) -> float:
    number = _number(value)
    if number is None:
        try:
            moment = datetime.fromisoformat(str(value).strip())
        except ValueError as error:
            raise UsageError(
                f"{where}: the time {_shown(value)} is neither a number nor an ISO date and time"
            ) from error
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    if number < 0:
        raise UsageError(f"{where}: the time {_shown(value)} is negative")
    return number * unit_s


def _tokens(value: object, what: str, where: str) -> int:
    number = _number(value)
    if number is None or not number.is_integer():
        raise UsageError(f"{where}: the {what} are {_shown(value)}, which is not a whole number")
    if number < 0:
        raise UsageError(f"{where}: the {what} are {_shown(value)}: below 0")
    if number > MAX_TOKENS:
        raise UsageError(f"{where}: the {what} are {_shown(value)}, and {MAX_TOKENS:,} are the most")
    return int(number)


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _shown(value: object) -> str:
    return "missing" if value is None else repr(value)[:60]
