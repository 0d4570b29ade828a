"""The files in search_spaces/: each loads, holds vLLM's defaults, and names arguments that a real vLLM takes."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from tuner.space import gpus
from tuner.space.engines import ENGINES
from tuner.space.files import load_space, shipped_spaces
from tuner.space.gpus import UNSET
from tuner.space.parallel import SIZES
from tuner.space.parameters import Categorical, Float, Int
from tuner.space.search_space import SearchSpace
from tuner.types import Params, Value
from tuner.types.settings import flag

REPO = Path(__file__).resolve().parents[2]
SMALL = {"max_num_seqs": 256, "max_num_batched_tokens": 2048}
LARGE = {"max_num_seqs": 1024, "max_num_batched_tokens": 8192}
#: name: compute capability, NVML names, and what vLLM 0.32 sets by itself (engine/arg_utils.py, get_batch_defaults).
CARDS: dict[str, tuple[tuple[int, int] | None, list[str], dict[str, int]]] = {
    "a100-80gb": ((8, 0), ["NVIDIA A100-SXM4-80GB", "NVIDIA A100 80GB PCIe"], SMALL),
    "a10g": ((8, 6), ["NVIDIA A10G"], SMALL),
    "cpu": (None, [], {"max_num_seqs": 128, "max_num_batched_tokens": 2048}),
    "h100-80gb": ((9, 0), ["NVIDIA H100 80GB HBM3", "NVIDIA H100 PCIe"], LARGE),
    "h200": ((9, 0), ["NVIDIA H200"], LARGE),
    "l4": ((8, 9), ["NVIDIA L4"], SMALL),
    "rtx4090": ((8, 9), ["NVIDIA GeForce RTX 4090"], SMALL),
    "t4": ((7, 5), ["Tesla T4"], SMALL),
}
SPECULATION: Params = {
    "speculative_config.method": UNSET,
    "speculative_config.num_speculative_tokens": 1,
    "speculative_config.prompt_lookup_max": 2,
    "speculative_config.prompt_lookup_min": 1,
}
ALWAYS: Params = {"stream_interval": 1, "enable_prefix_caching": True, "long_prefill_token_threshold": 0, **SPECULATION}
ON_A_GPU: Params = {
    "gpu_memory_utilization": 0.92,
    "quantization": UNSET,
    "enforce_eager": False,
    "api_server_count": 1,
    "max_cudagraph_capture_size": 512,
    "compilation_config.cudagraph_mode": "FULL_AND_PIECEWISE",
    "attention_backend": UNSET,
    "kv_cache_dtype": "auto",
    "block_size": 16,
    "linear_backend": "auto",
    "moe_backend": "auto",
    "kv_offloading_size": UNSET,
    **dict.fromkeys((*SIZES, "engines_per_gpu"), 1),
    "distributed_executor_backend": UNSET,
}
OPEN, CLOSED = (
    {"batch", "memory", "graphs", "front_end"},
    {"attention", "kernels", "offload", "speculation", "engines", "parallel"},
)
each_card = pytest.mark.parametrize("name", sorted(CARDS))


def values(space: SearchSpace, name: str) -> list[Value]:
    """The ends of a range, or every choice."""
    parameter = space.parameters[name]
    return list(parameter.choices) if isinstance(parameter, Categorical) else [parameter.low, parameter.high]


def test_every_shipped_file_is_known_here() -> None:
    assert sorted(shipped_spaces()) == sorted(CARDS)


@each_card
def test_the_card_is_described(name: str) -> None:
    space = load_space(name)
    capability, names, _ = CARDS[name]
    assert space.name == name
    assert space.gpu.capability == capability
    assert list(space.gpu.names) == names
    if capability is not None:
        assert space.gpu.memory_gib
        assert space.gpu.bandwidth_gb_per_s
        assert {"fp16", "int8"} <= space.gpu.tflops.keys()
        assert ("fp8" in space.gpu.tflops) == (capability >= (8, 9))
        assert space.gpu.source


def test_no_card_is_in_two_files() -> None:
    names = [gpus.canonical_name(name) for _, names, _ in CARDS.values() for name in names]
    assert len(set(names)) == len(names)


@each_card
def test_nothing_is_offered_that_the_card_cannot_run(name: str) -> None:
    space = load_space(name)
    for parameter in space.parameters:
        for value in values(space, parameter):
            assert gpus.why_not(space.gpu.capability, parameter, value) is None
    assert ("kv_cache_dtype" in space.parameters) == (name not in {"t4", "cpu"})


@each_card
def test_the_defaults_of_vllm_are_inside(name: str) -> None:
    space = load_space(name).with_quantized_models({})
    known = {**ALWAYS, **CARDS[name][2], **({} if name == "cpu" else ON_A_GPU)}
    assert space.parameters.keys() <= known.keys()
    point = {parameter: known[parameter] for parameter in space.parameters}
    active = {parameter: point[parameter] for parameter in space.active(point)}
    assert space.violations(active) == []


@each_card
def test_each_parameter_has_a_group_and_each_group_says_what_it_is_for(name: str) -> None:
    space = load_space(name)
    assert {parameter.group for parameter in space.parameters.values()} == space.groups.keys()
    for group, said in space.groups.items():
        assert said.open == (group in OPEN)
        assert group in OPEN | CLOSED


@each_card
def test_a_condition_on_a_closed_group_is_on_a_default(name: str) -> None:
    """What a `when` names is taken to be its first choice where its group is closed, so that must be vLLM's default."""
    space, known = load_space(name), {**ALWAYS, **CARDS[name][2], **ON_A_GPU}
    for parameter in space.parameters.values():
        for other in parameter.when:
            assert space.parameters[other].example == known[other]


