"""What follows `vllm serve` in; the model, the address and the engine's arguments by vLLM's names out.

vLLM's own types, flags and sentences (engine/arg_utils.py), of the arguments that the simulation heeds and of a few that change
neither memory nor speed. An argument that it does not know it refuses: what it does would not be in the numbers.
"""

import argparse
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NoReturn

from tuner.predict.arguments import READ
from tuner.predict.unpredicted import UNPREDICTED
from tuner.types import Value
from tuner.types.settings import engines_sharing, list_text, option

_UNITS = {"k": 10**3, "m": 10**6, "g": 10**9, "K": 2**10, "M": 2**20, "G": 2**30}
_KV_DTYPES = ("auto", "bfloat16", "float16", "fp8", "fp8_e4m3", "fp8_e5m2")
_DTYPES = ("auto", "bfloat16", "float", "float16", "float32", "half")
#: Taken for engines that share a GPU only: there it follows from the rest.
_CACHE = "kv_cache_memory_bytes"


def _human_integer(text: str) -> int:
    """8192, 8k (8000) or 8K (8192), as vLLM reads sizes."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([kmgKMG])", text)
    return int(float(found[1]) * _UNITS[found[2]]) if found else int(text)


_human_integer.__name__ = "human_readable_int"  # argparse tells it
#: Heeded by the simulation.
_NUMBERS: Mapping[str, Callable[[str], int | float]] = {
    "max_num_seqs": int,
    "max_num_batched_tokens": _human_integer,
    "max_model_len": _human_integer,
    "gpu_memory_utilization": float,
    "stream_interval": int,
    "api_server_count": int,
    "tensor_parallel_size": int,
    "pipeline_parallel_size": int,
    "data_parallel_size": int,
    "block_size": int,
    "long_prefill_token_threshold": int,
    _CACHE: _human_integer,
}
_CHOICES = {"kv_cache_dtype": _KV_DTYPES, "dtype": _DTYPES}
_SWITCHES = ("enforce_eager", "enable_prefix_caching", "enable_chunked_prefill", "async_scheduling")
#: Heeded, and read by tuner.predict.arguments.
_READ = tuple(sorted(READ))
#: Taken, and without effect on memory and speed.
_PASSED_OVER = (
    *("load_format", "tokenizer", "tokenizer_mode", "revision", "download_dir", "seed"),
    *("uvicorn_log_level", "chat_template", "generation_config"),
    *("data_parallel_start_rank", "data_parallel_address", "data_parallel_rpc_port"),
)
_PASSED_OVER_SWITCHES = ("trust_remote_code", "disable_uvicorn_access_log", "enable_log_requests", "headless")


class Refused(Exception):
    """argparse's sentence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arguments:
    """A parsed command. `params` holds what was given, by vLLM's Python names, `passed_over` what of it changes nothing here;
    `served` is what clients call the model."""

    model: str
    served: str
    host: str
    port: int
    params: Mapping[str, Value]
    passed_over: Mapping[str, Value]


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise Refused(message)


def known_arguments() -> frozenset[str]:
    """The names of all arguments that are taken."""
    passed_over = (*_PASSED_OVER, *_PASSED_OVER_SWITCHES, *UNPREDICTED)
    return frozenset((*_NUMBERS, *_CHOICES, *_SWITCHES, "quantization", *_READ, *passed_over))


def parse(argv: Sequence[str]) -> Arguments:
    """Raises Refused, with argparse's own sentence."""
    found = vars(_parser().parse_args([_dashed(part) for part in argv]))
    model = found["model_tag"]
    heeded = (*_NUMBERS, *_CHOICES, *_SWITCHES, "quantization")
    read = {name: value for name in _READ if (value := _told(found[name])) is not None}
    params = {name: found[name] for name in heeded if found[name] is not None} | read
    if _CACHE in params and engines_sharing(params) == 1:
        raise Refused(f"unrecognized arguments: {option(_CACHE)} {params[_CACHE]}")
    return Arguments(
        model=model,
        served=(found["served_model_name"] or [model])[0],
        host=found["host"],
        port=found["port"],
        params=params,
        passed_over={name: value for name in UNPREDICTED if (value := _told(found[name])) is not None},
    )


def _parser() -> _Parser:
    parser = _Parser(prog="vllm serve")
    parser.add_argument("model_tag")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--served-model-name", nargs="+")
    for name, kind in _NUMBERS.items():
        parser.add_argument(_flag(name), type=kind)
    for name, choices in _CHOICES.items():
        parser.add_argument(_flag(name), choices=choices)
    for name in (*_SWITCHES, *_PASSED_OVER_SWITCHES):
        parser.add_argument(_flag(name), action=argparse.BooleanOptionalAction)
    for name in ("quantization", *_PASSED_OVER):
        parser.add_argument(_flag(name))
    for name in READ | UNPREDICTED.keys():
        parser.add_argument(option(name), nargs="+", dest=name)
    return parser


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _dashed(part: str) -> str:
    """vLLM takes --max_num_seqs for --max-num-seqs, and a nested config's keys as they are."""
    if not part.startswith("--"):
        return part
    name, separator, value = part.partition("=")
    return option(name.removeprefix("--")) + separator + value


def _told(words: list[str] | None) -> Value | None:
    """The value that was given, as vLLM would tell it: read as JSON where it is that, several words as a list."""
    if words is None:
        return None
    values = [_read(word) for word in words]
    return values[0] if len(values) == 1 else list_text(values)


def _read(word: str) -> Value:
    try:
        found = json.loads(word)
    except ValueError:
        return word
    return (
        list_text(found) if isinstance(found, list) else found if isinstance(found, bool | int | float | str) else word
    )
