from pathlib import Path

import pytest

from tuner.launch.vllm import VllmLauncher
from tuner.types import Params


def engine(**changes: object) -> VllmLauncher:
    return VllmLauncher(**({"python": Path("/opt/e/bin/python"), "model": "org/model"} | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("params", "flags"),
    [
        ({}, ()),
        ({"max_num_seqs": 64}, ("--max-num-seqs", "64")),
        ({"gpu_memory_utilization": 0.92}, ("--gpu-memory-utilization", "0.92")),
        ({"enforce_eager": True}, ("--enforce-eager",)),
        ({"enable_prefix_caching": False}, ("--no-enable-prefix-caching",)),
        ({"quantization": "none"}, ()),
        ({"quantization": "fp8_per_tensor"}, ("--quantization", "fp8_per_tensor")),
    ],
)
def test_arguments(params: Params, flags: tuple[str, ...]) -> None:
    assert engine().arguments(params) == ("org/model", *flags)


def test_fixed_arguments_are_in_every_trial_also_the_defaults() -> None:
    assert engine(fixed={"dtype": "half"}).arguments({}) == ("org/model", "--dtype", "half")


def test_a_quantization_of_another_checkpoint_serves_it_under_the_same_name() -> None:
    found = engine(quantized_models={"awq": "/models/awq"}).arguments({"quantization": "awq", "max_num_seqs": 8})
    assert found == ("/models/awq", "--max-num-seqs", "8", "--served-model-name", "org/model")


def test_the_command_is_the_vllm_beside_the_interpreter_or_its_module(tmp_path: Path) -> None:
    python = tmp_path / "python"
    assert engine(python=python).command({}).argv[:4] == (str(python), "-m", "vllm.entrypoints.cli.main", "serve")
    (tmp_path / "vllm").touch()
    assert engine(python=python).command({}).argv[:2] == (str(tmp_path / "vllm"), "serve")
