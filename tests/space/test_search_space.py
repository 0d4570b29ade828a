import re
from pathlib import Path

import pytest

from tuner.errors import UsageError
from tuner.space.files import load_space, shipped_spaces, space_for
from tuner.space.parameters import Categorical, Int
from tuner.space.search_space import SearchSpace

SPACE = """\
gpu:
  names: [Tesla T4]
  compute_capability: "7.5"
environment: {OMP_NUM_THREADS: "1"}
fixed: {dtype: half}
parameters:
  max_num_seqs: {type: int, low: 16, high: 512, log: true}
  max_num_batched_tokens: {type: int, low: 64, high: 8192, step: 64}
  gpu_memory_utilization: {type: float, low: 0.85, high: 0.95, step: 0.01}
  quantization: {type: categorical, choices: [none, fp8_per_tensor, awq, gptq]}
  enable_chunked_prefill: {type: categorical, choices: [true, false]}
  long_prefill_token_threshold: {type: int, low: 0, high: 1024, when: {enable_chunked_prefill: true}}
rules:
  - require: max_num_batched_tokens >= max_num_seqs
    because: vLLM refuses to start
enqueue:
  - {max_num_seqs: 256, max_num_batched_tokens: 4096}
  - {max_num_seqs: 128, quantization: awq}
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture
def space(tmp_path: Path) -> SearchSpace:
    return load_space(write(tmp_path, SPACE))


# ---------------------------------------------------------------- reading


def test_a_file_becomes_a_space(space: SearchSpace) -> None:
    assert space.name == "mine"
    assert space.gpu.capability == (7, 5)
    assert space.gpu.is_called("NVIDIA T4")
    assert not space.gpu.is_called("NVIDIA L4")
    assert space.environment == {"OMP_NUM_THREADS": "1"}
    assert space.fixed == {"dtype": "half"}
    assert isinstance(space.parameters["max_num_seqs"], Int)
    assert space.parameters["max_num_seqs"].log
    assert isinstance(space.parameters["quantization"], Categorical)
    assert space.parameters["quantization"].choices[0] == "none"
    assert space.enqueue[0] == {"max_num_seqs": 256, "max_num_batched_tokens": 4096}


@pytest.mark.parametrize(
    ("old", "new", "line", "sentence"),
    [
        ("low: 16, high: 512", "low: 513, high: 512", 7, "parameters.max_num_seqs: low 513 is above high 512"),
        ("low: 16, high: 512", "low: 0, high: 512", 7, "parameters.max_num_seqs: log needs a low above 0, found 0"),
        (
            "low: 16, high: 512",
            "low: '16', high: 512",
            7,
            "parameters.max_num_seqs.low: expected a whole number, found the text '16'",
        ),
        ("step: 64}", "step: 0}", 8, "parameters.max_num_batched_tokens: step must be above 0, found 0"),
        (
            "log: true}",
            "log: true, step: 2}",
            7,
            "parameters.max_num_seqs: log and step exclude each other",
        ),
        (
            "low: 16, high: 512",
            "low: 16, high: 1" + 23 * "0",
            7,
            "parameters.max_num_seqs: whole numbers are searched up to 9,007,199,254,740,992",
        ),
        ("max_num_seqs: {type: int,", "max_num_seqs: {", 7, "parameters.max_num_seqs: the key 'type' is required"),
        ("log: true}", "log: maybe}", 7, "parameters.max_num_seqs.log: expected true or false, found the text 'maybe'"),
        (
            "low: 0.85",
            "low: .nan",
            9,
            "parameters.gpu_memory_utilization.low: expected a number that is finite, found nan",
        ),
        (
            "[none, fp8_per_tensor, awq, gptq]",
            "[]",
            10,
            "parameters.quantization.choices: expected at least 1 of them, found none",
        ),
        (
            "[none, fp8_per_tensor, awq, gptq]",
            "[none, awq, awq]",
            10,
            "parameters.quantization: the choice awq is there twice",
        ),
        (
            "[none, fp8_per_tensor, awq, gptq]",
            "[null, awq]",
            10,
            "parameters.quantization.choices.0: expected a number, a string, true or false; found null",
        ),
        (
            "[none, fp8_per_tensor, awq, gptq]",
            "[none, fp8_per_channel]",
            10,
            "parameters.quantization.choices.1: quantization fp8_per_channel needs compute capability 8.9,"
            " and this card has 7.5",
        ),
        (
            "{dtype: half}",
            "{dtype: bfloat16}",
            5,
            "fixed.dtype: dtype bfloat16 needs compute capability 8.0, and this card has 7.5",
        ),
        (
            "{dtype: half}",
            "{max_num_seqs: 64}",
            7,
            "parameters.max_num_seqs: this parameter is also in fixed; leave it in one of them",
        ),
        (
            "{enable_chunked_prefill: true}}",
            "{chunked_prefill: true}}",
            12,
            "parameters.long_prefill_token_threshold.when.chunked_prefill:"
            " chunked_prefill is neither fixed nor a parameter above long_prefill_token_threshold",
        ),
        (
            "{enable_chunked_prefill: true}}",
            "{enable_chunked_prefill: 1}}",
            12,
            "parameters.long_prefill_token_threshold.when.enable_chunked_prefill:"
            " enable_chunked_prefill 1 is none of true, false",
        ),
        (
            "require: max_num_batched_tokens >=",
            "require: max_batched_tokens >=",
            14,
            "rules.0.require: max_batched_tokens is neither fixed nor a parameter",
        ),
        (
            "require: max_num_batched_tokens >=",
            "require: max_num_batched_tokens > =",
            14,
            "rules.0.require: 'max_num_batched_tokens > = max_num_seqs' is not an expression",
        ),
        (
            "require: max_num_batched_tokens >=",
            "require: quantization >=",
            14,
            "rules.0.require: quantization >= max_num_seqs cannot be computed:"
            " '>=' not supported between instances of 'str' and 'int'",
        ),
        (
            "{max_num_seqs: 256, max_num_batched_tokens: 4096}",
            "{max_num_seqs: 256, max_num_batched_tokens: 128}",
            17,
            "enqueue.0: max_num_batched_tokens >= max_num_seqs is broken by"
            " max_num_batched_tokens 128, max_num_seqs 256: vLLM refuses to start",
        ),
        (
            "{max_num_seqs: 128, quantization: awq}",
            "{max_num_seqs: 1024}",
            18,
            "enqueue.1: max_num_seqs 1024 is outside 16..512",
        ),
        ("enqueue:", "queue:", 16, "queue: unknown key (did you mean 'enqueue'?)"),
        ("log: true}", "logarithmic: true}", 7, "parameters.max_num_seqs.logarithmic: unknown key"),
        (
            "max_num_seqs: {type: int,",
            "max_num_seqs: {type: integer,",
            7,
            "parameters.max_num_seqs: unknown 'type' 'integer' (did you mean 'int'?): choose one of int, float, categorical",
        ),
        (
            'OMP_NUM_THREADS: "1"',
            "OMP_NUM_THREADS: 1",
            4,
            "environment.OMP_NUM_THREADS: expected a text, found 1",
        ),
        (
            "names: [Tesla T4]",
            "names: []",
            1,
            "gpu: names and compute_capability belong together: a GPU has both, the CPU neither",
        ),
        ("names: [Tesla T4]", "names: [Tesla T4", 3, "this is not valid YAML: expected ',' or ']', but got ':'"),
    ],
)
def test_a_wrong_file_is_one_sentence_with_its_line(
    tmp_path: Path, old: str, new: str, line: int, sentence: str
) -> None:
    assert old in SPACE
    path = write(tmp_path, SPACE.replace(old, new, 1))
    with pytest.raises(UsageError) as caught:
        load_space(path)
    assert str(caught.value) == f"{path}:{line}: {sentence}"


# ---------------------------------------------------------------- points


@pytest.mark.parametrize(
    ("params", "violations"),
    [
        ({}, []),
        ({"max_num_seqs": 512}, []),  # a rule about an argument that is not passed says nothing
        ({"max_num_seqs": 300, "max_num_batched_tokens": 320, "gpu_memory_utilization": 0.92}, []),
        ({"enable_chunked_prefill": True, "long_prefill_token_threshold": 512}, []),
        ({"dtype": "half"}, []),
        ({"dtype": "float32"}, ["dtype is fixed to half"]),
        ({"block_size": 16}, ["block_size is not a parameter of this search space"]),
        ({"max_num_seqs": 15}, ["max_num_seqs 15 is outside 16..512"]),
        ({"max_num_seqs": 32.0}, ["max_num_seqs 32.0 is not a whole number"]),
        ({"max_num_seqs": True}, ["max_num_seqs true is not a whole number"]),
        ({"max_num_batched_tokens": 100}, ["max_num_batched_tokens 100 is not on the grid of 64 + n * 64"]),
        ({"gpu_memory_utilization": 0.855}, ["gpu_memory_utilization 0.855 is not on the grid of 0.85 + n * 0.01"]),
        ({"gpu_memory_utilization": "high"}, ["gpu_memory_utilization high is not a number"]),
        ({"quantization": "fp8"}, ["quantization fp8 is none of none, fp8_per_tensor, awq, gptq"]),
        ({"enable_chunked_prefill": 1}, ["enable_chunked_prefill 1 is none of true, false"]),
        (
            {"long_prefill_token_threshold": 512},
            ["long_prefill_token_threshold is only searched when enable_chunked_prefill is true"],
        ),
        (
            {"enable_chunked_prefill": False, "long_prefill_token_threshold": 512},
            ["long_prefill_token_threshold is only searched when enable_chunked_prefill is true"],
        ),
    ],
)
def test_violations(space: SearchSpace, params: dict[str, bool | int | float | str], violations: list[str]) -> None:
    assert space.violations(params) == violations


def test_a_parameter_is_active_when_its_condition_is_met(space: SearchSpace) -> None:
    conditional = "long_prefill_token_threshold"
    assert conditional in space.active({"enable_chunked_prefill": True})
    assert conditional not in space.active({"enable_chunked_prefill": False})
    assert space.active({}) == space.parameters.keys() - {conditional}


# ---------------------------------------------------------------- the user's choices


def test_a_fixed_argument_leaves_the_search_and_still_counts_in_rules(space: SearchSpace) -> None:
    fixed = space.with_fixed({"max_num_seqs": 200, "max_model_len": 4096})
    assert fixed.fixed == {"dtype": "half", "max_num_seqs": 200, "max_model_len": 4096}
    assert "max_num_seqs" not in fixed.parameters
    assert fixed.enqueue == ({"max_num_batched_tokens": 4096}, {"quantization": "awq"})
    assert fixed.violations({"max_num_batched_tokens": 128}) == [
        "max_num_batched_tokens >= max_num_seqs is broken by max_num_batched_tokens 128, max_num_seqs 200:"
        " vLLM refuses to start"
    ]


def test_an_enqueued_point_that_a_fixed_argument_breaks_is_gone(space: SearchSpace) -> None:
    assert space.with_fixed({"max_num_seqs": 5000}).enqueue == ({"quantization": "awq"},)


def test_fixing_the_condition_decides_over_the_conditional_parameter(space: SearchSpace) -> None:
    on = space.with_fixed({"enable_chunked_prefill": True})
    assert "long_prefill_token_threshold" in on.active({})
    assert on.violations({"long_prefill_token_threshold": 512}) == []
    off = space.with_fixed({"enable_chunked_prefill": False})
    assert "long_prefill_token_threshold" not in off.parameters


def test_the_user_cannot_fix_what_the_card_cannot_run(space: SearchSpace) -> None:
    with pytest.raises(UsageError, match=re.escape("dtype bfloat16 needs compute capability 8.0")):
        space.with_fixed({"dtype": "bfloat16"})


def test_a_quantization_of_another_checkpoint_needs_its_model(space: SearchSpace) -> None:
    def choices(space: SearchSpace) -> tuple[bool | int | float | str, ...]:
        quantization = space.parameters["quantization"]
        assert isinstance(quantization, Categorical)
        return quantization.choices

    without = space.with_quantized_models({})
    assert choices(without) == ("none", "fp8_per_tensor")
    assert without.enqueue == ({"max_num_seqs": 256, "max_num_batched_tokens": 4096},)
    given = space.with_quantized_models({"awq": "models/awq"})
    assert choices(given) == ("none", "fp8_per_tensor", "awq")
    assert given.enqueue == space.enqueue


@pytest.mark.parametrize("quantization", ["fp8_per_tensor", "gguf"])
def test_a_model_for_another_quantization_is_refused(space: SearchSpace, quantization: str) -> None:
    with pytest.raises(UsageError) as caught:
        space.with_quantized_models({quantization: "models/x"})
    assert str(caught.value) == (
        f"--quantized-model {quantization}: the search space mine takes a quantized model for awq and gptq"
    )


def test_the_digest_follows_the_search_and_not_the_texts(tmp_path: Path) -> None:
    def digest(old: str, new: str) -> str:
        return load_space(write(tmp_path, SPACE.replace(old, new, 1))).digest()

    same = digest("", "")
    assert digest("", "# a comment\n") == same
    assert digest("vLLM refuses to start", "it cannot work") == same
    assert digest("high: 512", "high: 1024") != same
    assert digest("dtype: half", "dtype: float16") != same
    assert digest('THREADS: "1"', 'THREADS: "2"') != same
    assert digest("tokens >= max", "tokens > max") != same


# ---------------------------------------------------------------- finding files


def test_spaces_are_found_next_to_the_installed_package_and_in_a_checkout(tmp_path: Path) -> None:
    checkout, package = tmp_path / "search_spaces", tmp_path / "tuner"
    package.mkdir()
    assert shipped_spaces(package) == {}
    checkout.mkdir()
    (checkout / "t4.yaml").touch()
    assert shipped_spaces(package) == {"t4": checkout / "t4.yaml"}
    (package / "search_spaces").mkdir()
    (package / "search_spaces" / "l4.yaml").touch()
    assert shipped_spaces(package) == {"l4": package / "search_spaces" / "l4.yaml"}


def test_an_unknown_gpu_is_told_the_known_ones() -> None:
    with pytest.raises(UsageError) as caught:
        load_space("t5")
    assert str(caught.value) == (
        "there is no search space 't5': the known GPUs are a100-80gb, a10g, cpu, h100-80gb, h200, l4, rtx4090, t4;"
        " for another one give a YAML file with --space"
    )


@pytest.mark.parametrize(
    ("card", "name"), [("Tesla T4", "t4"), ("NVIDIA A100 80GB PCIe", "a100-80gb"), ("NVIDIA H200", "h200")]
)
def test_a_card_has_its_space(card: str, name: str) -> None:
    assert space_for(card).name == name


def test_a_card_without_a_space_is_told_the_others() -> None:
    with pytest.raises(
        UsageError, match=r"there is no search space for NVIDIA L40S, only for NVIDIA A100-SXM4-80GB, .*T4"
    ):
        space_for("NVIDIA L40S")


def test_a_missing_file_is_told_as_such(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"none\.yaml cannot be read: No such file or directory"):
        load_space(tmp_path / "none.yaml")
