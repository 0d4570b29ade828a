"""A config.json as its maker wrote it in; the same under the names that Llama's has, and what kind of model it is, out. Pure.

It knows the names of fields in families of models, and what their classes take where a field is left out (Hugging Face's
transformers). It checks no numbers, and knows no bytes.
"""

import re
from collections.abc import Mapping
from typing import Any

Fields = Mapping[str, Any]

# fmt: off
#: Decoders whose layers are attention and a gated MLP (or experts), with the fields that Llama's config.json has.
KNOWN = frozenset((
    "Llama", "Mistral", "Mixtral", "Ministral", "Qwen2", "Qwen2Moe", "Qwen3", "Qwen3Moe", "Gemma", "Gemma2", "Gemma3", "Gemma4",
    "Phi3", "PhiMoE", "Granite", "GraniteMoe", "Olmo", "Olmo2", "Olmo3", "Olmoe", "SmolLM3", "DeepseekV2", "DeepseekV3", "Glm",
    "Glm4", "Glm4Moe", "Glm4MoeLite", "GptOss", "InternLM2", "InternLM3", "Cohere", "Cohere2", "SeedOss", "Ernie4_5",
    "Ernie4_5_Moe", "Baichuan", "QWen", "ChatGLM", "Dbrx", "MiniCPM3", "MiniMaxM2", "Exaone4", "StableLm", "MiMo",
    "HunYuanDenseV1", "HunYuanMoEV1", "BailingMoe", "BailingMoeV2", "Aquila", "Dots1", "MiniCPM", "Deepseek", "Exaone",
    "GraniteMoeHybrid", "GraniteMoeShared", "TeleChat3", "IQuestCoder", "Orion",
))
#: The same, but the MLP has two matrices instead of three.
UNGATED = frozenset((
    "Starcoder2", "Phi", "GPTNeoX", "Nemotron", "GPT2", "GPTBigCode", "GPTJ", "Bloom", "Falcon", "RW", "MPT", "OPT",
    "Persimmon", "Arcee", "Apertus",
))
#: Those whose output head is the embedding where config.json does not say; the others have one of their own.
TIED = ("Gemma", "Cohere", "GPT2", "GPTBigCode", "Bloom", "Falcon", "RW", "MPT", "OPT", "Starcoder2", "SmolLM3")
#: Those with a kv_lora_rank whose keys and values vLLM keeps for every head nonetheless (models/minicpm3.py).
NOT_LATENT = frozenset({"MiniCPM3"})

