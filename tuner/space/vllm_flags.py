"""Words of vLLM's command line in; its arguments by name, with their values, out. Pure.

It reads as vLLM's own parser does (utils/argparse_utils.py, engine/arg_utils.py), and does not know which arguments there are.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from tuner.space.words import is_argument
from tuner.types.settings import list_text

MODEL = "model"
_SHORT = {
    "-tp": "tensor_parallel_size",
    "-pp": "pipeline_parallel_size",
    "-dcp": "decode_context_parallel_size",
    "-pcp": "prefill_context_parallel_size",
    "-dp": "data_parallel_size",
    "-dpl": "data_parallel_size_local",
    "-dpn": "data_parallel_rank",
    "-dpr": "data_parallel_start_rank",
    "-dpa": "data_parallel_address",
    "-dpp": "data_parallel_rpc_port",
    "-dpb": "data_parallel_backend",
    "-dph": "data_parallel_hybrid_lb",
    "-dpe": "data_parallel_external_lb",
    "-dpm": "data_parallel_multi_port_external_lb",
    "-ep": "enable_expert_parallel",
    "-asc": "api_server_count",
    "-q": "quantization",
    "-n": "nnodes",
    "-r": "node_rank",
    "-sc": "speculative_config",
    "-cc": "compilation_config",
    "-ac": "attention_config",
    "-dc": "diffusion_config",
}
_LEVEL = "optimization_level"
#: What vLLM reads with a unit, 8k or 8K, as it does every part of a nested config.
_SIZES = frozenset(
    {
        "max_model_len",
        "max_num_batched_tokens",
        "max_num_scheduled_tokens",
        "max_num_queued_tokens",
        "kv_cache_memory_bytes",
        "safetensors_prefetch_block_size",
    }
)
_DECIMAL = {"k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_BINARY = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """`flag` is as it was written, without a value; `name` is None where it is none of vLLM's."""

    flag: str
    name: str | None
    values: tuple[str, ...]


def given(words: Sequence[str]) -> Iterator[Given]:
    """Each argument with the words that follow it; those before all flags are the model's."""
    begins = [at for at, word in enumerate(words) if _is_flag(word)]
    if before := words[: begins[0] if begins else None]:
        yield Given(flag="", name=MODEL, values=tuple(before))
    for at, end in pairwise([*begins, len(words)]):
        flag, equals, value = words[at].partition("=")
        level = re.fullmatch(r"-O=?(\w+)", words[at])
        if level:
            yield Given(flag="-O", name=_LEVEL, values=(level[1], *words[at + 1 : end]))
        else:
            values = (*([value] if equals else []), *words[at + 1 : end])
            yield Given(flag=flag, name=_name(flag, values), values=values)


def value_of(name: str, words: Sequence[str]) -> tuple[str, object]:
    """The argument's name and its value; `--no-enable-x` is `enable_x: False`, and a flag without a value is True."""
    if not words:
        return (name.removeprefix("no_"), False) if name.startswith("no_") else (name, True)
    read = [_read_word(name, word) for word in words]
    return name, read[0] if len(read) == 1 else read


def parts(name: str, value: object) -> Iterator[tuple[str, object]]:
    """A nested config, written as JSON or YAML, by the dotted name of each part; a list as the text that stands for it."""
    if isinstance(value, Mapping):
        for key, part in value.items():
            yield from parts(f"{name}.{key}", part)
    elif isinstance(value, list) and value and all(isinstance(one, bool | int | float | str) for one in value):
        yield name, list_text(value)
    else:
        yield name, value


def underscored(head: str) -> str:
    """vLLM takes --max_num_seqs for --max-num-seqs, and a nested config's keys as they are."""
    name, dot, keys = head.partition(".")
    return name.replace("-", "_") + dot + keys


def _is_flag(word: str) -> bool:
    return word.startswith("-") and not _is_number(word)


def _name(flag: str, values: Sequence[str]) -> str | None:
    if flag.startswith("--"):
        name = underscored(flag[2:])
        return name if is_argument(name) else None
    short, dot, keys = flag.partition(".")
    if short == "-O":
        is_level = not dot and len(values) == 1 and values[0].isdigit()
        return _LEVEL if is_level else f"compilation_config{dot}{keys}"
    return f"{_SHORT[short]}{dot}{keys}" if short in _SHORT else None


def _read_word(name: str, word: str) -> object:
    if (name in _SIZES or "." in name) and (size := _size(word)) is not None:
        return size
    if word[:1] in '{["' or _is_number(word) or ("." in name and word in ("true", "false")):
        try:
            found: object = json.loads(word)
        except (ValueError, RecursionError):
            return word
        return found
    return word


def _size(word: str) -> int | None:
    """Of a number with a unit; vLLM takes no fraction of a binary one."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([kmgtKMGT])", word)
    if found is None or (found[2] in _BINARY and "." in found[1]):
        return None
    return int(found[1]) * _BINARY[found[2]] if found[2] in _BINARY else int(float(found[1]) * _DECIMAL[found[2]])


def _is_number(word: str) -> bool:
    return re.fullmatch(r"-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?", word) is not None