@each_card
def test_any_choice_of_groups_leaves_a_space_that_a_record_of_it_reads(name: str) -> None:
    space = load_space(name)
    for chosen in (["batch", group] for group in space.groups):
        smaller = space.with_groups(chosen)
        assert SearchSpace.model_validate_json(smaller.model_dump_json()) == smaller
        assert {parameter.group for parameter in smaller.parameters.values()} <= set(chosen)


@each_card
def test_every_parameter_and_group_is_in_the_documentation(name: str) -> None:
    text, space = (REPO / "docs" / "spaces.md").read_text(), load_space(name)
    for word in (*space.parameters, *space.groups):
        assert f"`{word}`" in text


@each_card
def test_two_to_four_points_are_enqueued_and_none_is_the_default(name: str) -> None:
    space = load_space(name).with_quantized_models({})
    assert 2 <= len(space.enqueue) <= 4
    defaults = {**ALWAYS, **CARDS[name][2], **ON_A_GPU}
    for point in space.enqueue:
        assert any(defaults.get(parameter) != value for parameter, value in point.items())


@each_card
def test_sequences_that_no_step_can_hold_are_a_violation(name: str) -> None:
    space = load_space(name)
    point = {"max_num_seqs": values(space, "max_num_seqs")[1], "max_num_batched_tokens": 64}
    assert space.violations(point)[-1].endswith("vLLM refuses to start otherwise")


def test_ranges_end_on_their_grid() -> None:
    for name in shipped_spaces():
        for parameter in load_space(name).parameters.values():
            if isinstance(parameter, Int | Float):
                assert parameter.why_outside(parameter.high) is None


# Runs in vLLM's interpreter: the parser of `vllm serve`, fed with lists of arguments.
PARSE = """
import json, sys
from vllm.utils.argparse_utils import FlexibleArgumentParser
try:
    from vllm.entrypoints.launchers.cli_args import make_arg_parser
except ImportError:
    from vllm.entrypoints.openai.cli_args import make_arg_parser
parser = make_arg_parser(FlexibleArgumentParser())
from vllm.model_executor.layers.quantization import QUANTIZATION_METHODS
refused = {}
for arguments in json.load(sys.stdin):
    try:
        parser.parse_args(arguments)
    except SystemExit:
        refused[" ".join(arguments)] = True
names = [action.dest for action in parser._actions]
print("ANSWER" + json.dumps([sorted(refused), names, QUANTIZATION_METHODS]))
"""


def engine() -> Path:
    python = Path(os.environ.get("TUNER_VLLM_PYTHON") or REPO / ".engine" / "bin" / "python")
    if not python.exists():
        pytest.skip(f"no vLLM: {python} does not exist (set TUNER_VLLM_PYTHON)")
    return python


@pytest.mark.engine
def test_vllm_takes_every_argument_and_value() -> None:
    spaces = [load_space(name) for name in shipped_spaces()]
    searched = [(name, value) for space in spaces for name in space.parameters for value in values(space, name)]
    searched = [(name, value) for name, value in searched if name != ENGINES]  # tuner's own
    fixed = [item for space in spaces for item in space.fixed.items()]
    arguments = [flag(name, value) for name, value in searched + fixed if value != UNSET]
    answer = subprocess.run(
        [engine(), "-c", PARSE], input=json.dumps(arguments), capture_output=True, text=True, check=False, timeout=600
    )
    lines = [line for line in answer.stdout.splitlines() if line.startswith("ANSWER")]
    assert lines, answer.stderr[-2000:]
    refused, names, quantizations = json.loads(lines[0].removeprefix("ANSWER"))
    assert refused == []
    assert {name.partition(".")[0] for name, _ in searched + fixed} <= set(
        names
    )  # the parser takes abbreviations, the test does not
    offered = {str(value) for name, value in searched if name == "quantization"} - {UNSET}
    assert offered
    assert offered <= set(quantizations)
