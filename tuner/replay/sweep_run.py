"""What `vllm bench sweep serve` has written of one run, or of one that failed, in; its settings, its load and its numbers out.

Pure. vLLM puts all of them into one flat mapping: the result of `vllm bench serve`, then `run_number`, then what the sweep gave
to the server, then what it gave to the load. The folder's name says which is which (vLLM 0.25 to 0.32,
vllm/benchmarks/sweep/serve.py); where the load has a name of its own, the options of `vllm bench serve` do.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tuner.replay.launches import usable
from tuner.replay.metric_names import Named, named, translated
from tuner.space.parameters import shown
from tuner.space.words import TUNERS_OWN, is_argument, is_secret_argument
from tuner.types import Failed, FailureKind, Params, Value
from tuner.types.settings import list_text
from tuner.workload.lengths import MAX_TOKENS

#: What a load is told apart by, beside what the sweep varies.
_LOAD = ("model_id", "backend", "num_prompts", "request_rate", "burstiness", "max_concurrency", "ramp_up_strategy")
#: vLLM's names of what is no latency, and ours.
_NAMES: Mapping[str, Named] = {
    "duration": Named("window_s"),
    "request_goodput": Named("goodput"),
    "total_input_tokens": Named("input_tokens"),
    "total_output_tokens": Named("output_tokens"),
    "spec_decode_acceptance_rate": Named("server_acceptance_rate", 0.01),  # in percent
    "spec_decode_acceptance_length": Named("server_acceptance_length"),
    "spec_decode_num_drafts": Named("server_drafts"),
    "spec_decode_draft_tokens": Named("server_draft_tokens"),
    "spec_decode_accepted_tokens": Named("server_accepted_tokens"),
}
_PLAIN = ("completed", "failed", "request_throughput", "output_throughput", "total_token_throughput")
#: Options of `vllm bench serve` that a load of its own name may set; `vllm serve` has none of them.
_OF_THE_LOAD = (
    "dataset_",
    "random_",
    "sonnet_",
    "sharegpt_",
    "custom_",
    "hf_",
    "blazedit_",
    "spec_bench_",
    "prefix_repetition_",
)
_LOAD_OPTIONS = frozenset(
    {"num_prompts", "request_rate", "burstiness", "max_concurrency", "ignore_eos", "endpoint", "backend", "goodput"}
    | {"temperature", "top_p", "top_k", "num_warmups"}
)
_NAME = "_benchmark_name"
#: What may hold a secret, and is taken from nowhere.
_SECRET = frozenset({"header", "extra_body"})
#: The command of a load that failed, which may hold one, too.
_COMMAND = re.compile(r"Command .* (returned non-zero|died with|timed out)", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """`load` is what tells this load from others, as far as it is known. `lengths` are those of prompts and answers, [least,
    most], where the sweep kept them."""

    params: Params
    load: Mapping[str, str]
    outcome: Mapping[str, float] | Failed
    lengths: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()


def finished(result: Mapping[str, object], folder: str) -> Run:
    """Raises ValueError with what is wrong."""
    if "output_throughput" not in result:
        raise ValueError(f"this is no result of `vllm bench serve`{_instead(result)}")
    serve, bench = _overrides(result, folder)
    known = {name: result[name] for name in _LOAD if result.get(name) is not None}
    numbers, left_out = _numbers(result, {*serve, *bench})
    params, dropped = settings(serve)
    return Run(
        params=params,
        load=_load({**known, **bench}),
        outcome=_outcome(numbers),
        lengths=_lengths(result),
        left_out=(*left_out, *dropped),
    )


def not_finished(failure: Mapping[str, object]) -> Run:
    """Of a `*.failure.json`: a server that did not start has no load. Raises ValueError."""
    serve, bench, kind = failure.get("serve_overrides"), failure.get("bench_overrides"), failure.get("error_type")
    if not isinstance(serve, Mapping) or not isinstance(bench, Mapping | None):
        raise ValueError("this is no failure of `vllm bench sweep`: it has no serve_overrides")
    params, dropped = settings(serve)
    message = f"{kind}: " + _COMMAND.sub(r"its command \1", str(failure.get("error")))
    found = FailureKind.LOAD_FAILED
    if bench is None:
        found = FailureKind.START_TIMEOUT if kind == "TimeoutError" else FailureKind.CRASHED
    return Run(
        params=params, load=_load(bench or {}), outcome=Failed(kind=found, message=message), left_out=tuple(dropped)
    )


def settings(overrides: Mapping[str, object]) -> tuple[Params, list[str]]:
    """vLLM's arguments by their names, nested ones by their dotted names, and the names that are not taken: what tuner gives to
    each server itself, and secrets. Raises ValueError."""
    found: dict[str, Value] = {}
    dropped: list[str] = []
    for given, value in _flat(overrides):
        name = argument_name(given)
        if name == _NAME:
            continue
        if name in TUNERS_OWN or is_secret_argument(name):
            dropped.append(name)
        elif not is_argument(name):
            raise ValueError(f"{given!r} is no name of an argument of vLLM")
        elif isinstance(value, list) and value and all(isinstance(one, bool | int | float | str) for one in value):
            found[name] = list_text(value)
        elif isinstance(value, bool | int | float | str):
            found[name] = value
        else:
            raise ValueError(
                f"{name} is {_text(value)[:60]}, and must be a number, a text, true, false or a list of these"
            )
    return found, dropped


def argument_name(name: str) -> str:
    """As vLLM has it in Python: underscores, and no dashes before it; the keys of a nested config as they are."""
    head, dot, keys = name.lstrip("-").partition(".")
    return head.replace("-", "_") + dot + keys


def _overrides(result: Mapping[str, object], folder: str) -> tuple[dict[str, object], dict[str, object]]:
    """What the sweep gave to the server, and what to the load."""
    names = list(result)
    after = names[names.index("run_number") + 1 :] if "run_number" in result else []
    serve_text, separator, bench_text = folder.partition("-BENCH--")
    serve: dict[str, object] = {}
    bench: dict[str, object] = {}
    for name in after:
        value, said = result[name], f"{name}={result[name]}".replace("/", "_").replace("..", "__")
        if name == _NAME:
            continue
        in_load = bool(separator) and said not in serve_text and (said in bench_text or _is_of_a_load(name))
        (bench if in_load or not folder.startswith("SERVE--") else serve)[argument_name(name) if in_load else name] = (
            value
        )
    return serve, bench


def place_of(path: str) -> str:
    """Where a run stands, without the settings that its folder is named after where one of them is a secret."""
    names = re.findall(r"([\w.]+)=", path.replace("-", "_"))
    return path.rpartition("/")[2] if any(map(_is_secret, names)) else path


def _load(given: Mapping[str, object]) -> dict[str, str]:
    named = {argument_name(str(name)): value for name, value in given.items() if name != _NAME}
    return {name: _text(value) for name, value in named.items() if not _is_secret(name)}


def _is_secret(name: str) -> bool:
    return name in _SECRET or is_secret_argument(name)


def _is_of_a_load(name: str) -> bool:
    word = argument_name(name)
    return word in _LOAD_OPTIONS or word.startswith(_OF_THE_LOAD)


def _numbers(result: Mapping[str, object], overrides: set[str]) -> tuple[dict[str, float], list[str]]:
    found: dict[str, float] = {}
    names: dict[str, Named] = {}
    left_out: list[str] = []
    for name, value in result.items():
        if (
            isinstance(value, bool)
            or not isinstance(value, int | float)
            or name in overrides
            or name in (*_LOAD, "run_number")
        ):
            continue
        ours = _NAMES.get(name) or (Named(name) if name in _PLAIN else None)
        if ours is None and name.endswith("_ms"):
            ours = named(name)
        if ours is None:
            left_out.append(name)
        else:
            names[name], found[name] = ours, float(value)
    numbers, none = usable(translated(found, names))
    return numbers, [*left_out, *none]


def _outcome(numbers: Mapping[str, float]) -> Mapping[str, float] | Failed:
    """Numbers of no request are none."""
    if numbers.get("completed", 1) == 0:
        return Failed(kind=FailureKind.LOAD_FAILED, message="no request was completed")
    return numbers


def _lengths(result: Mapping[str, object]) -> dict[str, tuple[int, int]]:
    found: dict[str, tuple[int, int]] = {}
    for name, key in (("input_tokens", "input_lens"), ("output_tokens", "output_lens")):
        lengths = result.get(key)
        whole = (
            [one for one in lengths if isinstance(one, int) and 0 < one <= MAX_TOKENS]
            if isinstance(lengths, list)
            else []
        )
        if whole:
            found[name] = (min(whole), max(whole))
    return found


def _instead(result: Mapping[str, object]) -> str:
    if any("startup" in name for name in result):
        return ": `vllm bench sweep startup` measures how long a start takes, and no load"
    return ": it has no output_throughput"


def _flat(values: Mapping[str, object], above: str = "") -> list[tuple[str, object]]:
    found: list[tuple[str, object]] = []
    for name, value in values.items():
        whole = f"{above}{name}"
        found += _flat(value, f"{whole}.") if isinstance(value, Mapping) and value else [(whole, value)]
    return found


def _text(value: object) -> str:
    if isinstance(value, Sequence) and not isinstance(value, str):
        return list_text(list(value))
    return shown(value) if isinstance(value, bool | int | float | str) else str(value)
