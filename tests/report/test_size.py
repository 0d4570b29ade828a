"""A report of 1,000 trials can be mailed. How long it takes is what `benchmarks/report.py` prints."""

import importlib.util
from pathlib import Path

import pytest
from conftest import REPOSITORY

from tuner.record.store import Store
from tuner.report.formats import FORMATS
from tuner.study.reported import report_of

MOST_BYTES = 8_000_000


@pytest.mark.long
def test_a_report_of_a_thousand_trials_is_small(tmp_path: Path) -> None:
    place = REPOSITORY / "benchmarks" / "report.py"
    spec = importlib.util.spec_from_file_location("report_benchmark", place)
    assert spec is not None
    assert spec.loader is not None
    benchmark = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(benchmark)
    storage = f"sqlite:///{tmp_path / 'many.db'}"
    benchmark.make(storage, 1000)
    store = Store.open(storage, read_only=True)
    report = report_of(store, benchmark.STUDY)
    store.close()
    assert len(report.trials) == 1000
    assert report.time_lines
    sizes = {name: len(make(report).encode()) for name, make in FORMATS.items()}
    assert max(sizes.values()) <= MOST_BYTES, sizes
    assert sizes["html"] > 300_000  # every trial is in it
