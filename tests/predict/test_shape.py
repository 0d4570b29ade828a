"""Shapes from config.json. The parameter counts are those that the models' makers and the hub give."""

import json
import struct
from pathlib import Path
from typing import Any

import pytest

from tuner.errors import UsageError
from tuner.predict.shape import read_shape

LLAMA_8B: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
    "max_position_embeddings": 131072,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
}
DEEPSEEK_V3: dict[str, Any] = {
    "architectures": ["DeepseekV3ForCausalLM"],
    "hidden_size": 7168,
    "intermediate_size": 18432,
    "num_hidden_layers": 61,
    "num_attention_heads": 128,
    "num_key_value_heads": 128,
    "vocab_size": 129280,
    "max_position_embeddings": 163840,
    "tie_word_embeddings": False,
    "n_routed_experts": 256,
    "num_experts_per_tok": 8,
    "moe_intermediate_size": 2048,
    "n_shared_experts": 1,
    "first_k_dense_replace": 3,
    "kv_lora_rank": 512,
    "q_lora_rank": 1536,
    "qk_rope_head_dim": 64,
    "qk_nope_head_dim": 128,
    "v_head_dim": 128,
    "quantization_config": {"quant_method": "fp8"},
}
MIXTRAL = {
    **LLAMA_8B,
    "architectures": ["MixtralForCausalLM"],
    "vocab_size": 32000,
    "num_local_experts": 8,
    "num_experts_per_tok": 2,
}
GPT_OSS = {
    **LLAMA_8B,
    "architectures": ["GptOssForCausalLM"],
    "hidden_size": 2880,
    "intermediate_size": 2880,
    "num_hidden_layers": 24,
    "num_attention_heads": 64,
    "head_dim": 64,
    "vocab_size": 201088,
    "num_local_experts": 32,
    "num_experts_per_tok": 4,
    "sliding_window": 128,
    "layer_types": ["sliding_attention", "full_attention"] * 12,
}


#: A header whose tensor ends before it begins.
CUT = struct.pack("<Q", 30) + b'{"a": {"data_offsets": [8, 4]}}'


def model(folder: Path, config: Any, **changes: Any) -> str:
    """A model's folder with this config.json; a change to None removes the field."""
    if isinstance(config, dict):
        config = {name: value for name, value in {**config, **changes}.items() if value is not None}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(config if isinstance(config, str) else json.dumps(config))
    return str(folder)


