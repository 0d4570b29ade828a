import json
import os
from pathlib import Path

import pytest
from data_files import dataset_file

from tuner.errors import UsageError
from tuner.workload import dataset
from tuner.workload.dataset import MAX_CONVERSATIONS, inspect_dataset, read_dataset
from tuner.workload.entry import Sample

SHARE_GPT = {
    "id": "i6IyJda_0",
    "conversations": [
        {"from": "human", "value": "How do trains turn?"},
        {"from": "gpt", "value": "Their wheels are cones."},
        {"from": "human", "value": "Why?"},
    ],
}
OPENAI = {
    "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Grüß Gott 🦙"},
        {"role": "assistant", "content": "Hello."},
    ]
}
PLAIN = {"prompt": "Once upon a time", "output": "there was"}
SAMPLES = (
    Sample(prompt="How do trains turn?", answer="Their wheels are cones."),
    Sample(prompt="Grüß Gott 🦙", answer="Hello.", system="Be brief."),
    Sample(prompt="Once upon a time", answer="there was"),
)


def _file(folder: Path, text: str | bytes, name: str = "data.jsonl") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def _lines(*entries: object, ascii_only: bool = False) -> str:
    return "".join(json.dumps(entry, ensure_ascii=ascii_only) + "\n" for entry in entries)


def _said(path: Path) -> str:
    with pytest.raises(UsageError) as error:
        dataset_file(path)
    said = str(error.value)
    assert said.startswith(str(path))
    assert "\n" not in said
    return said.removeprefix(str(path))


