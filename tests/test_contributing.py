"""CONTRIBUTING.md names files, targets and names of the code that exist."""

import re

from conftest import REPOSITORY
from lowest import lowest

TEXT = (REPOSITORY / "CONTRIBUTING.md").read_text()
#: What the next contributor makes.
TO_BE_MADE = {"search_spaces/NAME.yaml"}


def test_it_is_one_page() -> None:
    assert len(TEXT.splitlines()) <= 60


def test_its_paths_exist() -> None:
    paths = set(re.findall(r"`([\w.-]+/[\w./-]*)`", TEXT)) - TO_BE_MADE
    assert len(paths) > 10
    assert [path for path in paths if not (REPOSITORY / path).exists()] == []


def test_its_targets_exist() -> None:
    asked = set(re.findall(r"(?<=\$ make )[\w-]+|(?<=`make )[\w-]+", TEXT))
    targets = re.findall(r"^([\w-]+):", (REPOSITORY / "Makefile").read_text(), re.MULTILINE)
    assert {"test-fast", "test-lowest", "check", "migration"} <= asked <= set(targets)


def test_its_names_stand_in_the_file_that_is_named_with_them() -> None:
    for file, names in {
        "tests/space/test_shipped_spaces.py": ("CARDS", "ALWAYS", "ON_A_GPU"),
        "tuner/space/gpus.py": ("_MINIMUM", "_ON_CPU"),
        "tuner/predict/settings.py": ("NOT_PREDICTED",),
        "tuner/launch/failure_texts.py": ("_HOSTS", "_MODELS", "_SETTINGS"),
        "tests/launch/test_failures.py": ("RECORDED", "outside_the_log"),
        "tuner/export/formats.py": ("EXPORTERS",),
        "tests/conftest.py": ("vllm_url",),
    }.items():
        code = (REPOSITORY / file).read_text()
        assert file in TEXT
        for name in names:
            assert f"`{name}`" in TEXT
            assert re.search(rf"\b{name}\b", code)


def test_every_dependency_has_a_lower_bound_that_make_test_lowest_installs() -> None:
    found = lowest((REPOSITORY / "pyproject.toml").read_text())
    assert {line.split("==")[0] for line in found} >= {"hatchling", "optuna", "psycopg", "pytest"}
