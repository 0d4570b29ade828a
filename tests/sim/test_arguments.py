import pytest

from tuner.sim.arguments import Refused, known_arguments, parse
from tuner.sim.engine import SimEngine
from tuner.space.engines import ENGINES
from tuner.space.files import load_space, shipped_spaces


def test_flags_are_read_as_vllm_reads_them() -> None:
    found = parse(
        ["m", "--max_num_seqs", "64", "--max-num-batched-tokens=8K", "--max-model-len", "8k", "--no-enforce-eager"]
    )
    assert found.params == {
        "max_num_seqs": 64,
        "max_num_batched_tokens": 8192,
        "max_model_len": 8000,
        "enforce_eager": False,
    }
    assert (found.model, found.served) == ("m", "m")
    assert parse(["m", "--served-model-name", "a", "b", "--port", "1"]).served == "a"
    assert parse(["m", "--load-format", "dummy", "--trust-remote-code"]).params == {}


@pytest.mark.parametrize(
    ("flags", "why"),
    [
        (["--no-such-flag", "1"], "unrecognized arguments: --no-such-flag 1"),
        (["--max-num-seqs", "many"], "argument --max-num-seqs: invalid int value: 'many'"),
        (["--kv-cache-dtype", "int3"], "argument --kv-cache-dtype: invalid choice: 'int3'"),
        (["--kv-cache-memory-bytes", "1G"], "unrecognized arguments: --kv-cache-memory-bytes 1073741824"),
        (["--dtype", "int8"], "argument --dtype: invalid choice: 'int8'"),
    ],
)
def test_what_vllm_would_refuse_is_refused_in_its_words(flags: list[str], why: str) -> None:
    with pytest.raises(Refused, match=why):
        parse(["m", *flags])


def test_engines_that_share_a_gpu_are_told_as_vllm_is_told_of_nodes() -> None:
    shared = ["--data-parallel-size", "2", "--data-parallel-size-local", "1", "--kv-cache-memory-bytes", "8G"]
    found = parse(["m", *shared, "--gpu-memory-utilization", "0.45"])
    assert found.params == {
        "data_parallel_size": 2,
        "data_parallel_size_local": 1,
        "kv_cache_memory_bytes": 8 * 2**30,
        "gpu_memory_utilization": 0.45,
    }
    other = ["--headless", "--data-parallel-start-rank", "1"]
    reached = ["--data-parallel-address", "127.0.0.1", "--data-parallel-rpc-port", "29550"]
    assert parse(["m", *shared, *other, *reached]).params == parse(["m", *shared]).params


@pytest.mark.parametrize("name", [name for name in shipped_spaces() if name != "cpu"])
def test_every_shipped_gpu_can_be_searched(name: str) -> None:
    space = load_space(name)
    assert {*space.parameters, *space.fixed} - {ENGINES} <= known_arguments()
    assert SimEngine(space.gpu).info.lacks({*space.parameters, *space.fixed}) == []
