import pytest

from tuner.sim.arguments import Refused, known_arguments, parse
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
        (["--dtype", "int8"], "argument --dtype: invalid choice: 'int8'"),
    ],
)
def test_what_vllm_would_refuse_is_refused_in_its_words(flags: list[str], why: str) -> None:
    with pytest.raises(Refused, match=why):
        parse(["m", *flags])


@pytest.mark.parametrize("name", [name for name in shipped_spaces() if name != "cpu"])
def test_every_shipped_gpu_can_be_searched(name: str) -> None:
    space = load_space(name)
    assert {*space.parameters, *space.fixed} <= known_arguments()
