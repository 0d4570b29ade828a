"""A model's folder, or a well-known name, in; its shape (what its memory and its arithmetic follow from) out.

It reads config.json and the sizes of the weights, never the weights. It does not know GPUs, settings or vLLM's arguments. What
it cannot tell right (state-space models, encoders, sizes that no model has) it refuses; what it takes for granted is said in
`Shape.assumed`.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from tuner.errors import UsageError
from tuner.predict.checkpoint import stored_bytes
from tuner.predict.config_json import Config, read_json
from tuner.predict.decoder import UNKNOWN, Experts, Mla, Quantized, Shape
from tuner.predict.families import KNOWN, NOT_LATENT, TIED, UNGATED, state_of, text_of, why_not
from tuner.predict.quantized import read_quantization
from tuner.predict.tower import TOWERS, tower_parameters

__all__ = ["Experts", "Mla", "Quantized", "Shape", "read_shape"]

_KNOWN_MODELS = Path(__file__).with_name("models.json")

#: One layer in so many attends to everything, where config.json does not say which.
_PATTERNS = {"Gemma2": 2, "Gemma3": 6, "Gemma4": 6, "GptOss": 2, "Cohere2": 4, "Exaone4": 4, "Olmo3": 4}
_LENGTHS = (
    "model_max_length", "max_position_embeddings", "n_positions", "max_seq_len", "seq_length", "max_sequence_length",
    "max_seq_length", "seq_len",
)  # fmt: skip
#: vLLM's length for a model that names none (config/model.py).
_POSITIONS = 2048
_LONGEST = 10**8
_LAYERS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")
_HIDDEN = ("hidden_size", "n_embd", "n_embed", "d_model")
_HEADS = ("num_attention_heads", "n_head", "n_heads")
#: How ModelOpt's checkpoints tell what config.json does not.
_QUANTIZATION_FILE = "hf_quant_config.json"


def read_shape(model: str) -> Shape:
    """The shape of the model in the folder `model`, or of a few well-known hub names, without a download.

    Raises UsageError for what is no model, and for models whose memory cannot be told right.
    """
    folder = Path(model)
    if folder.is_dir():
        if (folder / "model_index.json").is_file() and not (folder / "config.json").is_file():
            raise UsageError(f"{model} is a pipeline of several models (model_index.json), not one that generates text")
        if not (folder / "config.json").is_file():
            raise UsageError(f"{model} has no config.json: give the folder of a model as it is on the hub")
        return _shape(read_json(folder / "config.json"), str(folder / "config.json"), folder)
    known = read_json(_KNOWN_MODELS)
    if model in known:
        return _shape(known[model], model, None, f"{model} is not a folder here: its shape is the one that tuner ships")
    raise UsageError(
        f"{model} is not a folder, and tuner does not know its shape: download it and give its folder"
        f" (known without a download: {', '.join(known)})"
    )


def _shape(outer: Mapping[str, Any], where: str, folder: Path | None, *assumed: str) -> Shape:
    names = outer.get("architectures")
    if not isinstance(names, list) or not names:
        if (kind := outer.get("_class_name")) is not None:
            raise UsageError(f"{where}: {kind} is a part of a diffusion pipeline, not a model that generates text")
        if what := state_of(outer):
            raise UsageError(f"{where}: this model has {what}, whose memory and speed tuner cannot tell")
        raise UsageError(f"{where}: there is no list of architectures, so it cannot be told what this model is")
    architecture = str(names[0])
    fields, family, added = text_of(outer)
    config = Config(fields, where, None if family in KNOWN | UNGATED else family)
    if why := why_not(fields, architecture):
        raise UsageError(f"{where}: {architecture} {why}, whose memory and speed tuner cannot tell")
    layers, hidden, heads = config.size(*_LAYERS), config.size(*_HIDDEN), config.size(*_HEADS)
    kv_heads = config.size("num_key_value_heads", "num_kv_heads", "num_attention_groups", default=heads)
    experts, mla = _experts(config, layers), _mla(config, family)
    if kv_heads > heads or heads % kv_heads:
        config.wrong("num_key_value_heads", f"a divisor of num_attention_heads ({heads})")
    if mla is None and config.get("head_dim") is None and hidden % heads:
        config.wrong(
            next(name for name in _HIDDEN if config.get(name)),
            f"a multiple of num_attention_heads ({heads}) where there is no head_dim",
        )
    tied = config.flag("tie_word_embeddings", default=family.startswith(TIED))
    stored = stored_bytes(folder, layers, tied=tied) if folder else None
    window_layers, window = _windows(config, family, layers)
    positions = _max_positions(config)
    own_heads, own_size = _global_heads(config, heads) if window_layers else (None, None)
    shape = Shape(
        architecture=architecture,
        layers=layers,
        hidden=hidden,
        heads=heads,
        kv_heads=kv_heads,
        head_dim=config.size("head_dim", default=max(hidden // heads, 1)),
        intermediate=config.size(
            "intermediate_size",
            "ffn_hidden_size",
            "n_inner",
            "ffn_dim",
            default=experts.intermediate if experts else None,
        ),
        vocab=config.size("vocab_size"),
        tied=tied,
        dtype_bytes=4.0 if "float32" in str(config.get("torch_dtype", "dtype")) else 2.0,
        gated=family not in UNGATED,
        experts=experts,
        mla=mla,
        window_layers=window_layers,
        window=window,
        global_kv_heads=own_heads,
        global_head_dim=own_size,
        rotary_positions=_rotary_positions(config, positions),
        tower_parameters=_towers(config, stored),
        stored_bytes=stored,
        max_positions=positions,
    )
    shape, told = _with_quantization(shape, config, folder)
    return replace(shape, assumed=(*assumed, *told, *_assumed(config, family, added, stored)))


def _with_quantization(shape: Shape, config: Config, folder: Path | None) -> tuple[Shape, list[str]]:
    """What config.json says of the weights' bits, or the file beside it; and what is taken for granted of them."""
    told = config.get("quantization_config", "compression_config")
    if told is None and folder and (folder / _QUANTIZATION_FILE).is_file():
        told = read_json(folder / _QUANTIZATION_FILE)
    if told is None or told == {}:
        return shape, []
    if not isinstance(told, dict):
        config.wrong(
            next(n for n in ("quantization_config", "compression_config") if config.get(n) is not None), "an object"
        )
    method, quantized = read_quantization(told, shape.layers, config.where)
    if quantized is not None:
        found = replace(shape, checkpoint_quantization=method, quantized=quantized)
        bits = (
            f"the weights' files are not here: {method} is counted with {8 * quantized.weight_bytes:.3g} bits a weight"
        )
        return found, [bits] if shape.stored_bytes is None else []
    if shape.stored_bytes is None:
        raise UsageError(
            f"{config.where}: its quantization_config ({method}) does not say how many bits a weight has, or is of a kind that"
            " tuner does not know: that is only told with its weights' files"
        )
    weights = shape.stored_bytes - 2 * (shape.embedding_parameters + shape.tower_parameters)
    each = min(2.0, max(0.25, weights / (shape.layers * shape.layer_parameters)))
    found = replace(shape, checkpoint_quantization=method, quantized=Quantized(weight_bytes=each))
    return found, [f"{UNKNOWN} the quantization {method}: {8 * each:.3g} bits a weight, by its files' sizes"]


