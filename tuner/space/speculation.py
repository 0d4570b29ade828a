"""Arguments of `vllm serve` in; what of them is speculative decoding, and why it cannot be as it is, out. Pure.

The names are those of vLLM 0.25 to 0.32 (config/speculative.py): `speculative_config.method` and its like, the short
`spec_method`, `spec_model` and `spec_tokens`, or all of it as one JSON text. It does not know models or workloads.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tuner.errors import did_you_mean
from tuner.space.gpus import UNSET
from tuner.types import Params, Value

CONFIG = "speculative_config"
METHOD, TOKENS, MODEL = (f"{CONFIG}.{key}" for key in ("method", "num_speculative_tokens", "model"))
_SHORT = {"spec_method": "method", "spec_model": "model", "spec_tokens": "num_speculative_tokens"}
_KEYS = {"method", "model", "num_speculative_tokens", "prompt_lookup_min", "prompt_lookup_max"}

#: What finds its drafts in the text itself: how often it drafts at all depends on the text.
OF_THE_TEXT = ("ngram", "ngram_gpu", "suffix")
#: What needs weights of its own, beside the checkpoint.
OF_A_MODEL = ("draft_model", "eagle", "eagle3", "medusa", "mlp_speculator", "dflash")
#: What is in the checkpoint, where it has such layers. vLLM's older names end with _mtp.
MTP = "mtp"
_OTHERS = ("dspark", "extract_hidden_states", "custom_class")
METHODS = (*OF_THE_TEXT, *OF_A_MODEL, MTP, *_OTHERS)
#: Far more than pays: vLLM's own checkpoints that draft a block at once have 7 to 16.
MOST_TOKENS = 64


def config_of(params: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of the speculative config that these arguments make; empty where they ask for no speculation: by the method
    "none", or by naming neither a method nor a model."""
    found = _given(params)
    asks = found.get("method", UNSET) != UNSET or ("method" not in found and found.get("model", UNSET) != UNSET)
    return found if asks else {}


def is_of_speculation(name: str) -> bool:
    """Whether an argument says something of it."""
    return name == CONFIG or name.startswith(f"{CONFIG}.") or name in _SHORT


def key_of(name: str) -> str:
    """The key of the speculative config that an argument sets; of another argument its own name."""
    return _SHORT.get(name, name.removeprefix(f"{CONFIG}."))


def is_mtp(method: object) -> bool:
    return isinstance(method, str) and (method == MTP or method.endswith("_mtp"))


def tokens_of(config: Mapping[str, Any]) -> int | None:
    """K, where it is said."""
    tokens = config.get("num_speculative_tokens")
    return tokens if isinstance(tokens, int) and not isinstance(tokens, bool) else None


def said(settings: Params) -> Params:
    """The arguments that are given to vLLM: with the method "none" nothing of speculation is."""
    given = config_of(settings)
    return {name: value for name, value in settings.items() if given or not is_of_speculation(name)}


def synthetic(acceptance: float | Sequence[float] | None, settings: Params) -> Params:
    """What has vLLM accept drafts as often as is said (a mean acceptance length, or the share accepted up to each position),
    whatever they are; nothing for settings that do not speculate."""
    config = config_of(settings)
    if acceptance is None or not config:
        return {}
    method: Params = {f"{CONFIG}.rejection_sample_method": "synthetic"}
    if isinstance(acceptance, int | float):
        return {**method, f"{CONFIG}.synthetic_acceptance_length": acceptance}
    rates = list(acceptance)[: tokens_of(config)]
    return {**method, f"{CONFIG}.synthetic_acceptance_rates": json.dumps(rates)}


def broken(params: Params) -> list[tuple[str, str]]:
    """What vLLM would refuse of these settings: (key of the speculative config, a sentence) each."""
    config, found = _given(params), []
    method, tokens = config.get("method"), config.get("num_speculative_tokens")
    if method == UNSET:
        return []
    if method is None and config.get("model") is None and (said := [key for key in config if key in _KEYS]):
        found.append(
            (said[0], f"{said[0]} says how to speculate, and nothing by which method: add {METHOD}, e.g. ngram")
        )
    if tokens is not None and (why := why_not_tokens(tokens)):
        found.append(("num_speculative_tokens", why))
    low, high = config.get("prompt_lookup_min"), config.get("prompt_lookup_max")
    if isinstance(low, int) and isinstance(high, int) and low > high:
        found.append(("prompt_lookup_min", f"prompt_lookup_min {low} is above prompt_lookup_max {high}"))
    for key, bound in (("prompt_lookup_min", low), ("prompt_lookup_max", high)):
        if isinstance(bound, int) and bound < 1:
            found.append((key, f"{key} {bound} is not at least 1 token"))
    return found


def unsaid(parameters: Iterable[str]) -> Params:
    """The method of a point that does not say it, where that is searched."""
    return {name: UNSET for name in parameters if is_of_speculation(name) and key_of(name) == "method"}


def _given(params: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in params.items():
        if name == CONFIG:
            found |= _of_json(value) if isinstance(value, str) else value if isinstance(value, dict) else {}
        elif is_of_speculation(name):
            found[key_of(name)] = value
    return found


def why_not_method(method: Value) -> str | None:
    """Why vLLM has no such method, where it looks like a misspelt one; a newer vLLM may have others."""
    if not isinstance(method, str):
        return f"a method is a name, one of {', '.join((UNSET, *METHODS))}"
    if method in (UNSET, *METHODS) or is_mtp(method):
        return None
    near = did_you_mean(method, (UNSET, *METHODS))
    return f"vLLM has no method {method!r}{near} for speculation" if near else None


def why_not_tokens(tokens: Value) -> str | None:
    if isinstance(tokens, bool) or not isinstance(tokens, int):
        return f"num_speculative_tokens {tokens} is not a whole number"
    if tokens == 0:
        return f"num_speculative_tokens 0 is no speculation: that is `{METHOD}: {UNSET}`"
    if not 1 <= tokens <= MOST_TOKENS:
        return f"num_speculative_tokens {tokens} is outside 1..{MOST_TOKENS}"
    return None


def _of_json(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
