"""vLLM's counters of speculative decoding before and after a window in; how many of the drafted tokens it accepted out. Pure.

The terms are those of vLLM (v1/spec_decode/metrics.py): a draft is what was proposed for one request in one step; the mean
acceptance length is 1 + accepted / drafts, what such a step brings with the target model's own token; the acceptance rate is
accepted / draft tokens. The series are there only where a server speculates.
"""

from collections.abc import Mapping
from typing import TypedDict

DRAFTS = "vllm:spec_decode_num_drafts_total"
DRAFT_TOKENS = "vllm:spec_decode_num_draft_tokens_total"
ACCEPTED = "vllm:spec_decode_num_accepted_tokens_total"
ACCEPTED_AT = "vllm:spec_decode_num_accepted_tokens_per_pos_total"
COUNTERS = (DRAFTS, DRAFT_TOKENS, ACCEPTED)


class Speculated(TypedDict, total=False):
    """The fields of ServerMetrics that are of speculation."""

    drafts: float
    draft_tokens: float
    accepted_tokens: float
    acceptance_length: float
    acceptance_rate: float
    acceptance_rates: tuple[float, ...]


def at_position(position: str) -> str:
    """Under which name the tokens accepted at a position (0 is the first) are kept."""
    return f"{ACCEPTED_AT} {position}"


def speculated(before: Mapping[str, float], after: Mapping[str, float]) -> Speculated:
    """What was drafted between two looks, as totals by name; nothing where the server does not speculate. Without a draft
    there is no length and no rate: ngram drafts only where it finds the text's end in what came before."""
    if not all(name in before and name in after for name in COUNTERS):
        return {}
    drafts, draft_tokens, accepted = (after[name] - before[name] for name in COUNTERS)
    found = Speculated(drafts=drafts, draft_tokens=draft_tokens, accepted_tokens=accepted)
    if drafts > 0 and draft_tokens > 0:
        found |= {"acceptance_length": 1 + accepted / drafts, "acceptance_rate": accepted / draft_tokens}
        found["acceptance_rates"] = _rates(before, after, drafts)
    return found


def _rates(before: Mapping[str, float], after: Mapping[str, float], drafts: float) -> tuple[float, ...]:
    """The share of the drafts that were accepted up to each position, the first one first."""
    rates: list[float] = []
    while (name := at_position(str(len(rates)))) in after:
        rates.append((after[name] - before.get(name, 0.0)) / drafts)
    return tuple(rates)