@pytest.mark.parametrize("chunk_bytes", [1, 7, 1 << 20])
@pytest.mark.parametrize(
    "text",
    [
        _lines(SHARE_GPT, OPENAI, PLAIN),
        _lines(SHARE_GPT, OPENAI, PLAIN, ascii_only=True).replace("\n", "\r\n"),
        "\ufeff" + _lines(SHARE_GPT, OPENAI) + "\n\n" + json.dumps(PLAIN),
        json.dumps([SHARE_GPT, OPENAI, PLAIN], ensure_ascii=False),
        json.dumps([SHARE_GPT, OPENAI, PLAIN], indent=2) + "\n",
    ],
    ids=["lines", "ascii", "byte order mark", "array", "indented array"],
)
def test_every_form_gives_the_first_prompts_and_their_answers(
    tmp_path: Path, text: str, chunk_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However the chunks of the file cut its texts and its characters."""
    monkeypatch.setattr(dataset, "_CHUNK_BYTES", chunk_bytes)
    assert read_dataset(dataset_file(_file(tmp_path, text))) == SAMPLES


@pytest.mark.parametrize(
    ("entry", "sample"),
    [
        ({"prompt": "P", "completion": "C"}, Sample(prompt="P", answer="C")),
        ({"prompt": "P"}, Sample(prompt="P", answer=None)),
        ({"prompt": "P", "output": ""}, Sample(prompt="P", answer=None)),
        ({"prompt": "P", "output": ["no", "text"]}, Sample(prompt="P", answer=None)),
        (
            {"conversations": [{"from": "gpt", "value": "A"}, {"from": "user", "value": "U"}]},
            Sample(prompt="U", answer=None),
        ),
        (
            {"messages": [{"role": "user", "content": "U"}, {"role": "tool", "content": "T"}]},
            Sample(prompt="U", answer=None),
        ),
    ],
    ids=str,
)
def test_an_answer_is_what_follows_the_prompt(tmp_path: Path, entry: object, sample: Sample) -> None:
    assert inspect_dataset(_file(tmp_path, _lines(entry)))[1] == (sample,)


def test_what_is_unusable_is_left_out(tmp_path: Path) -> None:
    unusable: tuple[object, ...] = (
        {"id": 1},
        {"conversations": []},
        {"conversations": "text"},
        {"conversations": [1, None]},
        {"conversations": [{"from": "gpt", "value": "An answer only"}]},
        {"messages": [{"role": "user", "content": [{"type": "image_url"}]}, {"role": "user", "content": "later"}]},
        {"prompt": "  "},
        {"prompt": 5},
        {"prompt": "half a character \ud83e"},
    )
    path = _file(tmp_path, _lines(*unusable, PLAIN, ascii_only=True))
    assert inspect_dataset(path)[1] == SAMPLES[2:]
    assert ": no entry has a user's text: expected" in _said(_file(tmp_path, _lines(*unusable, ascii_only=True)))


def test_the_digest_is_of_the_samples(tmp_path: Path) -> None:
    lines = dataset_file(_file(tmp_path, _lines(SHARE_GPT, PLAIN)))
    array = dataset_file(_file(tmp_path, json.dumps([SHARE_GPT, {}, PLAIN]), "data.json"))
    other = dataset_file(_file(tmp_path, _lines(PLAIN, SHARE_GPT), "other.jsonl"))
    assert lines.digest == array.digest != other.digest


def test_a_file_that_changed_is_not_taken_for_the_same(tmp_path: Path) -> None:
    file = dataset_file(_file(tmp_path, _lines(SHARE_GPT)))
    _file(tmp_path, _lines(PLAIN))
    with pytest.raises(UsageError, match="has changed since the workload was read"):
        read_dataset(file)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", ":1: the file is empty"),
        (" \n\n", ": no entry has a user's text"),
        ("[]", ": no entry has a user's text"),
        (
            _lines(PLAIN) + '{"prompt": "cut\n' + _lines(PLAIN),
            ":2: the conversation that begins here is not valid JSON: ",
        ),
        (_lines(PLAIN) + '\n{"prompt": "cut', ":3: the conversation that begins here is not valid JSON: Unterminated"),
        (_lines(PLAIN, PLAIN, "text"), ":3: expected a JSON object that is a conversation, found '\"'"),
        (_lines(PLAIN) + "]", ":2: expected a JSON object that is a conversation, found ']'"),
        ("[\n" + _lines(PLAIN), ":3: the array does not end: the file is cut"),
        ("[[1]]", ":1: expected a JSON object that is a conversation, found '['"),
        ('{"a":' * 100_000, ":1: the conversation that begins here is not valid JSON: "),
        ('{"a": ' + "1" * 5000 + "}", ":1: the conversation that begins here is not valid JSON: "),
        (b"\x1f\x8b\x08\x00", " cannot be read: what is compressed in it is cut or broken"),
        (_lines(PLAIN).encode() + b"\xc3", ": this is not UTF-8 text: "),
        (b"\x03\x04\0\0", ": this is binary data, not text"),
        (b"PK\x03\x04\0\0", " is a zip archive: unpack it"),
        (b"PAR1\x15\x04", " is a Parquet file: save it as JSONL"),
    ],
    ids=lambda value: value[:30] if isinstance(value, str) else "bytes",
)
def test_a_bad_file_is_one_sentence(tmp_path: Path, text: str | bytes, says: str) -> None:
    assert says in _said(_file(tmp_path, text))


def test_what_is_no_file_is_said(tmp_path: Path) -> None:
    assert _said(tmp_path) == " is a directory: give the path of a file"
    assert _said(tmp_path / "absent.jsonl") == " cannot be read: No such file or directory"
    os.mkfifo(tmp_path / "pipe.jsonl")
    assert "is not a regular file" in _said(tmp_path / "pipe.jsonl")


@pytest.mark.parametrize("opening", ["", "["])
def test_of_a_gigabyte_only_the_first_conversations_are_read(tmp_path: Path, opening: str) -> None:
    """What stands below them is a hole of a gigabyte: it would be refused as binary, were it read."""
    line = json.dumps({"prompt": "p", "output": "o"}) + ",\n"
    padding = " " * (2 << 20)  # what is read ahead is a chunk
    path = _file(tmp_path, opening + line * MAX_CONVERSATIONS + padding)
    os.truncate(path, 1 << 30)
    assert len(inspect_dataset(path)[1]) == MAX_CONVERSATIONS


def test_a_gigabyte_of_large_conversations_is_read_in_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dataset, "MAX_BYTES", 10_000)
    monkeypatch.setattr(dataset, "_CHUNK_BYTES", 100)
    path = _file(tmp_path, "[" + (json.dumps({"prompt": "p" * 986}) + "\n") * 12)
    os.truncate(path, 1 << 30)
    assert 8 <= len(inspect_dataset(path)[1]) <= 10
    assert ": no entry has a user's text" in _said(_file(tmp_path, " " * 20_000))


def test_a_conversation_without_an_end_is_not_looked_for_in_the_whole_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dataset, "MAX_CHARACTERS", 1 << 20)
    path = _file(tmp_path, '{"prompt": "' + "x" * (5 << 20))
    os.truncate(path, 1 << 30)
    assert ":1: the conversation that begins here is not valid JSON: Unterminated string" in _said(path)