def safetensors(path: Path, tensors: dict[str, int]) -> None:
    """A file whose header names these tensors and their bytes; the bytes themselves are left out."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    begin = 0
    for name, size in tensors.items():
        header[name] = {"dtype": "BF16", "shape": [size // 2], "data_offsets": [begin, begin + size]}
        begin += size
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text)


@pytest.mark.parametrize(
    ("config", "billions", "active"),
    [(LLAMA_8B, 8.03, 7.50), (MIXTRAL, 46.7, 12.7), (GPT_OSS, 20.9, 3.6), (DEEPSEEK_V3, 671.0, 36.6)],
    ids=["llama-8b", "mixtral", "gpt-oss-20b", "deepseek-v3"],
)
def test_parameters_are_those_of_the_models_card(
    config: dict[str, Any], billions: float, active: float, tmp_path: Path
) -> None:
    shape = read_shape(model(tmp_path, config))
    assert shape.parameters / 1e9 == pytest.approx(billions, rel=0.005)
    assert shape.matmul_parameters / 1e9 == pytest.approx(active, rel=0.02)
    layers = shape.layers * shape.layer_parameters
    assert layers + shape.embedding_parameters + shape.hidden == pytest.approx(shape.parameters)


@pytest.mark.parametrize(
    ("name", "billions"),
    [
        ("deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B", 1.777),
        ("Qwen/Qwen3-4B", 4.02),
        ("Qwen/Qwen3-30B-A3B", 30.53),
        ("meta-llama/Llama-3.3-70B-Instruct", 70.55),
        ("mistralai/Mistral-7B-Instruct-v0.3", 7.248),
    ],
)
def test_well_known_models_need_no_download_and_say_so(name: str, billions: float) -> None:
    shape = read_shape(name)
    assert shape.parameters / 1e9 == pytest.approx(billions, rel=0.001)
    assert shape.stored_bytes is None
    assert "ships" in shape.assumed[0]


def test_a_known_architecture_with_all_fields_assumes_nothing(tmp_path: Path) -> None:
    assert read_shape(model(tmp_path, LLAMA_8B)).assumed == ()


def test_an_unknown_architecture_is_counted_like_llama_and_says_so(tmp_path: Path) -> None:
    shape = read_shape(model(tmp_path, LLAMA_8B, architectures=["WhatForCausalLM"]))
    assert shape.parameters == read_shape(model(tmp_path, LLAMA_8B)).parameters
    assert any("does not know What" in said for said in shape.assumed)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"hidden_size": 0}, "hidden_size is 0"),
        ({"hidden_size": -4096}, "hidden_size is -4096"),
        ({"hidden_size": 4096.0}, "hidden_size is 4096.0"),
        ({"hidden_size": True}, "hidden_size is true"),
        ({"hidden_size": "4096"}, 'hidden_size is "4096"'),
        ({"hidden_size": 4100}, "hidden_size is 4100; it must be a multiple of num_attention_heads (32)"),
        ({"vocab_size": 0}, "vocab_size is 0"),
        ({"num_hidden_layers": 10**8}, "num_hidden_layers is 100000000"),
        ({"num_hidden_layers": float("nan")}, "num_hidden_layers is NaN"),
        ({"num_key_value_heads": 64}, "num_key_value_heads is 64; it must be a divisor of num_attention_heads (32)"),
        ({"num_key_value_heads": 5}, "num_key_value_heads is 5"),
        ({"intermediate_size": None}, "there is no intermediate_size"),
        ({"num_hidden_layers": None}, "there is no num_hidden_layers"),
        ({"architectures": None}, "no list of architectures"),
        ({"tie_word_embeddings": "yes"}, 'tie_word_embeddings is "yes"; it must be true or false'),
        ({"num_local_experts": 8, "num_experts_per_tok": 9}, "num_experts_per_tok is 9"),
        ({"sliding_window": 4096, "layer_types": ["sliding_attention"]}, "layer_types is"),
        ({"rope_scaling": {"rope_type": "linear", "factor": float("inf")}}, "rope_scaling is"),
        ({"is_encoder_decoder": True}, "has an encoder and a decoder"),
        ({"architectures": ["BertForMaskedLM"]}, "is not a model that generates text"),
        ({"architectures": ["JambaForCausalLM"], "mamba_d_state": 16}, "has state-space layers"),
        ({"layer_types": ["linear_attention", "full_attention"]}, "has linear attention"),
        ({"vision_config": {"hidden_size": 1024}}, "the sizes in its vision_config cannot be told"),
    ],
)
def test_what_no_model_has_is_refused_with_the_file_the_field_and_the_value(
    change: dict[str, Any], said: str, tmp_path: Path
) -> None:
    folder = model(tmp_path, LLAMA_8B, **change)
    with pytest.raises(UsageError) as refused:
        read_shape(folder)
    assert said in str(refused.value)
    assert str(tmp_path / "config.json") in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", ":1: this is not JSON"),
        ('{\n"a": 1,\n}', ":3: this is not JSON"),
        ("[1]", "found list"),
        ("[" * 10**5, "JSON"),
    ],
)
def test_a_config_that_is_no_json_object_is_refused_with_its_line(text: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"config\.json") as refused:
        read_shape(model(tmp_path, text))
    assert said in str(refused.value)


def test_a_config_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes(b'{"a": "\xff"}')
    with pytest.raises(UsageError, match="cannot be read"):
        read_shape(str(tmp_path))


def test_a_name_that_is_no_folder_says_to_download_it() -> None:
    with pytest.raises(UsageError, match=r"nobody/nothing is not a folder.*download it"):
        read_shape("nobody/nothing")


def test_a_folder_without_a_config_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"has no config\.json"):
        read_shape(str(tmp_path))


def test_the_bytes_of_the_weights_are_those_that_vllm_loads(tmp_path: Path) -> None:
    folder = model(tmp_path, LLAMA_8B, tie_word_embeddings=True)
    safetensors(
        tmp_path / "model-1.safetensors", {"model.embed_tokens.weight": 1000, "model.layers.31.mlp.weight": 400}
    )
    safetensors(tmp_path / "model-2.safetensors", {"lm_head.weight": 1000, "model.layers.32.mlp.weight": 700})
    safetensors(tmp_path / "consolidated.safetensors", {"tok_embeddings.weight": 5000})
    assert (
        read_shape(folder).stored_bytes == 1400
    )  # neither the tied head, nor a speculative layer, nor the same once more


def test_without_the_files_the_index_tells_the_bytes(tmp_path: Path) -> None:
    folder = model(tmp_path, LLAMA_8B)
    listed = {"metadata": {"total_size": 16060522496}, "weight_map": {"lm_head.weight": "model-1.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(listed))
    assert read_shape(folder).stored_bytes == 16060522496
    safetensors(tmp_path / "model-1.safetensors", {"lm_head.weight": 1000})
    assert read_shape(folder).stored_bytes == 1000


def test_a_wrong_total_size_is_refused(tmp_path: Path) -> None:
    folder = model(tmp_path, LLAMA_8B)
    listed = {"metadata": {"total_size": -1}, "weight_map": {"lm_head.weight": "model-1.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(listed))
    with pytest.raises(UsageError, match="total_size is -1"):
        read_shape(folder)


@pytest.mark.parametrize("content", [b"", b"\x01", struct.pack("<Q", 10**12), struct.pack("<Q", 4) + b"[1]]", CUT])
def test_a_cut_weights_file_is_refused_by_name(content: bytes, tmp_path: Path) -> None:
    folder = model(tmp_path, LLAMA_8B)
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(UsageError, match=r"model\.safetensors is not a whole safetensors file"):
        read_shape(folder)


def test_a_vision_model_with_its_weights_is_told_as_its_text(tmp_path: Path) -> None:
    config = {
        "architectures": ["Qwen2_5_VLForConditionalGeneration"],
        "text_config": LLAMA_8B,
        "vision_config": {"depth": 1},
    }
    folder = model(tmp_path, config)
    safetensors(tmp_path / "model.safetensors", {"visual.weight": 10**6})
    shape = read_shape(folder)
    assert (shape.layers, shape.stored_bytes) == (32, 10**6)
    assert any("vision_config" in said for said in shape.assumed)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, (0, None)),
        ({"sliding_window": 4096}, (32, 4096)),
        ({"architectures": ["Qwen2ForCausalLM"], "sliding_window": 4096, "use_sliding_window": False}, (0, None)),
        (
            {
                "architectures": ["Qwen2ForCausalLM"],
                "sliding_window": 4096,
                "use_sliding_window": True,
                "max_window_layers": 20,
            },
            (12, 4096),
        ),
        ({"architectures": ["Gemma2ForCausalLM"], "sliding_window": 4096}, (16, 4096)),
        ({"sliding_window": 8, "layer_types": ["sliding_attention"] * 24 + ["full_attention"] * 8}, (24, 8)),
    ],
)
def test_layers_with_a_sliding_window(change: dict[str, Any], expected: tuple[int, int | None], tmp_path: Path) -> None:
    shape = read_shape(model(tmp_path, LLAMA_8B, **change))
    assert (shape.window_layers, shape.window) == expected


@pytest.mark.parametrize(
    ("scaling", "positions"),
    [
        (None, 131072),
        ({"rope_type": "llama3", "factor": 8.0}, 131072),
        ({"rope_type": "linear", "factor": 2.0}, 262144),
        ({"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768}, 131072),
    ],
)
def test_the_longest_sequence_follows_the_rope_scaling(
    scaling: dict[str, Any] | None, positions: int, tmp_path: Path
) -> None:
    assert read_shape(model(tmp_path, LLAMA_8B, rope_scaling=scaling)).max_positions == positions


def test_a_model_without_a_longest_sequence_gets_vllms_and_says_so(tmp_path: Path) -> None:
    shape = read_shape(model(tmp_path, LLAMA_8B, max_position_embeddings=None))
    assert shape.max_positions == 2048
    assert any("2048 tokens" in said for said in shape.assumed)
