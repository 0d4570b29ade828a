"""What each format looks like. `PYTHONPATH=.:tests python tests/export/deployed_samples.py` writes the files anew."""

import pytest
from deployed_samples import GOLDEN, golden

TEXTS = golden()


@pytest.mark.parametrize("name", TEXTS)
def test_the_export_of_a_fixed_trial(name: str) -> None:
    assert TEXTS[name] == (GOLDEN / name).read_text()


def test_there_is_no_file_too_many() -> None:
    assert {path.name for path in GOLDEN.iterdir()} == set(TEXTS)
