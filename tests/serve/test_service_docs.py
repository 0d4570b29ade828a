"""docs/service.md says what the service does: its routes, its words, its file."""

import re
from pathlib import Path

import pytest
from conftest import REPOSITORY

from tuner.decide.verdict import Answer
from tuner.serve.allowed import AllowFile
from tuner.serve.openapi import document
from tuner.serve.prometheus import Counts
from tuner.space.yaml_file import read_yaml

TEXT = (REPOSITORY / "docs" / "service.md").read_text()


def test_each_path_of_the_document_is_explained() -> None:
    told = TEXT.replace(".../", "/api/v1/proposals/")
    for path in document("0")["paths"]:
        assert path in told, path


def test_the_file_that_is_shown_is_one(tmp_path: Path) -> None:
    (text,) = re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)
    file = tmp_path / "allow.yaml"
    file.write_text(text)
    said = read_yaml(file, AllowFile)
    assert set(said.model_fields_set) == set(AllowFile.model_fields)


def test_the_words_and_metrics_are_those_of_the_code() -> None:
    for answer in Answer:
        assert f"`{answer.value}`" in TEXT
    text = Counts().text({}, 0, 0, 0).decode()
    for name in re.findall(r"^# TYPE (\w+) ", text, re.MULTILINE):
        if not name.endswith("_created"):
            assert f"`{name}" in TEXT, name


@pytest.mark.parametrize("word", ["queued", "running", "paused", "finished", "failed", "cancelled", "idle"])
def test_each_state_is_named(word: str) -> None:
    assert f"`{word}`" in TEXT
