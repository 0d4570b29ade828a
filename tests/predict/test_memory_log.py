"""What vLLM's logs say of memory. The lines are real ones, with the process and the time cut."""

from pathlib import Path

import pytest

from tuner.predict.memory import Reported, read_log

LOG_25 = """\
(EngineCore pid=1) INFO 11-22 23:22:29 [v1/worker/gpu/model_runner.py:302] Model loading took 14.29 GiB and 0.419552 seconds
(EngineCore pid=1) INFO 11-22 23:22:42 [compilation/backends.py:393] Compiling a graph for compile range (1, 2048) takes 6.92 s
(EngineCore pid=1) DEBUG 11-22 23:22:46 [v1/worker/gpu_worker.py:537] Memory profiling takes 16.44 seconds. Total non KV cache \
memory: 15.56GiB; torch peak memory increase: 1.04GiB; non-torch forward increase memory: 0.22GiB; weights memory: 14.29GiB.
(EngineCore pid=1) INFO 11-22 23:22:46 [v1/worker/gpu_worker.py:538] Available KV cache memory: 2.62 GiB
(EngineCore pid=1) INFO 11-22 23:22:46 [v1/core/kv_cache_utils.py:2146] GPU KV cache size: 49,008 tokens
(EngineCore pid=1) INFO 11-22 23:22:47 [v1/worker/gpu/model_runner.py:722] Graph capturing finished in 1 secs, took 0.21 GiB
"""
LOG_32 = """\
INFO [gpu_model_runner.py:5150] Model loading took 3.41 GiB memory and 1.5 seconds
INFO [backends.py:292] Directly load the compiled graph(s) for compile range (1, 8192) from the cache, took 1.395 s
DEBUG [gpu_worker.py:741] Memory profiling takes 1.44 seconds. Total non KV cache memory: 5.1GiB; torch peak memory increase: \
0.9GiB; total consumed (from mem_get_info): 4.25GiB; weights memory: 3.41GiB.
INFO [gpu_worker.py:760] Available KV cache memory: 122.0 GiB
"""


def test_the_log_of_0_25_is_read_with_its_debug_lines() -> None:
    found = read_log(LOG_25)
    assert found.kv_cache_tokens == 49008
    assert found.compiled is True
    gib = {
        "weights_bytes": 14.29,
        "graphs_bytes": 0.21,
        "kv_cache_bytes": 2.62,
        "activations_bytes": 1.04,
        "other_bytes": 0.22,
    }
    assert {name: round(getattr(found, name) / 2**30, 2) for name in gib} == gib


def test_the_log_of_0_32_is_read_where_the_rest_is_what_is_not_weights() -> None:
    found = read_log(LOG_32)
    assert found.weights_bytes
    assert found.other_bytes
    assert (round(found.weights_bytes / 2**30, 2), round(found.other_bytes / 2**30, 2)) == (3.41, 0.84)
    assert (found.compiled, found.kv_cache_tokens, found.graphs_bytes) == (False, None, None)


def test_a_log_that_says_nothing_is_read_as_nothing() -> None:
    assert read_log("") == Reported()
    assert read_log("INFO Application startup complete.\nGPU KV cache size: many tokens") == Reported()


@pytest.mark.parametrize(
    ("log", "tokens", "weights_gib"),
    [
        ("cuda-port-in-use.log", None, None),
        ("cuda-out-of-memory.log", None, None),
        ("cuda-engine-killed.log", 34864, 3.41),
    ],
)
def test_real_logs_are_read(log: str, tokens: int | None, weights_gib: float | None) -> None:
    path = Path(__file__).parents[1] / "launch" / "logs" / log
    found = read_log(path.read_text(errors="replace"))
    assert found.kv_cache_tokens == tokens
    assert (found.weights_bytes and round(found.weights_bytes / 2**30, 2)) == weights_gib
