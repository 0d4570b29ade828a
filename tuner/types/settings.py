"""Settings to try, the command that has them, and what must be equal for two trials to be comparable."""

from collections.abc import Mapping
from dataclasses import dataclass, field

Value = bool | int | float | str


#: Engine arguments by vLLM's Python name, e.g. {"max_num_seqs": 256}.
Params = Mapping[str, Value]


def flag(name: str, value: Value) -> tuple[str, ...]:
    """vLLM's flag for an argument, as words of a command line."""
    word = name.replace("_", "-")
    if value is True:
        return (f"--{word}",)
    return (f"--no-{word}",) if value is False else (f"--{word}", str(value))


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """What is run: the exact argument vector of the engine, and the environment variables set on top of the caller's.

    `argv` is made of `model`, which `vllm serve` is given first, and of `settings`: each of its arguments by vLLM's name, with
    its value. Host and port are in neither: a trial adds its own, the export adds the user's.
    """

    argv: tuple[str, ...]
    model: str = ""
    settings: Params = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fingerprint:
    """What must be equal for two trials to be comparable. `gpu` is None without a GPU; `host` is its processor."""

    gpu: str | None
    gpu_count: int
    driver: str | None
    engine_version: str
    model: str
    model_revision: str | None
    workload_hash: str
    host: str

    @property
    def unreal(self) -> str | None:
        """ "SIMULATED" or "REPLAYED", with which the version of an engine that was not run begins; None for a real one."""
        word = self.engine_version.partition(" ")[0]
        return word if word in ("SIMULATED", "REPLAYED") else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """Settings to try. `number` is Optuna's trial number. Trial 0 has no params to pass: it runs vLLM's defaults."""

    number: int
    params: Params
    is_default: bool = False
