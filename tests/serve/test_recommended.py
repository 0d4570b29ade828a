"""What the service says of a study's recommendation."""

from dataclasses import replace
from pathlib import Path

import pytest
from record_samples import STUDY, a_trial

from tuner.launch.vllm import VllmLauncher
from tuner.record.store import Store
from tuner.serve.recommended import best_of
from tuner.types import Params


@pytest.mark.parametrize(("params", "beside"), [({}, 0), ({"engines_per_gpu": 3}, 2)])
def test_the_commands_of_engines_that_share_its_gpus_stand_beside_its_own(
    params: Params, beside: int, tmp_path: Path
) -> None:
    command = VllmLauncher(python=Path("python"), model="m").command(params)
    store = Store.open(f"sqlite:///{tmp_path / 'tuner.db'}")
    store.create_or_get_study(STUDY)
    store.finish(STUDY.name, replace(a_trial(0), command=command))
    found = best_of(store, STUDY.name)
    store.close()
    assert found.command == command.argv
    assert (len(found.headless), found.headless) == (beside, command.headless)
