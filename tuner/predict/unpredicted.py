"""Arguments that a simulated server takes and that change nothing in it: what each is when it is not given, as vLLM has it.

Read in vLLM 0.25.1 and 0.32. They are searched on a card; what they bring there, no formula here says.
"""

from collections.abc import Iterable, Mapping

from tuner.predict.arguments import BACKEND, LARGEST
from tuner.predict.settings import Settings, capture_sizes
from tuner.space.gpus import UNSET
from tuner.space.speculation import is_of_speculation
from tuner.types import Params, Value

#: By vLLM's names; UNSET where vLLM chooses, or leaves it out.
UNPREDICTED: Mapping[str, Value] = {
    "attention_config.flash_attn_version": UNSET,
    "moe_backend": "auto",
    "linear_backend": "auto",
    "kv_offloading_size": UNSET,
    "speculative_config.model": UNSET,
    "speculative_config.prompt_lookup_max": UNSET,
    "speculative_config.prompt_lookup_min": UNSET,
}


#: Of these one value is timed, on Hopper: too little to choose one.
_NOT_TIMED = (BACKEND,)


def unpredicted(searched: Iterable[str]) -> frozenset[str]:
    """Those of the searched parameters of which nobody can say beforehand what they bring: also speculation, as how often
    drafts are right depends on the text."""
    return frozenset(name for name in searched if name in UNPREDICTED or name in _NOT_TIMED or is_of_speculation(name))


def with_unpredicted(settings: Settings, given: Params) -> Params:
    """All settings: those that are predicted, and these, as they are `given` or else vLLM's own."""
    largest = max(capture_sizes(settings), default=0)
    told = {name: value for name, value in {**UNPREDICTED, **given}.items() if value != UNSET}
    return {**settings.params, LARGEST: largest, **told}
