"""Arguments that a simulated server takes and that change nothing in it: what each is when it is not given, as vLLM has it.

Read in vLLM 0.25.1 and 0.32. They are searched on a card; what they bring there, no formula here says.
"""

from collections.abc import Mapping

from tuner.predict.settings import Settings, capture_sizes
from tuner.space.gpus import UNSET
from tuner.types import Params, Value

_MODE = "compilation_config.cudagraph_mode"
_LARGEST = "max_cudagraph_capture_size"
#: By vLLM's names; UNSET where vLLM chooses, or leaves it out.
UNPREDICTED: Mapping[str, Value] = {
    _MODE: "FULL_AND_PIECEWISE",
    "compilation_config.cudagraph_capture_sizes": UNSET,
    "compilation_config.max_cudagraph_capture_size": UNSET,
    _LARGEST: UNSET,
    "cudagraph_capture_sizes": UNSET,
    "attention_backend": UNSET,
    "attention_config.backend": UNSET,
    "attention_config.flash_attn_version": UNSET,
    "moe_backend": "auto",
    "linear_backend": "auto",
    "long_prefill_token_threshold": 0,
    "kv_offloading_size": UNSET,
    "speculative_config.method": UNSET,
    "speculative_config.model": UNSET,
    "speculative_config.num_speculative_tokens": UNSET,
    "speculative_config.prompt_lookup_max": UNSET,
    "speculative_config.prompt_lookup_min": UNSET,
}


def with_unpredicted(settings: Settings, given: Params) -> Params:
    """All settings: those that are predicted, and these, as they are `given` or else vLLM's own."""
    sizes = capture_sizes(settings)
    graphs: Params = {_LARGEST: max(sizes), _MODE: UNPREDICTED[_MODE]} if sizes else {_LARGEST: 0, _MODE: "NONE"}
    told = {name: value for name, value in {**UNPREDICTED, **graphs, **given}.items() if value != UNSET}
    return {**settings.params, **told}
