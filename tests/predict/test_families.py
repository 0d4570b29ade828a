"""Each family's config.json under its own names: parameters as its maker states them, and bytes of KV cache by hand.

The numbers in the configs are facts of public models; what is left out of them is not read.
"""

from pathlib import Path
from typing import Any

import pytest

from predict.test_memory import settled
from predict.test_shape import DEEPSEEK_V3, GPT_OSS, LLAMA_8B, model
from tuner.errors import UsageError
from tuner.predict.precision import kv_bytes_per_token
from tuner.predict.shape import Shape, read_shape

# fmt: off
GPT2 = {"architectures": ["GPT2LMHeadModel"], "n_embd": 768, "n_layer": 12, "n_head": 12, "vocab_size": 50257,
        "n_positions": 1024, "n_inner": None}
STARCODER = {"architectures": ["GPTBigCodeForCausalLM"], "n_embd": 6144, "n_layer": 40, "n_head": 48, "n_inner": 24576,
             "vocab_size": 49152, "n_positions": 8192, "multi_query": True}
FALCON_7B = {"architectures": ["FalconForCausalLM"], "hidden_size": 4544, "num_hidden_layers": 32, "num_attention_heads": 71,
             "vocab_size": 65024, "multi_query": True, "new_decoder_architecture": False}
FALCON_40B = {"architectures": ["FalconForCausalLM"], "hidden_size": 8192, "num_hidden_layers": 60,
              "num_attention_heads": 128, "num_kv_heads": 8, "vocab_size": 65024, "new_decoder_architecture": True}
OPT = {"architectures": ["OPTForCausalLM"], "hidden_size": 2048, "num_hidden_layers": 24, "num_attention_heads": 32,
       "ffn_dim": 8192, "vocab_size": 50272, "max_position_embeddings": 2048}
BLOOM = {"architectures": ["BloomForCausalLM"], "n_embed": 4096, "n_layer": 30, "n_head": 32, "vocab_size": 250880,
         "seq_length": 2048}
MPT = {"architectures": ["MPTForCausalLM"], "d_model": 4096, "n_heads": 32, "n_layers": 32, "expansion_ratio": 4,
       "vocab_size": 50432, "max_seq_len": 2048}
DBRX = {"architectures": ["DbrxForCausalLM"], "d_model": 6144, "n_heads": 48, "n_layers": 40, "vocab_size": 100352,
        "max_seq_len": 32768, "attn_config": {"kv_n_heads": 8},
        "ffn_config": {"ffn_hidden_size": 10752, "moe_num_experts": 16, "moe_top_k": 4}}
CHATGLM = {"architectures": ["ChatGLMModel"], "num_layers": 28, "hidden_size": 4096, "num_attention_heads": 32,
           "ffn_hidden_size": 13696, "padded_vocab_size": 65024, "seq_length": 8192, "kv_channels": 128,
           "multi_query_attention": True, "multi_query_group_num": 2}
QWEN = {"architectures": ["QWenLMHeadModel"], "hidden_size": 4096, "num_hidden_layers": 32, "num_attention_heads": 32,
        "intermediate_size": 22016, "vocab_size": 151936, "seq_length": 8192}
GPTJ = {"architectures": ["GPTJForCausalLM"], "n_embd": 4096, "n_layer": 28, "n_head": 16, "vocab_size": 50400,
        "n_positions": 2048, "n_inner": None}
GLM_LITE = {**DEEPSEEK_V3, "architectures": ["Glm4MoeLiteForCausalLM"], "hidden_size": 2048, "num_hidden_layers": 47,
            "num_attention_heads": 20, "num_key_value_heads": 20, "intermediate_size": 10240, "vocab_size": 154880,
            "n_routed_experts": 64, "num_experts_per_tok": 4, "moe_intermediate_size": 1536, "first_k_dense_replace": 1,
            "q_lora_rank": 768, "qk_nope_head_dim": 192, "v_head_dim": 256, "quantization_config": None}
MINICPM3 = {**LLAMA_8B, "architectures": ["MiniCPM3ForCausalLM"], "hidden_size": 2560, "num_hidden_layers": 62,
            "num_attention_heads": 40, "num_key_value_heads": 40, "intermediate_size": 6400, "vocab_size": 73448,
            "kv_lora_rank": 256, "q_lora_rank": 768, "qk_nope_head_dim": 64, "qk_rope_head_dim": 32, "v_head_dim": 64}
