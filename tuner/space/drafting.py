"""A model's config.json in; which methods of speculation it can do, out.

Of vLLM 0.25 to 0.32 (config/speculative.py). A hub name is looked up in the hub's cache on this machine; nothing is loaded.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

#: Under which name a checkpoint says how many layers it has for drafting.
_MTP_LAYERS = ("num_nextn_predict_layers", "mtp_num_hidden_layers", "num_mtp_modules", "n_predict")
_INSIDE = ("text_config", "thinker_config", "mtp_config")
#: Models that have one such layer and do not say so.
_MTP_UNSAID = ("longcat_flash", "step3p5", "step3p7", "minimax_m3_vl")
#: What a checkpoint that is no model by itself calls itself, in its architecture or its name; the longer ones first.
_HEADS = ("eagle3", "eagle", "medusa", "mlp_speculator", "mlpspeculator", "dflash")


def config_json(model: str) -> Mapping[str, Any] | None:
    """Of a folder, or of a hub's model that was downloaded; None where it is not here or cannot be read."""
    folder = Path(model)
    places = [folder / "config.json"] if folder.is_dir() else _cached(model)
    for place in places:
        try:
            found = json.loads(place.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            continue
        if isinstance(found, dict):
            return found
    return None


def mtp_layers(config: Mapping[str, Any]) -> int:
    """How many layers the checkpoint has for multi-token prediction; 0 for none."""
    parts = [config, *(part for name in _INSIDE if isinstance(part := config.get(name), dict))]
    for part in parts:
        for name in _MTP_LAYERS:
            count = part.get(name)
            if isinstance(count, int) and not isinstance(count, bool) and count > 0:
                return count
    return 1 if config.get("model_type") in _MTP_UNSAID else 0


def vocabulary(config: Mapping[str, Any]) -> int | None:
    """How many tokens the model knows, where it says so."""
    inside = config.get("text_config")
    for part in (config, inside if isinstance(inside, dict) else {}):
        size = part.get("vocab_size")
        if isinstance(size, int) and not isinstance(size, bool):
            return size
    return None


def method_of(draft: str) -> str:
    """By which method a draft checkpoint is used: as it says, else as vLLM tells by its name."""
    config = config_json(draft)
    architectures = (config or {}).get("architectures")
    words = [str(word) for word in architectures] if isinstance(architectures, list) else []
    words += [str((config or {}).get(key, "")) for key in ("model_type", "speculators_model_type")]
    said = " ".join([*words, Path(draft).name]).lower()
    found = next((head for head in _HEADS if head in said), "draft_model")
    return "mlp_speculator" if found == "mlpspeculator" else found


def _cached(model: str) -> list[Path]:
    """The newest first."""
    home = os.environ.get("HF_HOME") or os.environ.get("XDG_CACHE_HOME", "~/.cache") + "/huggingface"
    hub = Path(os.environ.get("HF_HUB_CACHE") or f"{home}/hub").expanduser()
    found = (hub / f"models--{model.replace('/', '--')}" / "snapshots").glob("*/config.json")
    return sorted(found, key=lambda place: place.stat().st_mtime, reverse=True)
