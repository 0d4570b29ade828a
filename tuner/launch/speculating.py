"""A command line of `vllm serve` in; how many tokens it drafts in a step (K), and the environment that this needs, out.

vLLM's compile key has nothing of K, though the graphs that it compiles and stores do (https://github.com/vllm-project/vllm,
issue 53366): a server that finds another K's in its cache runs those. So each K has a cache folder of its own.
"""

import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml

from tuner.space.speculation import CONFIG, config_of, tokens_of

_ROOT = "VLLM_CACHE_ROOT"
#: Where vLLM keeps its caches by itself.
_USUAL = Path("~/.cache/vllm")
_SHORT = "sc"


def cache_of(argv: Sequence[str], environment: Mapping[str, str]) -> dict[str, str]:
    """VLLM_CACHE_ROOT for a server that speculates, inside the one that it would have; empty for any other."""
    if not (config := config_of(_flags(argv))):
        return {}
    root, tokens = environment.get(_ROOT) or os.environ.get(_ROOT) or str(_USUAL.expanduser()), tokens_of(config)
    return {_ROOT: str(Path(root) / f"speculative-{'default' if tokens is None else tokens}")}


def _flags(argv: Sequence[str]) -> dict[str, Any]:
    """The flags with their values, by vLLM's names, with those of a --config file below them."""
    found: dict[str, Any] = {}
    for word, following in zip(argv, [*argv[1:], ""], strict=True):
        if word.startswith("-"):
            name, separator, value = word.lstrip("-").partition("=")
            found[_name(name)] = _value(value if separator else following)
    if isinstance(path := found.get("config"), str):
        found = {**_of_file(Path(path)), **found}
    return found


def _of_file(path: Path) -> dict[str, Any]:
    """Of a file of `vllm serve --config`; what cannot be read is vLLM's to refuse."""
    with suppress(OSError, ValueError, yaml.YAMLError):
        read = yaml.safe_load(path.read_text(encoding="utf-8"))
        if isinstance(read, dict):
            return {_name(str(key)): value for key, value in read.items()}
    return {}


def _name(flag: str) -> str:
    name = flag.replace("-", "_")
    return CONFIG if name == _SHORT else name


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