GEMMA4 = {"architectures": ["Gemma4ForConditionalGeneration"], "text_config": {
    "model_type": "gemma4_text", "hidden_size": 5376, "intermediate_size": 21504, "num_hidden_layers": 60,
    "num_attention_heads": 32, "num_key_value_heads": 16, "head_dim": 256, "global_head_dim": 512,
    "num_global_key_value_heads": 4, "attention_k_eq_v": True, "sliding_window": 1024, "vocab_size": 262144,
    "max_position_embeddings": 262144, "layer_types": (["sliding_attention"] * 5 + ["full_attention"]) * 10}}
SIGLIP = {"hidden_size": 1152, "intermediate_size": 4304, "num_hidden_layers": 27, "patch_size": 14}
GEMMA3_4B = {"architectures": ["Gemma3ForConditionalGeneration"], "vision_config": SIGLIP, "text_config": {
    "model_type": "gemma3_text", "hidden_size": 2560, "intermediate_size": 10240, "num_hidden_layers": 34,
    "sliding_window": 1024, "rope_scaling": {"factor": 8.0, "rope_type": "linear"}}}
LLAVA = {"architectures": ["LlavaForConditionalGeneration"],
         "vision_config": {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "patch_size": 14},
         "text_config": {"model_type": "llama", "vocab_size": 32064, "max_position_embeddings": 4096}}
QWEN_VL = {"architectures": ["Qwen2_5_VLForConditionalGeneration"], "hidden_size": 3584, "intermediate_size": 18944,
           "num_hidden_layers": 28, "num_attention_heads": 28, "num_key_value_heads": 4, "vocab_size": 152064,
           "max_position_embeddings": 128000, "tie_word_embeddings": False,
           "vision_config": {"depth": 32, "hidden_size": 1280, "intermediate_size": 3420, "hidden_act": "silu",
                             "out_hidden_size": 3584, "spatial_merge_size": 2, "patch_size": 14}}
INTERNVL = {"architectures": ["InternVLChatModel"],
            "llm_config": {**LLAMA_8B, "architectures": ["InternLM2ForCausalLM"]},
            "vision_config": {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24}}
KIMI_K25 = {"architectures": ["KimiK25ForConditionalGeneration"],
            "text_config": {**DEEPSEEK_V3, "model_type": "kimi_k2", "n_routed_experts": 384},
            "vision_config": {"vt_hidden_size": 1152, "vt_num_hidden_layers": 27, "vt_intermediate_size": 4304}}
OMNI = {"architectures": ["Qwen2_5OmniModel"], "talker_config": {"hidden_size": 896},
        "thinker_config": {"text_config": LLAMA_8B}}
GEMMA4_MOE = {"architectures": ["Gemma4ForConditionalGeneration"], "text_config": {
    **GEMMA4["text_config"], "hidden_size": 2816, "intermediate_size": 2112, "num_hidden_layers": 30,  # type: ignore[dict-item]
    "num_attention_heads": 16, "num_key_value_heads": 8, "num_global_key_value_heads": 2, "enable_moe_block": True,
    "num_experts": 128, "top_k_experts": 8, "moe_intermediate_size": 704,
    "layer_types": (["sliding_attention"] * 5 + ["full_attention"]) * 5}}
# fmt: on


def kv_bytes(shape: Shape, **params: Any) -> float:
    return kv_bytes_per_token(shape, settled({"max_model_len": 1024, **params}, shape))


@pytest.mark.parametrize(
    ("config", "billions", "bytes_a_token"),
    [
        (GPT2, 0.1235, 2 * 12 * 768 * 2),  # without its table of positions
        (STARCODER, 15.46, 2 * 40 * 1 * 128 * 2),
        (FALCON_7B, 6.92, 2 * 32 * 1 * 64 * 2),
        (FALCON_40B, 41.3, 2 * 60 * 8 * 64 * 2),
        (OPT, 1.311, 2 * 24 * 2048 * 2),
        (BLOOM, 7.07, 2 * 30 * 4096 * 2),
        (MPT, 6.65, 2 * 32 * 4096 * 2),
        (DBRX, 131.6, 2 * 40 * 8 * 128 * 2),
        (CHATGLM, 6.24, 2 * 28 * 2 * 128 * 2),
        (QWEN, 7.72, 2 * 32 * 4096 * 2),
        (GPTJ, 6.05, 2 * 28 * 4096 * 2),
        (GLM_LITE, 29.9, 47 * (512 + 64) * 2),
        (MINICPM3, None, 2 * 62 * 40 * (64 + 32) * 2),  # vLLM keeps all heads of it
        (GEMMA4, 30.7, (50 * 2 * 16 * 256 + 10 * 2 * 4 * 512) * 2),
        (GEMMA4_MOE, 25.2, (25 * 2 * 8 * 256 + 5 * 2 * 2 * 512) * 2),
        (GEMMA3_4B, 3.88, 2 * 34 * 4 * 256 * 2),
        (LLAVA, 6.74, 2 * 32 * 4096 * 2),
        (QWEN_VL, 7.616, 2 * 28 * 4 * 128 * 2),
        (INTERNVL, 8.03, 2 * 32 * 8 * 128 * 2),
        (KIMI_K25, None, 61 * (512 + 64) * 2),
        (GPT_OSS, 20.9, 2 * 24 * 8 * 64 * 2),
    ],
    ids=lambda value: value["architectures"][0] if isinstance(value, dict) else "",
)
def test_a_familys_own_names_are_read(
    config: dict[str, Any], billions: float | None, bytes_a_token: int, tmp_path: Path
) -> None:
    shape = read_shape(model(tmp_path, config))
    if billions is not None:
        assert shape.parameters / 1e9 == pytest.approx(billions, rel=0.01)
    assert kv_bytes(shape) == bytes_a_token
    assert not any("counted like Llama's" in said for said in shape.assumed)


