"""Settings to try, the command that has them, and what must be equal for two trials to be comparable."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields

from tuner.types.machine import HostSpeed

#: A list is the text that JSON writes for it, e.g. "[1, 2, 4]" (`list_text`, `as_list`).
Value = bool | int | float | str


#: Engine arguments by vLLM's Python name, e.g. {"max_num_seqs": 256}; a part of a nested config by its dotted name, e.g.
#: {"compilation_config.cudagraph_mode": "FULL"}.
Params = Mapping[str, Value]

#: Arguments that vLLM takes as one word of JSON, where its other lists are several words.
_LISTS_OF_ONE_WORD = frozenset({"allowed_origins", "allowed_methods", "allowed_headers"})


def list_text(values: Sequence[Value]) -> str:
    """A list as a value."""
    return json.dumps(list(values))


def as_list(name: str, value: Value) -> list[Value] | None:
    """The list that `value` of the argument `name` is; None where it is none."""
    if not isinstance(value, str) or not value.startswith("[") or name in _LISTS_OF_ONE_WORD:
        return None
    found = _json(value)
    return found if isinstance(found, list) else None


def option(name: str) -> str:
    """vLLM's flag without a value: dashes in an argument's name, a nested config's keys as they are."""
    head, dot, keys = name.partition(".")
    return f"--{head.replace('_', '-')}{dot}{keys}"


def flag(name: str, value: Value) -> tuple[str, ...]:
    """vLLM's flag for an argument, as words of a command line."""
    if "." in name:
        return option(name), _nested(name, value)
    if value is True:
        return (option(name),)
    if value is False:
        return (option(f"no_{name}"),)
    values = as_list(name, value)
    return (option(name), *(map(str, [value] if values is None else values)))


def nested(params: Params) -> dict[str, object]:
    """`params` with dotted names as the mappings they stand for, and lists as lists: {"a.b": 1} is {"a": {"b": 1}}."""
    found: dict[str, object] = {}
    for name, value in params.items():
        *heads, last = name.split(".")
        part = found
        for head in heads:
            part = part.setdefault(head, {})  # type: ignore[assignment]  # no name is given together with its whole
        values = as_list(name, value)
        part[last] = value if values is None else values
    return found


def _nested(name: str, value: Value) -> str:
    """The word that vLLM reads `value` from: as JSON, else as a number with a unit (1k), else as a text
    (utils/argparse_utils.py). So a text that is any of these goes in quotation marks."""
    if not isinstance(value, str):
        return json.dumps(value)
    if as_list(name, value) is not None:
        return value
    is_plain = value[:1].isalpha() or value[:1] in "/._"
    return value if value and is_plain and _json(value) is None else json.dumps(value)


def _json(text: str) -> object:
    """What JSON reads; None for what is none, and "null" for null, which is something."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return "null" if found is None else found


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """What is run: the exact argument vector of the engine, and the environment variables set on top of the caller's.

    `argv` is made of `model`, which `vllm serve` is given first, and of `settings`: each of its arguments by vLLM's name, with
    its value. Host and port are in neither: a trial adds its own, the export adds the user's.

    Where several engines share each GPU, this is the first of `engines_per_gpu` commands, which serves for all of them, and
    `headless` are the others (vLLM's docs/serving/data_parallel_deployment.md, "Internal Load Balancing": to vLLM they are
    nodes without a front end).
    """

    argv: tuple[str, ...]
    model: str = ""
    settings: Params = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def engines_per_gpu(self) -> int:
        return engines_sharing(self.settings)

    @property
    def headless(self) -> tuple[tuple[str, ...], ...]:
        """The argument vectors that run beside `argv`, on its GPUs and with its environment."""
        if self.engines_per_gpu == 1 or "serve" not in self.argv:
            return ()
        program = self.argv[: self.argv.index("serve") + 1]
        kept = {name: value for name, value in self.settings.items() if name != "api_server_count"}
        flags = (self.model, *(word for name, value in kept.items() for word in flag(name, value)))
        local = int(self.settings["data_parallel_size_local"])
        ranks = range(local, local * self.engines_per_gpu, local)
        return tuple((*program, *flags, "--headless", *flag("data_parallel_start_rank", rank)) for rank in ranks)


def engines_sharing(settings: Params) -> int:
    """How many engines share each GPU, by vLLM's arguments: where fewer are local to a node than there are altogether, all
    nodes run on the same GPUs."""
    size, local = settings.get("data_parallel_size", 1), settings.get("data_parallel_size_local")
    if not isinstance(size, int) or not isinstance(local, int) or local < 1:
        return 1
    return max(1, size // local)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fingerprint:
    """Where and on what a study measures: what must be equal for two trials to be comparable, and `host_speed`, which is never
    the same twice; None where no server ran, or it could not be measured. `gpu` is None without a GPU; `host` is its
    processor. With `mps` engines that share a GPU had NVIDIA's multi-process service beneath them."""

    gpu: str | None
    gpu_count: int
    driver: str | None
    engine_version: str
    model: str
    model_revision: str | None
    workload_hash: str
    host: str
    host_speed: HostSpeed | None = field(default=None, compare=False)
    mps: bool = field(default=False, compare=False)

    def conditions(self) -> dict[str, str | int | None]:
        """What must be equal, by its name."""
        return {entry.name: getattr(self, entry.name) for entry in fields(self) if entry.compare}

    @property
    def unreal(self) -> str | None:
        """ "SIMULATED" or "REPLAYED", with which the version of an engine that was not run begins; None for a real one."""
        word = self.engine_version.partition(" ")[0]
        return word if word in ("SIMULATED", "REPLAYED") else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Explains:
    """What a launch is made for after the search: trial `of` with the settings named in `reset` as vLLM has them."""

    of: int
    reset: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """Settings to try. `number` is Optuna's trial number. Trial 0 has no params to pass: it runs vLLM's defaults. `baseline`
    are the flags of the user's own settings, `explains` what a launch after the search is for; the search's own has neither."""

    number: int
    params: Params
    is_default: bool = False
    baseline: str | None = None
    explains: Explains | None = None
