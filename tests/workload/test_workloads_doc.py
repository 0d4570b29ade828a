"""Every YAML of docs/workloads.md is a workload, and its table is that of the presets."""

import json
import re
from pathlib import Path

import pytest
from conftest import REPOSITORY

from tuner.types import Lengths
from tuner.workload.presets import PRESETS, load_workload

TEXT = (REPOSITORY / "docs" / "workloads.md").read_text()
BLOCKS = re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)
ROWS = re.findall(r"^\| `([\w-]+)` \|(.*)\|$", TEXT, re.MULTILINE)


@pytest.mark.parametrize("block", BLOCKS)
def test_every_yaml_is_read(block: str, tmp_path: Path) -> None:
    row = {"timestamp": 0, "input_length": 10, "output_length": 5}
    later = {**row, "timestamp": 9000}
    (tmp_path / "trace.jsonl").write_text(f"{json.dumps(row)}\n{json.dumps(later)}\n")
    talk = [{"from": "human", "value": "Hello"}, {"from": "gpt", "value": "Good morning"}]
    (tmp_path / "conversations.jsonl").write_text(json.dumps({"conversations": talk}) + "\n")
    (tmp_path / "w.yaml").write_text(block)
    assert load_workload(str(tmp_path / "w.yaml")).api in block


def test_the_table_is_that_of_the_presets() -> None:
    assert [name for name, _ in ROWS] == list(PRESETS)
    for name, row in ROWS:
        preset = PRESETS[name]
        assert f" {preset.users} users" in row or f" {preset.request_rate:g} requests/s" in row
        for lengths, cell in zip((preset.input_tokens, preset.output_tokens), row.split("|")[1:3], strict=True):
            assert isinstance(lengths, Lengths)
            text = f"{lengths.low:,}-{lengths.high:,}" if lengths.low < lengths.high else f"{lengths.low}"
            assert cell.replace(" a turn", "").strip() == text, name
