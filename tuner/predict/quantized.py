"""A checkpoint's quantization_config in; the bytes of a weight, and what stays in 16 bits, out. Pure.

It knows the fields of the formats that vLLM reads (model_executor/layers/quantization), and the names that modules usually
have; not the weights, and not what computes them.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from tuner.errors import UsageError
from tuner.predict.decoder import Quantized

#: Bytes of a scale and a zero point beside a group of weights, and the group where none is named.
_SCALE, _GROUP = 2.0, 128
_NVFP4, _MXFP4, _MXFP8, _NF4 = 0.5 + 1 / 16, 0.5 + 1 / 32, 1 + 1 / 32, 0.5 + 4 / 64
_INT4 = 0.5 + (_SCALE + 0.5) / _GROUP
#: By the name of a method alone, where the file says no more.
USUAL: Mapping[str, float] = {
    "awq": _INT4,
    "gptq": _INT4,
    "mxfp4": _MXFP4,
    "mxfp8": _MXFP8,
    "compressed-tensors": 1.0,
    "fp8": 1.0,
    "modelopt": 1.0,
    "int8_per_channel_weight_only": 2.0,  # experts only (gpus.py)
    "experts_int8": 1.0,
}
#: Words in the names of algorithms and types (NVIDIA's quant_algo, torchao's quant_type, Quark's dtype), the narrowest first.
_WORDS = (
    ("nvfp4", _NVFP4),
    ("mxfp4", _MXFP4),
    ("mxfp8", _MXFP8),
    ("int4", _INT4),
    ("w4a", _INT4),
    ("uint4", _INT4),
    ("fp4", _MXFP4),
    ("fp8", 1.0),
    ("float8", 1.0),
    ("int8", 1.0),
    ("w8a", 1.0),
)
_BITS = ("bits", "w_bit", "weight_bits", "num_bits", "wbits", "nbits")
_KEPT = (
    "ignore",
    "ignored_layers",
    "modules_to_not_convert",
    "exclude_modules",
    "exclude",
    "llm_int8_skip_modules",
    "skip_modules",
)
#: The matrices of each part of a layer, by the names that they have in checkpoints.
_QKV = ("self_attn.qkv_proj", "self_attn.q_a_proj", "self_attn.q_b_proj", "self_attn.kv_b_proj")
_MATRICES: Mapping[str, tuple[tuple[str, ...], ...]] = {
    "attention": (*((f"self_attn.{name}_proj", *_QKV) for name in "qkv"), ("self_attn.o_proj", "self_attn.dense")),
    "mlp": tuple((f"mlp.{name}_proj", "mlp.gate_up_proj")[: 1 + (name != "down")] for name in ("gate", "up", "down")),
    "experts": tuple((f"mlp.experts.0.{new}_proj", f"block_sparse_moe.experts.0.{old}") for new, old in
                     (("gate", "w1"), ("up", "w3"), ("down", "w2"))),
    "shared": tuple((f"mlp.shared_expert.{name}_proj", f"mlp.shared_experts.{name}_proj") for name in
                    ("gate", "up", "down")),
}  # fmt: skip
#: Modules outside the text's layers.
_ELSEWHERE = re.compile(r"vis|audio|image|mtp|multi_modal|lm_head|embed")
_LONGEST = 300


def read_quantization(told: Mapping[str, Any], layers: int, where: str) -> tuple[str, Quantized | None]:
    """The method by vLLM's name, and what is known of it: None where nothing tells how many bits a weight has.

    Raises UsageError for bits that no format has."""
    nested = told.get("quantization")
    inner = {**told, **nested} if isinstance(nested, dict) else told
    method = (
        str(inner.get("quant_method") or _unnamed(inner)).lower().replace("compressed_tensors", "compressed-tensors")
    )
    if method == "modelopt" and "nvfp4" in str(inner.get("quant_algo")).lower():
        method = "modelopt_fp4"
    each = _weight_bytes(inner, where)
    if (
        each is None and not inner.get("quant_algo") and not inner.get("config_groups")
    ):  # it names several, or unknown ones
        each = next((size for name, size in USUAL.items() if name in method), None)
    if each is None:
        return method, None
    kept = _kept(inner, layers)
    return method, Quantized(weight_bytes=each, fp8_kv=_fp8_kv(method, inner), **kept)


def _unnamed(inner: Mapping[str, Any]) -> str:
    if inner.get("load_in_4bit") or inner.get("load_in_8bit"):
        return "bitsandbytes"
    return "modelopt" if inner.get("quant_algo") else "unknown"


def _weight_bytes(inner: Mapping[str, Any], where: str) -> float | None:
    """By what the file itself says; None where it says nothing."""
    if (algorithm := inner.get("quant_algo")) and (found := _by_word(algorithm)):
        return found
    groups = inner.get("config_groups")
    if isinstance(groups, dict) and groups:
        sizes = {_group_bytes(group, where) for group in groups.values()}
        return sizes.pop() if len(sizes) == 1 else None
    if (bits := _bits(inner, where)) is not None:
        return _packed(bits, inner.get("group_size"), symmetric=False)
    if inner.get("load_in_4bit") or inner.get("_load_in_4bit"):
        return _NF4
    if inner.get("load_in_8bit") or inner.get("_load_in_8bit"):
        return 1.0
    for name in ("quant_type", "global_quant_config", "quant_config"):
        nested = inner.get(name)
        if isinstance(nested, dict) and (bits := _bits(nested.get("weight_quant_params"), where)) is not None:
            return _packed(bits, None, symmetric=False)
        if nested and (found := _by_word(nested.get("weight", nested) if isinstance(nested, dict) else nested)):
            return found
    return None


def _group_bytes(group: Any, where: str) -> float | None:
    """Of a group of compressed-tensors."""
    weights = group.get("weights") if isinstance(group, dict) else None
    bits = _bits(weights, where)
    if bits is None or not isinstance(weights, dict):
        return None
    if weights.get("type") == "float" and bits == 4:
        return _NVFP4 if weights.get("group_size") == 16 else _MXFP4
    return _packed(bits, weights.get("group_size"), symmetric=weights.get("symmetric") is not False)


def _packed(bits: int, group: Any, *, symmetric: bool) -> float:
    """Groups of weights with a 16-bit scale, and a zero point of their own bits; 8-bit weights' scales are a channel's."""
    size = group if isinstance(group, int) and group > 0 else None if group == -1 or bits >= 8 else _GROUP
    return bits / 8 + (0.0 if size is None else (_SCALE + (0.0 if symmetric else bits / 8)) / size)


def _bits(told: Any, where: str) -> int | None:
    if not isinstance(told, dict):
        return None
    name = next((name for name in _BITS if told.get(name) is not None), None)
    if name is None:
        return None
    value = told[name]
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 16:
        raise UsageError(
            f"{where}: {name} of its quantization_config is {json.dumps(value)[:80]}; it must be a whole number in 1..16"
        )
    return value


def _by_word(told: Any) -> float | None:
    text = re.sub(r"[^a-z0-9]", "", json.dumps(told).lower())
    return next((size for word, size in _WORDS if word in text), None)


def _fp8_kv(method: str, inner: Mapping[str, Any]) -> bool:
    """Whether vLLM keeps keys and values in 8 bits because the checkpoint says so (get_kv_cache_quant_algo_string of
    utils/torch_utils.py for ModelOpt's; the attention layer for compressed-tensors')."""
    scheme = inner.get("kv_cache_scheme") or inner.get("kv_cache_quant_algo")
    if isinstance(scheme, dict):
        return scheme.get("num_bits") == 8 and method.startswith(("modelopt", "compressed"))
    return method.startswith("modelopt") and "fp8" in str(scheme).lower()


def _kept(inner: Mapping[str, Any], layers: int) -> dict[str, float]:
    """The share of each part's matrices that stays in 16 bits."""
    exact, pattern = _patterns(inner)
    if not exact and pattern is None:
        return {}
    found = {}
    for part, matrices in _MATRICES.items():
        names = [[f"layers.{layer}.{name}" for name in aliases] for layer in range(layers) for aliases in matrices]
        kept = sum(any(_is_kept(name, exact, pattern) for name in aliases) for aliases in names)
        found[part] = kept / len(names)
    return found


