"""What two settings share, by what is known of vLLM's compile cache (three parts of it were measured to make a new key)."""

import pytest

from predict.asking import SMALL, case, users
from tuner.predict.likeness import Room, chance_to_start, compiled_alike, simulated_alike
from tuner.predict.memory import Memory
from tuner.predict.settings import Settings
from tuner.types import Params

ASKED = case("h100-80gb", SMALL, users(256))


def settings(**params: object) -> Settings:
    found = ASKED.settings(params)  # type: ignore[arg-type]
    assert isinstance(found, Settings)
    return found


def key(**params: object) -> str:
    given: Params = params  # type: ignore[assignment]
    return compiled_alike(settings(**params), given)


@pytest.mark.parametrize(
    "params",
    [
        {"max_num_batched_tokens": 2048},
        {"max_cudagraph_capture_size": 1024},
        {"compilation_config.cudagraph_mode": "FULL"},
        {"quantization": "fp8_per_tensor"},
        {"kv_cache_dtype": "fp8"},
        {"enforce_eager": True},
    ],
)
def test_what_is_compiled_anew_has_another_key(params: dict[str, object]) -> None:
    assert key(**params) != key()


@pytest.mark.parametrize(
    "params",
    [
        {"stream_interval": 8},
        {"api_server_count": 2},
        {"gpu_memory_utilization": 0.9},
        {"max_num_seqs": 512},
        {"engines_per_gpu": 2},
    ],
)
def test_what_is_found_again_has_the_same_key(params: dict[str, object]) -> None:
    assert key(**params) == key()


def test_servers_without_compiled_code_are_alike() -> None:
    assert key(enforce_eager=True) == key(enforce_eager=True, max_num_batched_tokens=2048)


def test_sequences_beyond_the_users_and_unshared_prefixes_change_no_simulation() -> None:
    load = ASKED.workload
    assert simulated_alike(settings(max_num_seqs=512), load) == simulated_alike(settings(max_num_seqs=1024), load)
    assert simulated_alike(settings(max_num_seqs=128), load) != simulated_alike(settings(max_num_seqs=1024), load)
    without = settings(enable_prefix_caching=False)
    assert simulated_alike(without, load) == simulated_alike(settings(), load)
    shared = case("h100-80gb", SMALL).workload
    assert simulated_alike(without, shared) == simulated_alike(settings(), shared)


def test_engines_that_share_a_gpu_are_another_simulation() -> None:
    load = ASKED.workload
    assert simulated_alike(settings(engines_per_gpu=2), load) != simulated_alike(settings(api_server_count=2), load)


def test_a_kv_cache_with_room_makes_no_difference() -> None:
    room = Room(10_000, 3_000.0, short=False)
    assert room.serves_alike(20_000)
    assert room.serves_alike(6_000)
    assert not room.serves_alike(4_000)
    assert not Room(10_000, 3_000.0, short=True).serves_alike(20_000)
    assert Room(10_000, 9_900.0, short=True).serves_alike(10_000)


def test_the_margin_is_two_standard_deviations_of_what_a_start_has_left() -> None:
    def memory(utilization: float) -> Memory:
        found = ASKED.memory({"gpu_memory_utilization": utilization})
        assert isinstance(found, Memory)
        return found

    fits, tight, none = memory(0.9), memory(0.985), memory(1.0)
    assert fits.slack_bytes > fits.margin_bytes
    assert chance_to_start(fits) > 0.97
    assert fits.slack_bytes > tight.slack_bytes > none.slack_bytes
    for found in (fits, tight, none):
        assert (found.slack_bytes >= 0) is (found.failed is None)
        assert (chance_to_start(found) < 0.025) is (found.slack_bytes < -0.98 * found.margin_bytes)
