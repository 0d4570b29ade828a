"""What is said to pass for what is recommended."""

from dataclasses import replace
from pathlib import Path

import pytest
from samples import measured, trial

from tuner.decide.attribution import Attribution, Brings, Worth
from tuner.decide.verdict import Answer, Decision, Verdict
from tuner.decide.words.attribution import attribution_rows
from tuner.decide.words.recommended import Changed, changed_settings
from tuner.launch.vllm import VllmLauncher
from tuner.types import Params

DEFAULTS = replace(trial(0, measured()), resolved={"engines_per_gpu": 1, "gpu_memory_utilization": 0.9})
LAUNCHER = VllmLauncher(python=Path("python"), model="m")


def changed(params: Params) -> list[Changed]:
    chosen = replace(trial(3, measured()), params=params, command=LAUNCHER.command(params))
    return changed_settings(
        Decision(chosen=chosen, winner=chosen, defaults=DEFAULTS, verdict=Verdict(answer=Answer.BETTER))
    )


@pytest.mark.parametrize(
    ("params", "how"),
    [
        ({"gpu_memory_utilization": 0.8}, ["--gpu-memory-utilization 0.8"]),
        ({"speculative_config.method": "none"}, ["no --speculative-config.method"]),
        (
            {"engines_per_gpu": 2, "gpu_memory_utilization": 0.8},
            ["2 engines on each GPU, which --format command starts", "--gpu-memory-utilization 0.4"],
        ),
    ],
)
def test_a_setting_is_said_as_it_was_passed(params: Params, how: list[str]) -> None:
    """Engines that share a GPU have their part of its memory each."""
    assert [one.how for one in changed(params)] == how


def test_what_each_setting_brings_says_it_alike() -> None:
    winner = replace(trial(3, measured()), params={"engines_per_gpu": 2, "max_num_seqs": 64})
    worths = [Worth(reset=(name,), brings=Brings.SAME) for name in ("engines_per_gpu", "max_num_seqs")]
    told = Attribution(of=3, metric="output_throughput", launches=1, worths=tuple(worths))
    said = [row[0] for row in attribution_rows(told, winner)]
    assert said == ["2 engines on each GPU, which --format command starts", "--max-num-seqs 64"]
