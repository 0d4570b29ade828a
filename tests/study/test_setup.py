import re
from dataclasses import replace
from pathlib import Path

import pytest

from tuner.errors import EngineError, UsageError
from tuner.launch.engine import EngineInfo
from tuner.measure.visible import Visible
from tuner.space.files import load_space, shipped_spaces
from tuner.space.parameters import Categorical
from tuner.study.checks import check
from tuner.study.options import Options
from tuner.study.setup import Setup, check_lengths, choose_space, make_setup
from tuner.types import DetectedGpu
from tuner.workload.presets import PRESETS, workload_yaml

PYTHON = Path("/opt/engine/bin/python")


def card(name: str, index: int = 0) -> DetectedGpu:
    return DetectedGpu(
        index=index, uuid=f"GPU-{index}", name=name, memory_bytes=2**34, compute_capability=(7, 5), driver="550.1"
    )


T4 = [card("Tesla T4"), card("Tesla T4", 1)]


def info(gpu: str = "t4", platform: str = "cuda", missing: str = "") -> EngineInfo:
    space = load_space(gpu)
    return EngineInfo("0.32.0", platform, frozenset({*space.parameters, *space.fixed} - {missing}), 10.0)


def setup(options: Options, cards: list[DetectedGpu], engine: EngineInfo | None = None) -> Setup:
    return make_setup(options, choose_space(options, cards), PYTHON, engine or info(), cards)


def test_the_bare_command() -> None:
    found = setup(Options(gpu="t4", trials=40), T4)
    assert found.study == "t4-DeepSeek-R1-Distill-Qwen-1.5B-chat"
    assert found.launcher.model == "deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B"
    assert [gpu.index for gpu in found.gpus] == [0]  # of two cards, the one that vLLM takes
    assert found.fingerprint.gpu == "Tesla T4"
    assert (found.trials, found.objective.name, found.storage) == (40, "throughput", "sqlite:///tuner.db")


@pytest.mark.parametrize("name", shipped_spaces())
def test_every_shipped_space_is_found_by_its_card(name: str) -> None:
    space = load_space(name)
    cards = [card(space.gpu.names[0])] if space.gpu.names else []
    assert choose_space(Options(gpu="auto"), cards).name == name
    assert choose_space(Options(gpu=name), cards).name == name


def test_a_named_card_that_is_not_there_is_refused_unless_forced() -> None:
    with pytest.raises(UsageError, match="this machine has no NVIDIA GPU"):
        choose_space(Options(gpu="t4"), [])
    with pytest.raises(UsageError, match="t4 is for Tesla T4 and this machine has NVIDIA L4"):
        choose_space(Options(gpu="t4"), [card("NVIDIA L4")])
    assert choose_space(Options(gpu="t4", force_gpu=True), [card("NVIDIA L4")]).name == "t4"


def test_a_card_without_a_space_is_told_what_to_do() -> None:
    with pytest.raises(UsageError, match="--space"):
        choose_space(Options(gpu="auto"), [card("NVIDIA GeForce GTX 1080")])


def test_an_engine_for_another_platform_is_refused() -> None:
    with pytest.raises(EngineError, match="runs on the CPU only"):
        setup(Options(gpu="t4"), T4, info(platform="cpu"))
    with pytest.raises(EngineError, match="is built for cuda"):
        setup(Options(gpu="cpu"), [], info("cpu"))


def test_an_engine_without_a_flag_of_the_space_is_refused() -> None:
    with pytest.raises(EngineError, match=r"vLLM 0\.32\.0 of .* has no argument stream_interval"):
        setup(Options(gpu="t4"), T4, info(missing="stream_interval"))


def test_checkpoints_are_offered_only_when_given(tmp_path: Path) -> None:
    without = choose_space(Options(gpu="t4"), T4).parameters["quantization"]
    assert isinstance(without, Categorical)
    assert "awq" not in without.choices
    (tmp_path / "config.json").write_text("{}")
    options = Options(gpu="t4", quantized_model=[f"awq={tmp_path}"])
    found = setup(options, T4)
    offered = found.space.parameters["quantization"]
    assert isinstance(offered, Categorical)
    assert "awq" in offered.choices
    assert found.launcher.arguments({"quantization": "awq"})[0] == str(tmp_path)


