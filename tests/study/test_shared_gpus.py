"""What of engines that share a GPU is searched with a model, and the sentence for what was asked for and cannot be."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tuner.errors import UsageError
from tuner.space.files import load_space
from tuner.space.search_space import SearchSpace
from tuner.study.options import Options
from tuner.study.setup import choose_space, vllm_launcher
from tuner.study.shared_gpus import engines_space, how_shared

DENSE, EXPERTS = "deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B", "Qwen/Qwen3-30B-A3B"
OPTIONS = replace(Options(), gpu="h200", force_gpu=True, model=DENSE, groups="batch,engines")


def asked(**changes: Any) -> SearchSpace:
    return choose_space(replace(OPTIONS, **changes), ())


def test_the_engines_of_a_dense_model_can_share_and_are_told_their_memory() -> None:
    space = asked()
    assert "engines_per_gpu" in space.parameters
    settings = vllm_launcher(OPTIONS, space, Path("python")).command({"engines_per_gpu": 2}).settings
    assert int(settings["kv_cache_memory_bytes"]) > 2**30


def test_a_vllm_whose_copies_know_of_each_other_has_none_that_share() -> None:
    space = asked()
    assert engines_space(space, OPTIONS, (0, 25)) == space
    assert "engines_per_gpu" not in engines_space(space, OPTIONS, (0, 24)).parameters
    fixed = replace(OPTIONS, engine_arg=("engines_per_gpu=2",))
    with pytest.raises(UsageError, match=r"since vLLM 0\.25 only, and this is 0\.24: leave it out"):
        engines_space(asked(engine_arg=("engines_per_gpu=2",)), fixed, (0, 24))


@pytest.mark.parametrize("model", [EXPERTS, "org/nobody-knows"])
def test_it_leaves_the_search_where_they_cannot(model: str) -> None:
    assert "engines_per_gpu" not in asked(model=model).parameters
    assert "max_num_seqs" in asked(model=model).parameters


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"engine_arg": ("engines_per_gpu=2",)},
            "engines_per_gpu: .* through NCCL, which refuses two ranks on one GPU",
        ),
        ({"engine_arg": ("engines_per_gpu=0",)}, "engines_per_gpu 0: expected how many engines share each GPU"),
        ({"engine_arg": ("engines_per_gpu=1.5",)}, "engines_per_gpu 1.5: expected"),
        ({"engine_arg": ("engines_per_gpu=many",)}, "engines_per_gpu many: expected"),
    ],
)
def test_what_was_asked_for_and_cannot_be(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        asked(model=EXPERTS, **changes)


def test_without_it_the_rest_of_its_group_is_searched() -> None:
    assert [*asked(model=EXPERTS, groups="engines").parameters] == ["distributed_executor_backend"]


@pytest.mark.parametrize(
    ("mps", "there", "groups", "said"),
    [
        ("auto", True, "engines", "run at once on it, over NVIDIA's multi-process service"),
        ("auto", False, "engines", "take turns on it: nvidia-cuda-mps-control, .* is not on the PATH there"),
        ("auto", True, "batch", None),
        ("off", True, "engines", None),
    ],
)
def test_how_they_share_is_said_where_they_may(mps: str, there: bool, groups: str, said: str | None) -> None:
    options = replace(OPTIONS, mps=mps)
    told = how_shared(asked(groups=groups), options, mps=there)
    assert told is None if said is None else re.search(said, told or "")


@pytest.mark.parametrize(("mps", "there"), [("auto", True), ("auto", False), ("off", True)])
def test_a_launch_has_the_service_beneath_it_where_it_is_there(
    mps: str, there: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tuner.launch.mps.is_there", lambda: there)
    launcher = vllm_launcher(replace(OPTIONS, mps=mps), asked(), Path("python"))
    assert launcher.mps == (mps == "auto" and there)
    assert not vllm_launcher(replace(OPTIONS, gpu="cpu", groups=None), load_space("cpu"), Path("python")).mps


@pytest.mark.parametrize(
    "parameter",
    [
        "{type: int, low: 0, high: 2}",
        "{type: categorical, choices: [1, two]}",
        "{type: categorical, choices: [1, true]}",
        "{type: float, low: 1.0, high: 2.0}",
    ],
)
def test_a_space_says_on_which_line_a_number_of_engines_is_none(tmp_path: Path, parameter: str) -> None:
    space = tmp_path / "space.yaml"
    space.write_text(f"gpu: {{names: []}}\nparameters:\n  engines_per_gpu: {parameter}\n")
    with pytest.raises(UsageError, match=r"space.yaml:3: .*how many engines share each GPU, a whole number from 1"):
        asked(gpu="cpu", space=space, groups=None)


def test_on_the_cpu_the_user_has_to_say_the_memory(tmp_path: Path) -> None:
    space = tmp_path / "space.yaml"
    space.write_text("gpu: {names: []}\nparameters:\n  engines_per_gpu: {type: int, low: 1, high: 2}\n")
    with pytest.raises(UsageError, match="kv_cache_memory_bytes would say it"):
        asked(gpu="cpu", space=space, groups=None)
    told = asked(gpu="cpu", space=space, groups=None, engine_arg=("kv_cache_memory_bytes=1000000000",))
    assert "engines_per_gpu" in told.parameters