def test_an_omni_model_is_refused_for_what_it_is(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="Qwen2_5OmniModel also speaks"):
        read_shape(model(tmp_path, OMNI))


@pytest.mark.parametrize(
    ("config", "millions"),
    [
        # layers x (4 width^2 + 2 or 3 width x MLP) + patches + merger
        (GEMMA3_4B, (27 * (4 * 1152**2 + 2 * 1152 * 4304) + 3 * 14**2 * 1152) / 1e6),
        (QWEN_VL, (32 * (4 * 1280**2 + 3 * 1280 * 3420) + 3 * 14**2 * 1280 + 5120 * (5120 + 3584)) / 1e6),
        (KIMI_K25, 27 * (4 * 1152**2 + 2 * 1152 * 4304) / 1e6),
    ],
    ids=["siglip", "qwen", "kimi"],
)
def test_an_encoder_of_pictures_is_estimated_from_its_sizes(
    config: dict[str, Any], millions: float, tmp_path: Path
) -> None:
    shape = read_shape(model(tmp_path, config))
    assert shape.tower_parameters / 1e6 == pytest.approx(millions)
    assert any("vision_config" in said and "estimated" in said for said in shape.assumed)


def test_fields_that_a_nested_config_leaves_out_are_its_classs_and_said(tmp_path: Path) -> None:
    shape = read_shape(model(tmp_path, GEMMA3_4B))
    assert (shape.vocab, shape.heads, shape.kv_heads, shape.head_dim, shape.tied) == (262208, 8, 4, 256, True)
    assert any("leaves out vocab_size, num_attention_heads" in said for said in shape.assumed)
    assert (shape.max_positions, shape.rotary_positions) == (131072, 8 * 131072)
    assert (shape.window_layers, shape.window) == (29, 1024)


def test_all_layers_keep_everything_where_the_window_is_not_used(tmp_path: Path) -> None:
    folder = model(tmp_path, LLAMA_8B, architectures=["MiMoForCausalLM"], sliding_window=4096, use_sliding_window=False)
    assert read_shape(folder).window_layers == 0


def test_a_list_of_kinds_of_attention_that_are_all_full_is_no_reason_to_refuse(tmp_path: Path) -> None:
    folder = model(tmp_path, LLAMA_8B, architectures=["MiniMaxM2ForCausalLM"], attn_type_list=[1] * 32)
    assert read_shape(folder).assumed == ()


def test_kinds_of_layers_that_predict_further_tokens_may_follow(tmp_path: Path) -> None:
    kinds = ["full_attention", "sliding_attention"] * 16 + ["sliding_attention"] * 3
    told = {"layer_types": kinds, "sliding_window": 512}
    assert read_shape(model(tmp_path, LLAMA_8B, num_nextn_predict_layers=3, **told)).window_layers == 16
    with pytest.raises(UsageError, match="layer_types is"):
        read_shape(model(tmp_path, LLAMA_8B, **told))


def test_an_encoder_that_is_named_so_is_counted(tmp_path: Path) -> None:
    encoder = {"hidden_dim": 1024, "num_layers": 16}
    assert read_shape(model(tmp_path, LLAMA_8B, encoder_config=encoder)).tower_parameters == 16 * 12 * 1024**2


