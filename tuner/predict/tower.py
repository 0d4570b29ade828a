"""The part of a config.json that describes an encoder of pictures or sound in; how many parameters it has out. Pure.

It knows a transformer's sizes by the names that they have there; not what an encoder needs while it works.
"""

from collections.abc import Mapping
from typing import Any

#: Keys of config.json that hold one.
TOWERS = (
    "vision_config", "audio_config", "visual", "vit_config", "vision_encoder", "audio_encoder", "img_processor",
    "audio_processor", "encoder_config",
)  # fmt: skip
_DEPTHS = ("depth", "num_hidden_layers", "num_layers", "n_layers", "layers", "encoder_layers", "vt_num_hidden_layers")
#: Qwen2-VL's hidden_size is that of the text: embed_dim comes first.
_WIDTHS = ("embed_dim", "hidden_size", "d_model", "width", "vt_hidden_size", "hidden_dim")
_INNERS = ("intermediate_size", "encoder_ffn_dim", "ffn_dim", "vt_intermediate_size")
#: Names of layers with three matrices in their MLP.
_GATED = ("silu", "swiglu", "swish")
_MOST = 10**6
#: What a class takes for sizes that are left out (transformers, configuration_*.py), by its model_type.
_DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "pixtral": {"num_hidden_layers": 24, "hidden_size": 1024, "intermediate_size": 4096, "patch_size": 16},
    "clip_vision_model": {"num_hidden_layers": 12, "hidden_size": 768, "intermediate_size": 3072, "patch_size": 32},
    "siglip_vision_model": {"num_hidden_layers": 12, "hidden_size": 768, "intermediate_size": 3072, "patch_size": 16},
    "qwen2_audio_encoder": {"encoder_layers": 32, "d_model": 1280, "encoder_ffn_dim": 5120},
}


def tower_parameters(told: Any) -> int | None:
    """Layers, patches and the merger that follows; None where its sizes are not there."""
    if not isinstance(told, dict):
        return None
    told = {**_DEFAULTS.get(str(told.get("model_type")), {}), **told}
    depth, width = _first(told, _DEPTHS), _first(told, _WIDTHS)
    if depth is None or width is None:
        return None
    ratio = told.get("mlp_ratio")
    inner = _first(told, _INNERS) or round(width * (ratio if isinstance(ratio, int | float) and 0 < ratio < 100 else 4))
    gated = any(name in str(told.get("hidden_act", "")).lower() for name in _GATED) and "embed_dim" not in told
    found = depth * (4 * width * width + (2 + gated) * width * inner)
    if (patch := _first(told, ("patch_size",))) is not None:
        found += 3 * patch * patch * width
    merged, out = _first(told, ("spatial_merge_size",)), _first(told, ("out_hidden_size",))
    if merged is not None and out is not None:
        wide = width * merged * merged
        found += wide * (wide + out)
    return found


def _first(told: Mapping[str, Any], names: tuple[str, ...]) -> int | None:
    values = (told.get(name) for name in names)
    return next((v for v in values if isinstance(v, int) and not isinstance(v, bool) and 0 < v <= _MOST), None)