def _patterns(inner: Mapping[str, Any]) -> tuple[frozenset[str], re.Pattern[str] | None]:
    """Names of modules that are kept as they are, and one expression for those with wildcards."""
    listed = [name for key in _KEPT for name in _listed(inner.get(key))]
    extra = inner.get("extra_config")  # AutoRound's: settings of single modules
    if isinstance(extra, dict):
        listed += [str(name) for name, own in extra.items() if isinstance(own, dict) and own.get("bits") == 16]
    exact, wild = set[str](), list[str]()
    for name in listed:
        if len(name) > _LONGEST or _ELSEWHERE.search(name):
            continue
        if name.startswith("re:"):
            wild.append(name[3:])
        elif "*" in name:
            wild.append(r"(?:.*\.)?" + re.escape(_from_layers(name)).replace(r"\*", ".*"))
        else:
            exact.add(_from_layers(name))
    return frozenset(exact), _joined(wild)


def _listed(value: Any) -> Iterator[str]:
    if isinstance(value, list | tuple):
        yield from (str(name) for name in value)


def _from_layers(name: str) -> str:
    at = name.find("layers.")
    return name[at:] if at > 0 else name


def _joined(expressions: Iterable[str]) -> re.Pattern[str] | None:
    found = []
    for expression in expressions:
        try:
            re.compile(expression)
        except re.error:
            continue
        found.append(f"(?:{expression})")
    return re.compile(rf"(?:{'|'.join(found)})(?:\..*)?$") if found else None


def _is_kept(name: str, exact: frozenset[str], pattern: re.Pattern[str] | None) -> bool:
    words = name.split(".")
    ranges = ((begin, end) for begin in range(len(words)) for end in range(begin + 1, len(words) + 1))
    if exact and any(".".join(words[begin:end]) in exact for begin, end in ranges):
        return True
    return pattern is not None and any(
        pattern.match(prefix + name) is not None for prefix in ("model.", "language_model.model.", "")
    )