def test_the_smallest_length_counts_but_for_model_max_length(tmp_path: Path) -> None:
    assert read_shape(model(tmp_path, LLAMA_8B, seq_length=8192)).max_positions == 8192
    assert read_shape(model(tmp_path, LLAMA_8B, seq_length=8192, model_max_length=10**6)).max_positions == 10**6


@pytest.mark.parametrize("ratio", [float("inf"), float("nan"), "4", -1, 10**9])
def test_a_ratio_that_no_mlp_has_is_refused(ratio: Any, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no intermediate_size"):
        read_shape(model(tmp_path, MPT, expansion_ratio=ratio))


def test_lists_of_one_number_for_each_layer_are_that_number(tmp_path: Path) -> None:
    experts = {
        "num_experts": 64,
        "moe_topk": [8] * 32,
        "moe_intermediate_size": [3072] * 32,
        "num_shared_expert": [1] * 32,
    }
    found = read_shape(model(tmp_path, LLAMA_8B, architectures=["HunYuanMoEV1ForCausalLM"], **experts)).experts
    assert found is not None
    assert (found.active, found.intermediate, found.shared_intermediate, found.layers) == (8, 3072, 3072, 32)


def test_a_list_tells_which_layers_have_experts(tmp_path: Path) -> None:
    folder = model(tmp_path, LLAMA_8B, num_experts=8, num_experts_per_tok=2, moe_layer_freq=[0] * 3 + [1] * 29)
    found = read_shape(folder).experts
    assert found is not None
    assert found.layers == 29


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"full_attn_idxs": [2, 5]}, "has convolutions that keep state"),
        ({"block_types": ["recurrent", "attention"]}, "has layers of several kinds"),
        ({"attn_type_list": [0, 1]}, "has linear attention"),
        ({"linear_attn_config": {"kda_layers": [1]}, "num_experts": 8}, "has linear attention"),
        ({"num_key_value_heads_per_layer": [8, 4]}, "has layers with unlike numbers of KV heads"),
        ({"full_attention_interval": 4}, "has linear attention"),
        ({"block_configs": [{}], "intermediate_size": None}, "has layers of unlike widths (block_configs)"),
        ({"hybrid_layer_pattern": [0, 1], "attention_chunk_size": 128}, "two kinds of attention with heads of their own"),
        ({"laurel_rank": 64, "intermediate_size": [1, 2]}, "has embeddings in each layer"),
        ({"cross_attention_layers": [3]}, "has layers that attend to pictures"),
        ({"num_kv_shared_layers": 10}, "has layers that share keys and values"),
        ({"index_topk": 2048}, "has sparse attention with an index"),
        ({"attention_chunk_size": 8192}, "has attention in chunks"),
        ({"architectures": ["Wav2Vec2ForCTC"]}, "is not a model that generates text"),
        ({"architectures": ["BertLMHeadModel"], "model_type": "bert"}, "is not a model that generates text"),
        ({"architectures": ["Qwen2ForRewardModel"]}, "is not a model that generates text"),
        ({"architectures": ["WhisperForConditionalGeneration"], "is_encoder_decoder": True}, "an encoder and a decoder"),
        ({"architectures": None, "_class_name": "UNet2DConditionModel"}, "is a part of a diffusion pipeline"),
        ({"kv_lora_rank": 512}, "there is no qk_rope_head_dim"),
        ({"intermediate_size": [1, 2]}, "intermediate_size is [1, 2]; it must be a whole number in 1..10000000, the same"),
        ({"num_experts": 8, "num_experts_per_tok": 2, "moe_layer_freq": [1, 2]}, "moe_layer_freq is [1, 2]"),
        ({"vision_config": {"model_type": "odd"}}, "the sizes in its vision_config cannot be told"),
        ({"quantization_config": {"quant_method": "nobody"}}, "quantization_config (nobody) does not say how many bits"),
        ({"quantization_config": {"quant_method": "gptq", "bits": "4"}}, "bits of its quantization_config is"),
        ({"quantization_config": "fp8"}, 'quantization_config is "fp8"; it must be an object'),
        ({"quantization_config": []}, "quantization_config is []; it must be an object"),
    ],
)  # fmt: skip
def test_what_cannot_be_told_is_refused_with_the_true_reason(change: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as refused:
        read_shape(model(tmp_path, LLAMA_8B, **change))
    assert said in str(refused.value)
    assert str(tmp_path / "config.json") in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_diffusion_pipelines_folder_is_refused_for_what_it_is(tmp_path: Path) -> None:
    (tmp_path / "model_index.json").write_text("{}")
    with pytest.raises(UsageError, match="is a pipeline of several models"):
        read_shape(str(tmp_path))