def _assumed(config: Config, family: str, added: tuple[str, ...], stored: int | None) -> list[str]:
    said = []
    if family not in KNOWN | UNGATED:
        said.append(f"{UNKNOWN} {family}: its layers are counted like Llama's")
    if added:
        said.append(
            f"{config.where} leaves out {', '.join(added)}: as the class of {config.get('model_type')} has them"
        )
    for tower in TOWERS:
        if isinstance(config.get(tower), dict):
            size = "" if stored is not None else "its weights are estimated from its sizes, and "
            said.append(f"only text is sent: {size}what runs of {tower} needs no memory")
    if config.get(*_LENGTHS) is None:
        said.append(f"{config.where} names no largest length: {_POSITIONS} tokens, as vLLM assumes then")
    return said


def _towers(config: Config, stored: int | None) -> int:
    """The parameters of encoders beside the decoder."""
    found = 0
    for tower in TOWERS:
        told = config.get(tower)
        if not isinstance(told, dict):
            continue
        size = tower_parameters(told)
        if size is None and stored is None:
            raise UsageError(
                f"{config.where}: the sizes in its {tower} cannot be told: they are only with its weights' files"
            )
        found += size or 0
    return found


def _experts(config: Config, layers: int) -> Experts | None:
    counts = ("num_experts", "n_routed_experts", "num_local_experts", "moe_num_experts")
    if (config.get(*counts) or 0) in (0, 1):
        return None
    count = config.size(*counts)
    active = config.size(
        "num_experts_per_tok", "experts_per_token", "num_experts_per_token", "top_k_experts", "moe_k", "moe_topk",
        "moe_top_k", most=count,
    )  # fmt: skip
    intermediate = config.size("moe_intermediate_size", "intermediate_size")
    shared = intermediate * config.size(
        "n_shared_experts", "num_shared_experts", "num_shared_expert", "moe_num_shared_experts", default=0, least=0
    )
    return Experts(
        count=count,
        active=active,
        intermediate=intermediate,
        shared_intermediate=config.size(
            "shared_expert_intermediate_size", "shared_intermediate_size", "moe_shared_expert_intermediate_size",
            default=shared, least=0,
        ),
        layers=_sparse_layers(config, layers),
    )  # fmt: skip


