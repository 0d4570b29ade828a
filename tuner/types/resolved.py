"""What an engine makes of settings before anything is launched."""

import hashlib
import json
from dataclasses import dataclass

from tuner.types.settings import Params

#: What may become another value when a server starts, by the name in `resolved` settings: it is in no digest. vLLM tells in
#: its log alone what became of it.
MAY_CHANGE = (
    "compilation_config.cudagraph_mode",
    "attention_backend",
    "block_size",
    "user_specified_block_size",
    "enable_chunked_prefill",
    "enable_prefix_caching",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved:
    """`settings` are the engine's by vLLM's names. Two answers of the same `digest` whose settings do not differ in MAY_CHANGE
    either are those of servers that run alike; where the engine cannot tell, they differ. `compile_key` is the same where vLLM
    finds its compiled code again; None where nothing is compiled."""

    settings: Params
    digest: str
    compile_key: str | None = None


def digest_of(model: str, settings: Params) -> str:
    """The digest of an engine that makes nothing of settings but these."""
    told = {name: value for name, value in settings.items() if name not in MAY_CHANGE}
    return hashlib.sha256(json.dumps([model, told], sort_keys=True).encode()).hexdigest()[:32]