#: Where the text model is described in a model that also sees or hears.
_NESTED = ("text_config", "llm_config", "language_config", "language_model_config", "thinker_config")
#: What a text model's class takes for the fields that are left out where it is nested (transformers, configuration_*.py).
_DEFAULTS: Mapping[str, Fields] = {
    "gemma": {"vocab_size": 256000, "hidden_size": 3072, "intermediate_size": 24576, "num_hidden_layers": 28,
              "num_attention_heads": 16, "num_key_value_heads": 16, "head_dim": 256, "max_position_embeddings": 8192},
    "gemma2": {"vocab_size": 256000, "hidden_size": 2304, "intermediate_size": 9216, "num_hidden_layers": 26,
               "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 256, "sliding_window": 4096,
               "max_position_embeddings": 8192},
    "gemma3_text": {"vocab_size": 262208, "hidden_size": 2304, "intermediate_size": 9216, "num_hidden_layers": 26,
                    "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 256, "sliding_window": 4096,
                    "max_position_embeddings": 131072},
    "gemma4_text": {"vocab_size": 262144, "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 256,
                    "global_head_dim": 512, "sliding_window": 512, "max_position_embeddings": 131072},
    "llama": {"vocab_size": 32000, "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32,
              "num_attention_heads": 32, "max_position_embeddings": 2048},
    "mistral": {"vocab_size": 32000, "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
                "num_attention_heads": 32, "num_key_value_heads": 8, "max_position_embeddings": 131072},
    "qwen2": {"vocab_size": 151936, "hidden_size": 4096, "intermediate_size": 22016, "num_hidden_layers": 32,
              "num_attention_heads": 32, "num_key_value_heads": 32, "max_position_embeddings": 32768},
}
#: Keys of config.json that mean state besides the KV cache, or attention that keeps something else, and what to call it.
_STATEFUL = {
    "state_size": "state-space layers",
    "ssm_cfg": "state-space layers",
    "ssm_state_size": "state-space layers",
    "mamba_d_state": "state-space layers",
    "mamba_num_heads": "state-space layers",
    "hybrid_override_pattern": "state-space layers",
    "attn_layer_period": "state-space layers",
    "linear_num_value_heads": "linear attention",
    "linear_attn_config": "linear attention",
    "full_attention_interval": "linear attention",
    "conv_L_cache": "convolutions that keep state",
    "full_attn_idxs": "convolutions that keep state",
    "lru_width": "recurrent layers",
    "rwkv_version": "recurrent layers",
    "attention_hidden_size": "recurrent layers",
    "block_types": "layers of several kinds (block_types)",
    "layers_block_type": "layers of several kinds (layers_block_type)",
    "num_key_value_heads_per_layer": "layers with unlike numbers of KV heads",
    "block_configs": "layers of unlike widths (block_configs)",
    "hybrid_layer_pattern": "two kinds of attention with heads of their own (hybrid_layer_pattern)",
    "laurel_rank": "embeddings in each layer and layers that share keys and values",
    "cross_attention_layers": "layers that attend to pictures",
    "zero_expert_num": "experts that do nothing and two attentions in a layer",
    "compress_ratios": "compressed attention",
    "index_topk": "sparse attention with an index",
    "sparse_attention_config": "sparse attention",
    "attention_chunk_size": "attention in chunks",
    "blocksparse_block_size": "block-sparse attention",
    "position_encoding_2d": "positions in two dimensions",
    "attention_other_setting": "two kinds of attention with heads of their own (attention_other_setting)",
    "num_query_heads": "layers with unlike numbers of heads (num_query_heads)",
}
#: The same by the architecture's name, where no field tells.
_BY_NAME = (
    (re.compile(r"rwkv|xlstm"), "recurrent layers"),
    (re.compile(r"mamba|jamba|bamba|hymba"), "state-space layers"),
    (re.compile(r"deltanet|retnet|^gla(?=for)|linear"), "linear attention"),
    (re.compile(r"hyena"), "convolutions that keep state"),
)
#: Kinds in `layer_types` that are no attention to all tokens or to a window of them, and what to call them.
_LAYERS = {
    "linear_attention": "linear attention", "mamba": "state-space layers", "conv": "convolutions that keep state",
    "chunked_attention": "attention in chunks", "recurrent": "recurrent layers",
}
#: How the names of architectures that generate text end (model_executor/models/registry.py).
_GENERATIVE = (
    "CausalLM", "ForConditionalGeneration", "LMHeadModel", "ChatGLMModel", "VLChatModel", "R1VChatModel", "MiniCPMV",
    "MiniCPMO", "NVLM_D", "Ovis", "Ovis2_5", "UltravoxModel", "OmniModel", "GritLM",
)
# fmt: on
_SUFFIX = re.compile(r"(ForCausalLM|ForConditionalGeneration|LMHeadModel|ChatModel|Model)$")
_KINDS = {"full_attention", "sliding_attention", "attention"}


def text_of(outer: Fields) -> tuple[dict[str, Any], str, tuple[str, ...]]:
    """The fields of the text model with those around it, the name of its family, and the fields that its class adds."""
    fields, inner = dict(outer), None
    for _ in range(len(_NESTED)):
        inner = next((fields[name] for name in _NESTED if isinstance(fields.get(name), dict)), None)
        if inner is None:
            break
        around = {name: value for name, value in fields.items() if name not in _NESTED}
        fields = {**around, **{name: value for name, value in inner.items() if value is not None}}
    added: tuple[str, ...] = ()
    if fields.keys() != outer.keys() or any(isinstance(outer.get(name), dict) for name in _NESTED):
        defaults = _DEFAULTS.get(str(fields.get("model_type")), {})
        added = tuple(name for name in defaults if fields.get(name) is None)
        fields |= {name: defaults[name] for name in added}
    family = _family(fields, outer)
    return _as_llama(fields, family), family, added