def _sparse_layers(config: Config, layers: int) -> int:
    """How many layers have experts: told by a list with one entry a layer, or by a first one and a step."""
    listed = config.get("moe_layer_freq")
    if isinstance(listed, list):
        if len(listed) != layers or any(each not in (0, 1) for each in listed):
            config.wrong("moe_layer_freq", f"a whole number, or a list of num_hidden_layers ({layers}) of 0 and 1")
        return sum(listed)
    first = config.size("first_k_dense_replace", "moe_layer_start_index", default=0, least=0)
    step = config.size("decoder_sparse_step", "moe_layer_freq", "moe_layer_interval", default=1)
    dense = config.get("mlp_only_layers")
    return sum(
        (n + 1) % step == 0 and n not in (dense if isinstance(dense, list) else ()) for n in range(first, layers)
    )


def _mla(config: Config, family: str) -> Mla | None:
    """Latent attention: of every family that has its two sizes, but for those that vLLM runs as others."""
    if config.get("kv_lora_rank") is None or family in NOT_LATENT:
        return None
    return Mla(
        kv_lora_rank=config.size("kv_lora_rank"),
        rope_dim=config.size("qk_rope_head_dim"),
        q_lora_rank=config.size("q_lora_rank") if config.get("q_lora_rank") is not None else None,
        v_head_dim=config.size("v_head_dim"),
        nope_dim=config.size("qk_nope_head_dim"),
    )


def _windows(config: Config, family: str, layers: int) -> tuple[int, int | None]:
    """How many layers have a sliding window, and how wide it is."""
    if config.get("sliding_window") in (None, 0, -1) or config.get("use_sliding_window") is False:
        return 0, None
    window = config.size("sliding_window")
    types, pattern = config.get("layer_types"), config.get("sliding_window_pattern")
    if isinstance(types, list):
        # layers that predict further tokens may follow
        ahead = config.size("num_nextn_predict_layers", default=0, least=0)
        if len(types) not in (layers, layers + ahead):
            config.wrong("layer_types", f"a list of num_hidden_layers ({layers}) kinds")
        count = sum(kind == "sliding_attention" for kind in types[:layers])
    elif family.startswith("Qwen"):
        first = config.size("max_window_layers", default=layers, least=0)
        count = max(layers - first, 0) if config.get("use_sliding_window") is True else 0
    elif isinstance(pattern, str) and set(pattern) <= {"L", "G"} and pattern:
        count = sum(pattern[n % len(pattern)] == "L" for n in range(layers))
    elif family in _PATTERNS or pattern is not None:
        count = layers - layers // config.size("sliding_window_pattern", default=_PATTERNS.get(family, 1))
    else:
        count = layers
    return (count, window) if count else (0, None)


def _global_heads(config: Config, heads: int) -> tuple[int | None, int | None]:
    """KV heads and their size in layers without a window, where they are others (Gemma 4)."""
    size = config.size("global_head_dim") if config.get("global_head_dim") is not None else None
    count = None
    if config.get("num_global_key_value_heads") is not None and config.get("attention_k_eq_v") is not False:
        count = config.size("num_global_key_value_heads", most=heads)
    return count, size


def _max_positions(config: Config) -> int:
    """The longest sequence, as vLLM derives it (config/model.py): the smallest of the lengths that are named, but for the first
    name, which counts alone; YaRN stretches the original length, other scalings the length itself, Llama 3's and LongRoPE's not
    at all."""
    named = [name for name in _LENGTHS if config.get(name) is not None]
    counted = named[:1] if _LENGTHS[0] in named else named
    positions = min((config.size(name, most=_LONGEST) for name in counted), default=_POSITIONS)
    kind, factor, original = _scaling(config)
    if "gemma3" in str(config.get("model_type")) or factor is None:
        return positions
    if kind in (None, "default", "su", "longrope", "llama3", "mrope"):
        return positions
    return round((original if kind == "yarn" and original is not None else positions) * factor)


def _rotary_positions(config: Config, positions: int) -> int | None:
    """The length of the table of rotary embeddings where it is not the longest sequence: linear scaling stretches it, also
    where it does not stretch that (model_executor/layers/rotary_embedding/linear_scaling_rope.py)."""
    kind, factor, _ = _scaling(config)
    if kind != "linear" or factor is None or "gemma3" not in str(config.get("model_type")):
        return None
    return round(positions * factor)


def _scaling(config: Config) -> tuple[str | None, float | None, int | None]:
    """The kind of scaling of rotary embeddings, its factor, and the length before it."""
    name = next((name for name in ("rope_scaling", "rope_parameters") if config.get(name)), None)
    rope = config.get(name) if name else None
    if not isinstance(rope, dict) or name is None:
        return None, None, None
    if isinstance(of_full := rope.get("full_attention"), dict):  # one for each kind of layer
        rope = of_full
    kind, factor = rope.get("rope_type", rope.get("type")), rope.get("factor")
    if kind is None or factor is None:
        return None, None, None
    if isinstance(factor, bool) or not isinstance(factor, int | float) or not 0 < factor <= 1000:
        config.wrong(name, "with a factor in 0..1000")
    original = rope.get("original_max_position_embeddings")
    return str(kind), float(factor), original if isinstance(original, int) else None
