"""A model's folder, or a well-known name, in; its shape (what its memory and its arithmetic follow from) out.

It reads config.json and the sizes of the weights, never the weights. It does not know GPUs, settings or vLLM's arguments. What
it cannot tell right (state-space models, encoders, sizes that no model has) it refuses; what it takes for granted is said in
`Shape.assumed`.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tuner.errors import UsageError
from tuner.predict.checkpoint import stored_bytes
from tuner.predict.config_json import Config, read_json
from tuner.predict.decoder import Experts, Mla, Shape

__all__ = ["Experts", "Mla", "Shape", "read_shape"]

_KNOWN_MODELS = Path(__file__).with_name("models.json")

# fmt: off
#: Decoders whose layers are attention and a gated MLP (or experts), with the fields that Llama's config.json has.
_KNOWN = frozenset((
    "Llama", "Mistral", "Mixtral", "Qwen2", "Qwen2Moe", "Qwen3", "Qwen3Moe", "Gemma", "Gemma2", "Gemma3", "Phi3", "PhiMoE",
    "Granite", "GraniteMoe", "Olmo2", "Olmoe", "SmolLM3", "DeepseekV2", "DeepseekV3", "Glm4", "Glm4Moe", "GptOss",
    "InternLM3", "Cohere", "Cohere2", "SeedOss", "Ernie4_5", "Ernie4_5_Moe",
))
# fmt: on
#: The same, but the MLP has two matrices instead of three.
_UNGATED = frozenset(("Starcoder2", "Phi", "GPTNeoX", "Nemotron"))
#: Those with latent attention (vLLM's transformers_utils/model_arch_config_convertor.py).
_LATENT = frozenset({"DeepseekV2", "DeepseekV3"})
#: One layer in so many attends to everything, where config.json does not say which.
_PATTERNS = {"Gemma2": 2, "Gemma3": 6, "GptOss": 2, "Cohere2": 4}
#: Those whose output head is the embedding where config.json does not say; the others have one of their own.
_TIED = ("Gemma", "Cohere")
_GENERATIVE = ("ForCausalLM", "ForConditionalGeneration", "LMHeadModel")
_LENGTHS = ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length", "model_max_length")
#: vLLM's length for a model that names none (config/model.py).
_POSITIONS = 2048
#: Keys of config.json that mean state besides the KV cache, or attention that keeps something else, and what to call it.
_STATEFUL = {
    "state_size": "state-space layers",
    "ssm_cfg": "state-space layers",
    "mamba_d_state": "state-space layers",
    "mamba_num_heads": "state-space layers",
    "hybrid_override_pattern": "state-space layers",
    "attn_layer_period": "state-space layers",
    "linear_num_value_heads": "linear attention",
    "attention_chunk_size": "attention in chunks",
    "index_topk": "sparse attention with an index",
    "rwkv_version": "recurrent layers",
}


def read_shape(model: str) -> Shape:
    """The shape of the model in the folder `model`, or of a few well-known hub names, without a download.

    Raises UsageError for what is no model, and for models whose memory cannot be told right.
    """
    folder = Path(model)
    if folder.is_dir():
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
    inner = outer.get("text_config")
    config = Config({**outer, **inner} if isinstance(inner, dict) else outer, where)
    names = outer.get("architectures")
    if not isinstance(names, list) or not names:
        raise UsageError(f"{where}: there is no list of architectures, so it cannot be told what this model is")
    architecture = str(names[0])
    family = architecture.removesuffix("ForCausalLM").removesuffix("ForConditionalGeneration")
    if why := _why_not(config, architecture):
        raise UsageError(f"{where}: {architecture} {why}, whose memory and speed tuner cannot tell")
    layers, hidden = config.size("num_hidden_layers", "n_layer"), config.size("hidden_size", "n_embd")
    heads = config.size("num_attention_heads", "n_head")
    kv_heads = config.size("num_key_value_heads", default=heads)
    experts, mla = _experts(config, layers), _mla(config, family)
    if kv_heads > heads or heads % kv_heads:
        config.wrong("num_key_value_heads", f"a divisor of num_attention_heads ({heads})")
    if mla is None and config.get("head_dim") is None and hidden % heads:
        config.wrong("hidden_size", f"a multiple of num_attention_heads ({heads}) where there is no head_dim")
    tied = config.flag("tie_word_embeddings", default=family.startswith(_TIED))
    stored = stored_bytes(folder, layers, tied=tied) if folder else None
    quantization = config.get("quantization_config")
    method = str(quantization.get("quant_method", "unknown")) if isinstance(quantization, dict) else None
    window_layers, window = _windows(config, family, layers)
    return Shape(
        architecture=architecture,
        layers=layers,
        hidden=hidden,
        heads=heads,
        kv_heads=kv_heads,
        head_dim=config.size("head_dim", default=max(hidden // heads, 1)),
        intermediate=config.size("intermediate_size", default=experts.intermediate if experts else None),
        vocab=config.size("vocab_size"),
        tied=tied,
        dtype_bytes=4.0 if "float32" in str(config.get("torch_dtype", "dtype")) else 2.0,
        gated=family not in _UNGATED,
        experts=experts,
        mla=mla,
        window_layers=window_layers,
        window=window,
        checkpoint_quantization=method,
        stored_bytes=stored,
        max_positions=_max_positions(config),
        assumed=(*assumed, *_assumed(config, family, stored, method)),
    )


def _why_not(config: Config, architecture: str) -> str | None:
    """Why this model's memory cannot be told, as the end of a sentence; None if it can."""
    if config.get("is_encoder_decoder") is True:
        return "has an encoder and a decoder"
    if not architecture.endswith(_GENERATIVE):
        return "is not a model that generates text"
    types = config.get("layer_types")
    if isinstance(types, list) and (others := {str(kind) for kind in types} - {"full_attention", "sliding_attention"}):
        return f"has layers of {min(others)}"
    return next((f"has {what}" for key, what in _STATEFUL.items() if config.get(key) is not None), None)