def _family(fields: Fields, outer: Fields) -> str:
    """By the architecture of the text model if it names its own, else by its type, else by the whole model's architecture."""
    names = [
        _first_of(fields.get("architectures")),
        str(fields.get("model_type")),
        _first_of(outer.get("architectures")),
    ]
    known = {_plain(family): family for family in KNOWN | UNGATED}
    for name in names:
        if (found := known.get(_plain(_SUFFIX.sub("", name)))) is not None:
            return found
    return _SUFFIX.sub("", names[-1])


#: Types of models whose text is a known family's under another name.
_ALIASES = {
    "ministral3": "ministral",
    "mistral3": "mistral",
    "kimik2": "deepseekv3",
    "kimik25": "deepseekv3",
    "phi3v": "phi3",
    "stablelmepoch": "stablelm",
}


def _plain(name: str) -> str:
    """Qwen3VLMoe and qwen3_vl_moe_text are Qwen3Moe, as far as the text goes."""
    found = re.sub(r"[_\-.]", "", name.lower()).removesuffix("text")
    found = re.sub(r"^qwen25vl", "qwen2", re.sub(r"^(qwen\d)vl", r"\1", re.sub(r"^(glm\d)v", r"\1", found)))
    return _ALIASES.get(found, found)


def _first_of(names: Any) -> str:
    return str(names[0]) if isinstance(names, list) and names else ""


def why_not(fields: Fields, architecture: str) -> str | None:
    """Why the memory and speed of this model cannot be told, as the end of a sentence; None if they can."""
    if fields.get("is_encoder_decoder") is True:
        return "has an encoder and a decoder"
    if isinstance(fields.get("talker_config"), dict):
        return "also speaks (talker_config): vLLM loads a part of it"
    if (what := state_of(fields, architecture)) is not None:
        return f"has {what}"
    names = (architecture, _first_of(fields.get("architectures")))  # the whole model's, and the text's own
    if not any(name.endswith(_GENERATIVE) for name in names) or (
        str(fields.get("model_type")) in ("bert", "roberta", "electra", "xlm-roberta") and not fields.get("is_decoder")
    ):
        return "is not a model that generates text"
    return None if (what := _unlike(fields)) is None else f"has {what}"


def state_of(fields: Fields, architecture: str = "") -> str | None:
    """What the layers have that is not a cache of keys and values for each token; None if nothing tells of such."""
    if others := set(_kinds(fields)) - _KINDS:
        return _LAYERS.get(min(others), f"layers of {min(others)}")
    told = (what for key, what in _STATEFUL.items() if fields.get(key) or (key == "ssm_cfg" and key in fields))
    named = (what for name, what in _BY_NAME if name.search(architecture.lower()))
    if (what := next(told, next(named, None))) is not None:
        return what
    kinds, group = fields.get("attn_type_list"), _number(fields, "layer_group_size")
    if (isinstance(kinds, list) and any(kind != 1 for kind in kinds)) or (group or 0) > 1:  # MiniMax's, Ling's
        return "linear attention"
    return None


def _unlike(fields: Fields) -> str | None:
    """What layers or experts share, or have for themselves, that one size for all does not tell."""
    across = fields.get("use_cla") is True and (_number(fields, "cla_share_factor") or 1) > 1  # Hunyuan's
    if across or (_number(fields, "num_kv_shared_layers") or 0) > 0:
        return "layers that share keys and values"
    if isinstance(fields.get("vision_config"), dict) and isinstance(fields.get("moe_num_experts"), list):  # ERNIE's
        return "experts for pictures alone"
    return None


