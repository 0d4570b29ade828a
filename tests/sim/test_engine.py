"""What the simulated vLLM says of settings before anything is launched."""

import tempfile

import pytest
from simulating import MODEL

from tuner.errors import UsageError
from tuner.launch.engine import CannotFork
from tuner.sim.engine import SimEngine
from tuner.space.files import load_space
from tuner.types import Failed, FailureKind, Params

T4 = SimEngine(load_space("t4").gpu)


def test_defaults_are_those_of_vllm_on_this_card() -> None:
    found = T4.resolve((MODEL, "--dtype", "half"))
    assert not isinstance(found, Failed)
    assert (found.settings["max_num_seqs"], found.settings["max_num_batched_tokens"]) == (256, 2048)
    h200 = SimEngine(load_space("h200").gpu).resolve((MODEL,))
    assert not isinstance(h200, Failed)
    assert (h200.settings["max_num_seqs"], h200.settings["max_num_batched_tokens"]) == (1024, 8192)


@pytest.mark.parametrize(
    ("flags", "kind", "why"),
    [
        (("--no-such-flag",), FailureKind.REJECTED, "unrecognized arguments"),
        (("--max-num-seqs", "4096"), FailureKind.REJECTED, "must be greater than or equal to max_num_seqs"),
        (("--quantization", "awq"), FailureKind.UNSUPPORTED_QUANTIZATION, "Cannot find the config file"),
    ],
)
def test_what_vllm_refuses_is_refused_without_a_launch(flags: tuple[str, ...], kind: FailureKind, why: str) -> None:
    found = T4.resolve((MODEL, *flags))
    assert isinstance(found, Failed)
    assert found.kind is kind
    assert why in found.message


def test_a_model_that_cannot_be_simulated_is_the_users_to_mend() -> None:
    with pytest.raises(UsageError, match="no/such"):
        T4.resolve(("no/such",))


def test_it_is_an_engine_that_forks_nothing() -> None:
    assert T4.info.version.startswith("SIMULATED")
    assert T4.is_alive
    with tempfile.TemporaryFile() as log, pytest.raises(CannotFork):
        T4.fork((MODEL,), {}, log)


def test_arguments_of_a_group_are_resolved_as_vllm_has_them() -> None:
    defaults = T4.resolve((MODEL,))
    assert not isinstance(defaults, Failed)
    mode, largest = "compilation_config.cudagraph_mode", "max_cudagraph_capture_size"
    assert tuple(defaults.settings[name] for name in (mode, largest, "moe_backend")) == (
        "FULL_AND_PIECEWISE",
        512,
        "auto",
    )
    eager = T4.resolve((MODEL, "--enforce-eager"))
    assert not isinstance(eager, Failed)
    assert (eager.settings[mode], eager.settings[largest]) == ("NONE", 0)
    given = T4.resolve((MODEL, f"--{mode.replace('_', '-', 1)}", "FULL", "--cudagraph-capture-sizes", "1", "2"))
    assert not isinstance(given, Failed)
    sizes: Params = {"cudagraph_capture_sizes": "[1, 2]", largest: 2}
    assert given.settings == {**defaults.settings, mode: "FULL", **sizes}
    refused = T4.resolve((MODEL, "--compilation-config.no_such", "1"))
    assert isinstance(refused, Failed)


def test_engines_that_share_a_gpu_are_told_together_as_a_real_vllm_is_asked() -> None:
    engine = SimEngine(load_space("h200").gpu)
    shared = ("--data-parallel-size", "4", "--data-parallel-size-local", "2", "--gpu-memory-utilization", "0.46")
    found, plain = engine.resolve((MODEL, *shared)), engine.resolve((MODEL,))
    assert not isinstance(found, Failed)
    assert not isinstance(plain, Failed)
    names = ("engines_per_gpu", "data_parallel_size", "gpu_memory_utilization", "api_server_count")
    assert tuple(found.settings[name] for name in names) == (2, 2, 0.92, 4)
    assert plain.settings["engines_per_gpu"] == 1
    assert found.digest != plain.digest
