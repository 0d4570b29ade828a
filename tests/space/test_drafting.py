import json
from pathlib import Path
from typing import Any

import pytest

from tuner.space.drafting import config_json, method_of, mtp_layers, vocabulary


def model(folder: Path, **config: Any) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    return str(folder)


@pytest.mark.parametrize(
    ("config", "layers"),
    [
        ({"model_type": "deepseek_v3", "num_nextn_predict_layers": 1}, 1),
        ({"model_type": "qwen3_5", "text_config": {"mtp_num_hidden_layers": 2}}, 2),
        ({"model_type": "inkling_model", "mtp_config": {"num_nextn_predict_layers": 3}}, 3),
        ({"model_type": "minimax_m3", "num_mtp_modules": 1}, 1),
        ({"model_type": "longcat_flash"}, 1),
        ({"model_type": "qwen2"}, 0),
        ({"model_type": "deepseek_v3", "num_nextn_predict_layers": 0}, 0),
        ({"model_type": "deepseek_v3", "num_nextn_predict_layers": None}, 0),
    ],
)
def test_a_checkpoint_says_how_many_layers_it_drafts_with(config: dict[str, Any], layers: int) -> None:
    assert mtp_layers(config) == layers


@pytest.mark.parametrize(
    ("name", "config", "method"),
    [
        ("small", {"architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2"}, "draft_model"),
        ("head", {"architectures": ["EagleLlamaForCausalLM"]}, "eagle"),
        ("head", {"architectures": ["LlamaForCausalLMEagle3"]}, "eagle3"),
        ("head", {"architectures": ["X"], "speculators_model_type": "eagle3"}, "eagle3"),
        ("head", {"architectures": ["X"], "model_type": "medusa"}, "medusa"),
        ("qwen-eagle3", {"architectures": ["LlamaForCausalLM"]}, "eagle3"),
    ],
)
def test_a_draft_says_by_which_method_it_is_used(
    name: str, config: dict[str, Any], method: str, tmp_path: Path
) -> None:
    assert method_of(model(tmp_path / name, **config)) == method


def test_a_hub_name_is_known_by_its_words_or_by_what_was_downloaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    assert config_json("org/small") is None
    assert method_of("org/EAGLE3-LLaMA3.1-Instruct-8B") == "eagle3"
    assert method_of("org/small") == "draft_model"
    model(tmp_path / "models--org--small" / "snapshots" / "1", vocab_size=100, architectures=["EagleX"])
    assert vocabulary(config_json("org/small") or {}) == 100
    assert method_of("org/small") == "eagle"


def test_what_is_no_config_is_none(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("[1]")
    assert config_json(str(tmp_path)) is None
    (tmp_path / "config.json").write_text("{")
    assert config_json(str(tmp_path)) is None
    assert vocabulary({"text_config": {"vocab_size": 7}}) == 7
    assert vocabulary({"vocab_size": "many"}) is None
