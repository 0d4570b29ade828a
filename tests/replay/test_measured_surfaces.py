"""The launches that were measured for tuner can be replayed: what a search finds in them is what was seen."""

import json
from pathlib import Path

import pytest
from commands import tuner

from tuner.replay.file import read_surface
from tuner.types import Measured

SURFACES = sorted((Path(__file__).parents[2] / "benchmarks" / "data" / "surfaces").glob("*.jsonl"))


@pytest.mark.parametrize("path", SURFACES, ids=lambda path: path.stem)
def test_each_file_is_read_and_its_launches_say_what_they_are(path: Path) -> None:
    surface = read_surface(path)
    assert surface.header.gpu is not None
    assert path.stem.partition("-")[0] in surface.header.gpu.lower()
    assert any(one.is_default for one in surface.recordings)
    assert all(isinstance(one.outcome, Measured) for one in surface.recordings)
    for line in path.read_text().splitlines()[1:]:
        about = json.loads(line)["about"]
        assert about["half"] in ("train", "test")
        assert about["start"] in ("plain", "warm")
        assert 0 < about["greedy"]["same"] <= about["greedy"]["tokens"] == 384


def test_a_search_finds_the_larger_graphs(tmp_path: Path) -> None:
    path = next(path for path in SURFACES if path.stem == "h200-1.5b-256")
    study = ("--study", "s", "--storage", "x.db")
    ran = tuner(
        tmp_path,
        *(
            "optimize",
            "--engine",
            "replay",
            "--surface",
            str(path),
            "--gpu",
            "h200",
            "--trials",
            "6",
            "--verify",
            "3",
            *study,
        ),
    )
    assert ran.returncode == 0, ran.stderr
    shown = json.loads(tuner(tmp_path, "studies", "--json", "-", "--storage", "x.db").stdout)
    assert shown["studies"][0]["answer"] == "better"
    exported = tuner(tmp_path, "export", *study[1:2], *study[2:]).stdout
    assert "--compilation-config.cudagraph_mode FULL" in exported