def _assumed(config: Config, family: str, stored: int | None, method: str | None) -> list[str]:
    said = []
    if family not in _KNOWN | _UNGATED:
        said.append(f"tuner does not know {family}: its layers are counted like Llama's")
    for tower in ("vision_config", "audio_config"):
        if config.get(tower) is not None:
            if stored is None:
                raise UsageError(
                    f"{config.where}: {family} has a {tower}; its size is only told with its weights' files"
                )
            said.append(f"only text is sent: what runs of {tower} needs no memory")
    if method is not None and stored is None:
        said.append(f"the weights' files are not here: {method} is counted with its usual bits")
    if config.get(*_LENGTHS) is None:
        said.append(f"{config.where} names no largest length: {_POSITIONS} tokens, as vLLM assumes then")
    return said


def _experts(config: Config, layers: int) -> Experts | None:
    counts = ("num_experts", "n_routed_experts", "num_local_experts", "moe_num_experts")
    if (config.get(*counts) or 0) == 0:
        return None
    count = config.size(*counts)
    active = config.size("num_experts_per_tok", "experts_per_token", "moe_k", most=count)
    intermediate = config.size("moe_intermediate_size", "intermediate_size")
    shared = config.size("n_shared_experts", "moe_num_shared_experts", default=0, least=0) * intermediate
    first = config.size("first_k_dense_replace", "moe_layer_start_index", default=0, least=0)
    step = config.size("decoder_sparse_step", "moe_layer_freq", "moe_layer_interval", default=1)
    dense = config.get("mlp_only_layers")
    sparse = [
        n for n in range(first, layers) if (n + 1) % step == 0 and n not in (dense if isinstance(dense, list) else ())
    ]
    return Experts(
        count=count,
        active=active,
        intermediate=intermediate,
        shared_intermediate=config.size(
            "shared_expert_intermediate_size", "shared_intermediate_size", default=shared, least=0
        ),
        layers=len(sparse),
    )


def _mla(config: Config, family: str) -> Mla | None:
    if config.get("kv_lora_rank") is None or family not in _LATENT:
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
    if config.get("sliding_window") in (None, 0):
        return 0, None
    window = config.size("sliding_window")
    types = config.get("layer_types")
    if isinstance(types, list):
        if len(types) != layers:
            config.wrong("layer_types", f"a list of num_hidden_layers ({layers}) kinds")
        count = sum(kind == "sliding_attention" for kind in types)
    elif family.startswith("Qwen"):
        first = config.size("max_window_layers", default=layers, least=0)
        count = max(layers - first, 0) if config.get("use_sliding_window") is True else 0
    elif family in _PATTERNS or config.get("sliding_window_pattern") is not None:
        count = layers - layers // config.size("sliding_window_pattern", default=_PATTERNS.get(family, 1))
    else:
        count = layers
    return (count, window) if count else (0, None)


def _max_positions(config: Config) -> int:
    """The longest sequence, as vLLM derives it (config/model.py): YaRN stretches the original length, other scalings the
    length itself, Llama 3's and LongRoPE's not at all."""
    positions = config.size(*_LENGTHS, default=_POSITIONS)
    rope = config.get("rope_scaling", "rope_parameters")
    if not isinstance(rope, dict) or "gemma3" in str(config.get("model_type")):
        return positions
    kind, factor = rope.get("rope_type", rope.get("type")), rope.get("factor")
    if kind in (None, "default", "su", "longrope", "llama3", "mrope") or factor is None:
        return positions
    if not isinstance(factor, int | float) or not 0 < factor <= 1000:
        config.wrong(
            next(name for name in ("rope_scaling", "rope_parameters") if config.get(name)), "with a factor in 0..1000"
        )
    original = rope.get("original_max_position_embeddings")
    return round((original if kind == "yarn" and isinstance(original, int) else positions) * factor)
