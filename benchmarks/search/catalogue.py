"""The surfaces of `make bench-search`, each with its space, and with what is asked of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

FOLDER = Path(__file__).parents[1] / "data" / "search"
Kind = Literal["recorded", "simulated", "given"]
#: Of the simulated ones, those that do.
_ABLATED = ("h100-slow-host", "h100-slow-fp8", "l4-less-memory", "h100-reversed")


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """`space` is a file or a shipped space's name. Without `model` or `workload` the surface's header says which they are.
    `interpolates` is whether settings between the recorded ones are answered, too; the file says so itself where it is None.
    `ablates`: it is one of those on which `ours` is run without each of its parts."""

    name: str
    kind: Kind
    surface: Path
    space: str
    objective: str = "throughput"
    slos: tuple[str, ...] = ()
    price_per_hour: float | None = None
    model: Path | None = None
    workload: str | None = None
    interpolates: bool | None = None
    ablates: bool = False


def _own(name: str, *, interpolates: bool) -> Entry:
    """Measured for tuner."""
    return Entry(
        name=f"{name}-between" if interpolates else name,
        kind="recorded",
        surface=FOLDER / f"{name}.jsonl",
        space=str(FOLDER / f"{name}.yaml"),
        interpolates=interpolates,
        ablates=not interpolates,
    )


def _entry(name: str, kind: Kind, objective: str = "throughput", *slos: str) -> Entry:
    return Entry(
        name=name,
        kind=kind,
        surface=FOLDER / f"{name}.jsonl",
        space=str(FOLDER / f"{name}.yaml"),
        objective=objective,
        slos=slos,
        ablates=kind == "recorded" or name in _ABLATED,
    )


ENTRIES: Sequence[Entry] = (
    _own("h200-1.5b-256", interpolates=False),
    _own("h200-1.5b-256", interpolates=True),
    _own("h200-1.5b-1024", interpolates=False),
    _own("h200-7b-256", interpolates=False),
    _own("h200-7b-256", interpolates=True),
    _own("h200-7b-long", interpolates=False),
    _entry("slo-guard-one", "recorded", "e2e_mean"),
    _entry("slo-guard-five", "recorded"),
    _entry("slo-guard-colab", "recorded"),
    _entry("ppas-5090-0.4", "recorded", "ttft_mean"),
    _entry("ppas-5090-1", "recorded", "ttft_mean"),
    _entry("ppas-5090-1.4", "recorded", "ttft_mean"),
    _entry("ml-energy-h100-llama-3.1-8b", "recorded"),
    _entry("ml-energy-h100-qwen3-8b", "recorded"),
    _entry("ml-energy-b200-qwen3-30b-a3b", "recorded"),
    _entry("ml-energy-b200-qwen3-32b", "recorded"),
    _entry("h100-slow-host", "simulated"),
    _entry("h100-fast-host", "simulated", "throughput", "ttft_p99=400ms"),
    _entry("l4-no-graphs", "simulated"),
    _entry("h100-slow-fp8", "simulated", "throughput", "tpot_p99=25ms"),
    _entry("l4-less-memory", "simulated"),
    _entry("t4-slow-kernels", "simulated"),
    _entry("h100-open-loop", "simulated", "e2e_mean"),
    _entry("h100-defaults-best", "simulated"),
    _entry("h100-reversed", "simulated"),
    _entry("h100-partly-reversed", "simulated"),
)