def _as_llama(fields: dict[str, Any], family: str) -> dict[str, Any]:
    """The fields with what this family calls otherwise, or leaves to its class."""
    hidden = _number(fields, "hidden_size", "n_embd", "n_embed", "d_model")
    four = None if hidden is None else 4 * hidden
    found: dict[str, Any] = {}
    match family:
        case "GPT2" | "GPTJ" | "Bloom" | "GPTBigCode":
            found["intermediate_size"] = fields.get("n_inner") or four
            if family == "GPTBigCode" and fields.get("multi_query", True):
                found["num_key_value_heads"] = 1
        case "Falcon" | "RW":
            heads = fields.get("num_attention_heads", fields.get("n_head"))
            new = fields.get("new_decoder_architecture") is True
            one = 1 if fields.get("multi_query", True) else heads
            found["num_key_value_heads"] = fields.get("num_kv_heads", fields.get("n_head_kv", heads)) if new else one
            found["intermediate_size"] = fields.get("ffn_hidden_size") or four
        case "OPT":
            found["intermediate_size"] = fields.get("ffn_dim")
        case "MPT":
            ratio = fields.get("expansion_ratio", 4)
            wide = isinstance(ratio, int | float) and 0 < ratio < 1000
            found["intermediate_size"] = int(ratio * hidden) if wide and hidden is not None else None
            found["num_key_value_heads"] = _inside(fields, "attn_config").get("kv_n_heads")
        case "Dbrx":
            experts = _inside(fields, "ffn_config")
            found = {name: experts.get(name) for name in ("moe_num_experts", "moe_top_k")}
            found["moe_intermediate_size"] = experts.get("ffn_hidden_size")
            found["num_key_value_heads"] = _inside(fields, "attn_config").get("kv_n_heads")
        case "ChatGLM":
            found["vocab_size"] = fields.get("padded_vocab_size")
            found["intermediate_size"] = fields.get("ffn_hidden_size")
            found["head_dim"] = fields.get("kv_channels")
            if fields.get("multi_query_attention"):
                found["num_key_value_heads"] = fields.get("multi_query_group_num")
        case "QWen":  # modeling_qwen.py halves it
            wide_ = _number(fields, "intermediate_size")
            found["intermediate_size"] = wide_ // 2 if wide_ else None
        case "MiniCPM3":
            parts = [_number(fields, name) for name in ("qk_nope_head_dim", "qk_rope_head_dim")]
            found["head_dim"] = sum(part for part in parts if part) if all(parts) else None
        case "GraniteMoeHybrid" if set(_kinds(fields)) == {"attention"}:  # mamba_* is there, but for no layer
            fields = {name: value for name, value in fields.items() if not name.startswith("mamba_")}
            if not fields.get("num_local_experts"):
                found["intermediate_size"] = fields.get("shared_intermediate_size")
        case "Gemma4" if fields.get("enable_moe_block") is True:  # each layer has an MLP and, beside it, experts
            found["shared_expert_intermediate_size"] = fields.get("intermediate_size")
    if "MoEV1" in family and isinstance(shared := fields.get("num_shared_expert"), list):
        found["n_shared_experts"] = shared
    if fields.get("head_dim") == 0:
        found["head_dim"] = fields.get("attention_head_dim")
        fields = {name: value for name, value in fields.items() if name != "head_dim"}
    return {**fields, **{name: value for name, value in found.items() if value is not None}}


def _kinds(fields: Fields) -> list[str]:
    value = fields.get("layer_types")
    return [str(kind) for kind in value] if isinstance(value, list) else []


def _inside(fields: Fields, name: str) -> Fields:
    value = fields.get(name)
    return value if isinstance(value, dict) else {}


def _number(fields: Fields, *names: str) -> int | None:
    value = next((fields[name] for name in names if fields.get(name) is not None), None)
    return value if isinstance(value, int) and not isinstance(value, bool) else None
