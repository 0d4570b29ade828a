"""The command line of a running vLLM in; the settings that it names out. Pure.

What it leaves to vLLM's defaults is not known from it, and what is in a file of --config neither. Secrets are left out.
"""

from collections.abc import Sequence

from tuner.space.words import SECRET_ARGUMENTS, is_argument
from tuner.space.yaml_file import parse_scalar
from tuner.types import Params, Value

_SERVES = ("serve", "vllm.entrypoints.openai.api_server")
#: How the names of secrets end.
_SECRET = ("_key", "_keys", "_token", "_password", "_secret")
#: What belongs to the address, not to how it runs.
_ADDRESS = frozenset({"model", "host", "port", "served_model_name", "uds", "root_path"})


def settings_of(argv: Sequence[str]) -> Params:
    """By vLLM's names; `--no-enable-x` is `enable_x: False`, and a flag without a value is True. Nothing of another command."""
    begins = next((place for place, word in enumerate(argv) if word in _SERVES), None)
    found: dict[str, Value] = {}
    words = list(argv[begins + 1 :]) if begins is not None else []
    for place, word in enumerate(words):
        if not word.startswith("--"):
            continue
        name, separator, text = word.removeprefix("--").partition("=")
        following = words[place + 1] if place + 1 < len(words) and not words[place + 1].startswith("--") else None
        key = name.replace("-", "_")
        if following is None and not separator and key.startswith("no_"):
            key, following = key.removeprefix("no_"), "false"
        value = parse_scalar(text if separator else following or "true")
        if is_argument(key) and not _is_hidden(key) and isinstance(value, bool | int | float | str):
            found[key] = value
    return found


def _is_hidden(key: str) -> bool:
    return key in _ADDRESS or key in SECRET_ARGUMENTS or key.endswith(_SECRET)