def test_engine_arguments_are_fixed_with_their_yaml_type() -> None:
    space = choose_space(Options(gpu="t4", engine_arg=["tensor_parallel_size=2", "load_format=dummy"]), T4)
    assert space.fixed["tensor_parallel_size"] == 2
    assert space.fixed["load_format"] == "dummy"
    options = Options(gpu="t4", engine_arg=["tensor_parallel_size=2"])
    engine = EngineInfo("0.32.0", "cuda", info().arguments | {"tensor_parallel_size"}, 10.0)
    assert [gpu.index for gpu in setup(options, T4, engine).gpus] == [0, 1]


def test_only_visible_cards_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert [gpu.index for gpu in setup(Options(gpu="t4"), T4).gpus] == [1]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-1,GPU-0")
    assert [gpu.index for gpu in setup(Options(gpu="t4"), T4).gpus] == [1]


MIXED = [card("Tesla T4"), card("NVIDIA H100 80GB HBM3", 1)]


def test_the_first_visible_card_is_the_studys(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose_space(Options(gpu="auto"), MIXED).name == "t4"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert choose_space(Options(gpu="auto"), MIXED).name == "h100-80gb"
    assert choose_space(Options(gpu="h100-80gb"), MIXED).name == "h100-80gb"
    assert setup(Options(gpu="h100-80gb"), MIXED, info("h100-80gb")).fingerprint.gpu == "NVIDIA H100 80GB HBM3"
    with pytest.raises(UsageError, match="t4 is for Tesla T4 and this machine has NVIDIA H100"):
        choose_space(Options(gpu="t4"), MIXED)


@pytest.mark.parametrize("named", ["", "7", "7,1", "-1", "MIG-1", "GPU-", "NoDevFiles"])
def test_cards_that_are_hidden_are_told_and_never_no_gpu_in_silence(
    monkeypatch: pytest.MonkeyPatch, named: str
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)
    for gpu in ("auto", "t4"):
        with pytest.raises(
            UsageError, match=r"CUDA_VISIBLE_DEVICES is .*the GPUs of this machine: 0 \(Tesla T4, GPU-0\)"
        ):
            choose_space(Options(gpu=gpu), MIXED)
    assert choose_space(Options(gpu="cpu"), MIXED).name == "cpu"
    assert choose_space(Options(gpu="auto"), []).name == "cpu"


def test_what_the_user_said_of_this_host_hides_no_card_of_a_node(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    seen, energy = Visible(gpus=tuple(T4)), Options(gpu="t4", objective=("energy",))
    space = choose_space(Options(gpu="t4"), seen)
    assert [gpu.index for gpu in make_setup(Options(gpu="t4"), space, PYTHON, info(), seen).gpus] == [0]
    assert make_setup(energy, space, PYTHON, info(), seen, lambda uuid: uuid == "GPU-0").objective.name == "energy"
    with pytest.raises(UsageError, match="Tesla T4 does not tell through NVML"):
        make_setup(energy, space, PYTHON, info(), seen, lambda uuid: False)
    two = Options(gpu="t4", engine_arg=["tensor_parallel_size=4"])
    engine = EngineInfo("0.32.0", "cuda", info().arguments | {"tensor_parallel_size"}, 10.0)
    with pytest.raises(UsageError, match="tensor_parallel_size 4 needs 4 GPUs and 2 can be seen"):
        make_setup(two, choose_space(two, seen), PYTHON, engine, seen)


def test_fewer_visible_cards_than_the_settings_need_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,9,1")
    options = Options(gpu="t4", engine_arg=["tensor_parallel_size=2"])
    engine = EngineInfo("0.32.0", "cuda", info().arguments | {"tensor_parallel_size"}, 10.0)
    with pytest.raises(UsageError, match=r"tensor_parallel_size 2 needs 2 GPUs and 1 can be seen \(.* ends at '9'"):
        setup(options, T4, engine)


def test_what_the_user_fixes_leaves_the_search() -> None:
    space = choose_space(Options(gpu="t4", max_model_len=4096, engine_arg=["max_num_seqs=64"]), T4)
    assert space.fixed["max_model_len"] == 4096
    assert space.fixed["max_num_seqs"] == 64
    assert "max_num_seqs" not in space.parameters


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (Options(trials=0), "--trials is 0"),
        (Options(users=0), "--users is 0"),
        (Options(verify=-1), "--verify is -1"),
        (Options(window=0.0), "--window is 0"),
        (Options(max_model_len=0), "--max-model-len is 0"),
        (Options(engine_arg=["max_num_seqs"]), "expected NAME=VALUE"),
        (Options(engine_arg=["compilation_config={a: 1}"]), r"by its dotted name, `compilation_config\.a=\.\.\.`"),
        (Options(engine_arg=["a=[]"]), "expected NAME=VALUE"),
        (Options(engine_arg=["a..b=1"]), "expected NAME=VALUE"),
        (Options(quantized_model=["awq="]), "expected QUANTIZATION=PATH_OR_REPO"),
        (Options(model="/no/such/model"), "there is no such folder"),
    ],
)
def test_what_can_be_known_to_be_wrong_at_once(options: Options, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        check(options)


@pytest.mark.parametrize("objective", ["throughput", "requests"])
def test_an_objective_that_the_arrivals_decide_is_refused_with_what_to_take(objective: str, tmp_path: Path) -> None:
    opened = Options(gpu="t4", workload="open-chat", objective=(objective,))
    with pytest.raises(UsageError, match=r"--objective ttft_p99, tpot_p99, e2e_p99 or goodput .*find_rate.*--users"):
        check(opened)
    check(opened, is_measured=False)
    check(replace(opened, users=8))
    check(replace(opened, objective=("e2e_p99",)))
    searched = tmp_path / "searched.yaml"
    searched.write_text(workload_yaml(replace(PRESETS["open-chat"], find_rate=True)))
    check(replace(opened, workload=str(searched), slo=("ttft_p99=1s",)))


def test_requests_that_do_not_fit_are_refused() -> None:
    found = setup(Options(gpu="t4", workload="long-prompt"), T4)
    with pytest.raises(UsageError, match="has requests of 3264 tokens and max_model_len is 2048"):
        check_lengths(found, {"max_model_len": 2048})
    check_lengths(found, {"max_model_len": 4096})


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("compilation_config.cudagraf_mode", r":5: vLLM 0\.32\.0 .*\.cudagraf_mode .did you mean '.*cudagraph_mode'"),
        ("no_such_config.mode", r":5: vLLM 0\.32\.0 .* has no argument no_such_config\.mode"),
        ("hf_overrides.anything.at_all", None),  # a dictionary, whose keys vLLM does not tell
    ],
)
def test_a_dotted_name_that_vllm_does_not_know(name: str, why: str | None, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    head = 'gpu:\n  names: [Tesla T4]\n  compute_capability: "7.5"\nparameters:\n'
    path.write_text(f"{head}  {name}: {{type: categorical, choices: [a, b]}}\n")
    known = {"compilation_config", "compilation_config.cudagraph_mode", "hf_overrides"}
    engine = EngineInfo("0.32.0", "cuda", frozenset(known), 10.0)
    if why is None:
        assert setup(Options(space=path), T4, engine).space.name == "mine"
        return
    with pytest.raises(EngineError, match=f"^{re.escape(str(path))}{why}"):
        setup(Options(space=path), T4, engine)


@pytest.mark.parametrize(
    ("groups", "why"),
    [
        ("graph", "t4 has no such group .did you mean 'graphs'"),
        ("graphs,", "expected names of groups"),
        ("all,graphs", "all has the others in it"),
    ],
)
def test_groups_that_are_none(groups: str, why: str) -> None:
    with pytest.raises(UsageError, match=f"^--groups .*{why}"):
        choose_space(Options(groups=groups), T4)


def test_chosen_groups_are_searched_alone() -> None:
    found = choose_space(Options(gpu="t4", groups="graphs, offload"), T4)
    assert {parameter.group for parameter in found.parameters.values()} == {"graphs", "offload"}
    fixed = choose_space(Options(gpu="t4", groups="graphs", engine_arg=["enforce_eager=false"]), T4)
    assert list(fixed.parameters) == ["max_cudagraph_capture_size", "compilation_config.cudagraph_mode"]
