from pathlib import Path

import pytest

from tuner.errors import UsageError
from tuner.launch.shared_gpu import SharedGpu, spread
from tuner.launch.vllm import VllmLauncher
from tuner.predict.memory import MemoryCalibration, predict_memory
from tuner.predict.settings import Settings, resolve
from tuner.predict.shape import read_shape
from tuner.space.files import load_space
from tuner.space.parallel import gpus_of
from tuner.types import Params, Value

SHAPE = read_shape("Qwen/Qwen2.5-1.5B-Instruct")
H200 = load_space("h200").gpu
SHARED = SharedGpu(shape=SHAPE, gpu=H200, version=(0, 25))
LENGTH: Params = {"max_model_len": 4096}


@pytest.mark.parametrize("asked", [{}, {"engines_per_gpu": 1}])
def test_an_engine_alone_is_given_what_was_asked_for(asked: Params) -> None:
    assert spread({**LENGTH, **asked}, SHARED) == LENGTH


@pytest.mark.parametrize(("asked", "each"), [({}, 0.46), ({"gpu_memory_utilization": 0.9}, 0.45)])
def test_engines_that_share_a_gpu_are_nodes_with_a_part_of_its_memory(asked: Params, each: float) -> None:
    found = spread({**LENGTH, **asked, "engines_per_gpu": 2}, SHARED)
    assert "engines_per_gpu" not in found
    assert (found["data_parallel_size"], found["data_parallel_size_local"]) == (2, 1)
    assert found["gpu_memory_utilization"] == pytest.approx(each)
    assert gpus_of(found) == 1


@pytest.mark.parametrize("engines", [2, 3, 4])
def test_each_is_told_the_cache_that_is_predicted(engines: int) -> None:
    asked: Params = {**LENGTH, "engines_per_gpu": engines}
    settings = resolve(asked, SHAPE, H200, (0, 25))
    assert isinstance(settings, Settings)
    logged = MemoryCalibration(weights=1.02, other_bytes=2**28)
    for predicted in (
        predict_memory(SHAPE, H200, settings, version=(0, 25)),
        predict_memory(SHAPE, H200, settings, logged, version=(0, 25), cold=False),
    ):
        assert spread(asked, SHARED)["kv_cache_memory_bytes"] == predicted.kv_cache_bytes


@pytest.mark.parametrize("engines", [2, 3, 4])
def test_all_of_them_together_fit_into_what_one_would_have(engines: int) -> None:
    """Weights, activations, graphs and KV cache of each, as far as they may be off."""
    found = spread({**LENGTH, "engines_per_gpu": engines}, SHARED)
    alone = resolve({**LENGTH, "gpu_memory_utilization": found["gpu_memory_utilization"]}, SHAPE, H200, (0, 25))
    assert isinstance(alone, Settings)
    memory = predict_memory(SHAPE, H200, alone, version=(0, 25))
    beside = memory.weights_bytes + memory.activations_bytes + memory.other_bytes + memory.margin_bytes
    assert H200.memory_gib is not None
    taken = engines * (int(found["kv_cache_memory_bytes"]) + beside)
    assert taken <= 0.92 * H200.memory_gib * 2**30 + 2 * engines, "but for what was rounded"
    assert int(found["kv_cache_memory_bytes"]) > 0.7 * memory.kv_cache_bytes


def test_copies_of_the_model_on_several_gpus_are_shared_too() -> None:
    found = spread({**LENGTH, "data_parallel_size": 4, "engines_per_gpu": 2}, SHARED)
    assert (found["data_parallel_size"], found["data_parallel_size_local"], gpus_of(found)) == (8, 4, 4)


def test_a_cache_of_the_users_own_size_is_that_of_all() -> None:
    found = spread({"kv_cache_memory_bytes": 10**9, "engines_per_gpu": 3}, None)
    assert found["kv_cache_memory_bytes"] == 10**9 // 3


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("gpu_memory_utilization", "high"),
        ("gpu_memory_utilization", True),
        ("data_parallel_size", "two"),
        ("data_parallel_size", 0),
        ("kv_cache_memory_bytes", "auto"),
        ("kv_cache_memory_bytes", 1.5),
    ],
)
def test_what_has_no_parts_is_refused_with_a_sentence(name: str, value: Value) -> None:
    with pytest.raises(UsageError, match=rf"{name} {value}: expected a (whole )?number, of which"):
        spread({name: value, "engines_per_gpu": 2}, SHARED)


def test_what_has_no_formula_is_no_obstacle() -> None:
    plain = spread({**LENGTH, "engines_per_gpu": 2}, SHARED)
    found = spread({**LENGTH, "engines_per_gpu": 2, "linear_backend": "marlin", "kv_offloading_size": 16}, SHARED)
    assert found["kv_cache_memory_bytes"] == plain["kv_cache_memory_bytes"]


def test_the_commands_beside_the_first_differ_by_their_rank_alone() -> None:
    launcher = VllmLauncher(python=Path("/opt/e/bin/python"), model="org/model", shared_gpu=SHARED)
    command = launcher.command({**LENGTH, "engines_per_gpu": 3, "api_server_count": 4})
    assert command.engines_per_gpu == 3
    assert "--api-server-count" in command.argv
    serving = [word for word in command.argv if word not in ("--api-server-count", "4")]
    for rank, argv in enumerate(command.headless, 1):
        assert [*argv] == [*serving, "--headless", "--data-parallel-start-rank", str(rank)]
    assert launcher.command(LENGTH).headless == ()
