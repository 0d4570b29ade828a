"""The bits of a checkpoint's weights, and what stays in 16 bits, from the fields that each format has."""

from typing import Any

import pytest

from tuner.errors import UsageError
from tuner.predict.quantized import read_quantization

GROUP_128 = 2 / 128  # a 16-bit scale for 128 weights; a zero point has the weights' bits
NVFP4 = {"weights": {"num_bits": 4, "type": "float", "group_size": 16}}
W4A16 = {"weights": {"num_bits": 4, "type": "int", "group_size": 128, "symmetric": True}}
W8A8 = {"weights": {"num_bits": 8, "type": "int", "strategy": "channel"}}


@pytest.mark.parametrize(
    ("told", "method", "weight_bytes"),
    [
        ({"quant_method": "gptq", "bits": 4, "group_size": 128}, "gptq", 0.5 + GROUP_128 + 0.5 / 128),
        ({"quant_method": "gptq", "bits": 8, "group_size": -1}, "gptq", 1.0),
        ({"quant_method": "gptq", "bits": 8, "group_size": 32}, "gptq", 1 + 3 / 32),
        ({"quant_method": "awq", "w_bit": 4}, "awq", 0.5 + GROUP_128 + 0.5 / 128),
        ({"quant_method": "auto-round", "bits": 4, "group_size": 64}, "auto-round", 0.5 + 2.5 / 64),
        ({"quant_method": "compressed-tensors", "config_groups": {"group_0": W4A16}}, None, 0.5 + GROUP_128),
        ({"quant_method": "compressed-tensors", "config_groups": {"group_0": W8A8}}, None, 1.0),
        ({"quant_method": "compressed-tensors", "config_groups": {"group_0": NVFP4}}, None, 0.5625),
        ({"quant_method": "compressed-tensors"}, "compressed-tensors", 1.0),
        ({"quant_method": "modelopt", "quant_algo": "NVFP4"}, "modelopt_fp4", 0.5625),
        ({"quant_method": "modelopt", "quant_algo": "FP8"}, "modelopt", 1.0),
        ({"producer": {"name": "modelopt"}, "quantization": {"quant_algo": "FP8"}}, "modelopt", 1.0),
        ({"quant_method": "bitsandbytes", "load_in_4bit": True}, "bitsandbytes", 0.5625),
        ({"load_in_8bit": True}, "bitsandbytes", 1.0),
        ({"quant_method": "torchao", "quant_type": {"default": {"_type": "Int4WeightOnlyConfig"}}}, None, 0.5 + 2.5 / 128),
        ({"quant_method": "torchao", "quant_type": "float8wo"}, "torchao", 1.0),
        ({"quant_method": "quark", "global_quant_config": {"weight": {"dtype": "fp8_e4m3"}}}, "quark", 1.0),
        ({"quant_method": "hqq", "quant_config": {"weight_quant_params": {"nbits": 4}}}, "hqq", 0.5 + 2.5 / 128),
        ({"quant_method": "fp8", "weight_block_size": [128, 128]}, "fp8", 1.0),
        ({"quant_method": "mxfp4"}, "mxfp4", 0.53125),
        ({"quant_method": "MXFP8"}, "mxfp8", 1.03125),
    ],
)  # fmt: skip
def test_a_weight_has_the_bits_that_its_file_says(
    told: dict[str, Any], method: str | None, weight_bytes: float
) -> None:
    found, quantized = read_quantization(told, 4, "config.json")
    assert method in (None, found)
    assert quantized is not None
    assert quantized.weight_bytes == pytest.approx(weight_bytes, abs=1e-9)


@pytest.mark.parametrize(
    "told",
    [
        {"quant_method": "nobody-knows"},
        {},
        {"quant_method": "modelopt", "quant_algo": "MIXED_PRECISION"},
        {"quant_method": "compressed-tensors", "config_groups": {"group_0": W4A16, "group_1": W8A8}},
    ],
)
def test_what_does_not_say_its_bits_is_not_guessed(told: dict[str, Any]) -> None:
    assert read_quantization(told, 4, "config.json")[1] is None


@pytest.mark.parametrize("bits", [0, 17, "4", True, 4.0, [4]])
def test_bits_that_no_format_has_are_refused(bits: Any) -> None:
    with pytest.raises(
        UsageError, match=r"config\.json: bits of its quantization_config is .*; it must be a whole number"
    ):
        read_quantization({"quant_method": "gptq", "bits": bits}, 4, "config.json")


@pytest.mark.parametrize(
    ("names", "attention", "experts", "mlp"),
    [
        (["lm_head", "model.embed_tokens", "re:.*vision_tower.*"], 0, 0, 0),
        (["model.layers.*.self_attn", "model.layers.*.mlp.router"], 1, 0, 0),
        (["re:.*self_attn.*"], 1, 0, 0),
        (["self_attn"], 1, 0, 0),
        (["model.layers.0.self_attn*", "model.layers.1.self_attn*"], 0.5, 0, 0),
        (["model.language_model.layers.2.self_attn.o_proj"], 1 / 16, 0, 0),
        (["model.layers.0", "visual.layers.1.mlp", "mtp.layers.1.self_attn"], 0.25, 0.25, 0.25),
        (["model.layers.3.mlp.experts"], 0, 0.25, 0),
        (["mlp.gate", "block_sparse_moe.gate"], 0, 0, 0),
        (["re:(", 7, None], 0, 0, 0),
    ],
)
@pytest.mark.parametrize("key", ["ignore", "modules_to_not_convert", "ignored_layers", "exclude_modules"])
def test_ignored_modules_stay_in_16_bits(
    key: str, names: list[Any], attention: float, experts: float, mlp: float
) -> None:
    _, found = read_quantization({"quant_method": "fp8", key: names}, 4, "config.json")
    assert found is not None
    assert (found.attention, found.experts, found.mlp) == pytest.approx((attention, experts, mlp))


@pytest.mark.parametrize(
    ("told", "fp8"),
    [
        ({"quant_method": "modelopt", "quantization": {"quant_algo": "FP8", "kv_cache_quant_algo": "FP8"}}, True),
        (
            {"quant_method": "modelopt", "quant_algo": "NVFP4", "kv_cache_scheme": {"num_bits": 8, "type": "float"}},
            True,
        ),
        ({"quant_method": "modelopt", "quant_algo": "FP8", "kv_cache_quant_algo": None}, False),
        ({"quant_method": "compressed-tensors", "kv_cache_scheme": {"num_bits": 8, "type": "float"}}, True),
        ({"quant_method": "compressed-tensors", "kv_cache_scheme": None}, False),
        ({"quant_method": "fp8", "kv_cache_scheme": "FP8"}, False),
    ],
)
def test_a_checkpoint_can_ask_for_keys_and_values_in_8_bits(told: dict[str, Any], fp8: bool) -> None:
    _, found = read_quantization(told, 4, "config.json")
    assert found is not None
    assert found.fp8_kv == fp8
