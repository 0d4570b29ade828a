"""What is optimized: a metric of a measurement by the user's word, and the gain of one value over another. Pure.

A study has one objective, or several that are traded off. It knows no trials and no SLOs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf, isfinite, log

from tuner.errors import UsageError, choose
from tuner.types import Distribution, LoadMetrics, Measured

STATISTICS = ("mean", "p50", "p90", "p95", "p99")


LATENCIES = {"ttft": "ttft_s", "tpot": "tpot_s", "itl": "itl_s", "e2e": "e2el_s", "e2el": "e2el_s"}
#: Metrics that are no number of the load: what the tokens cost, and what they take of the GPUs' energy.
COST, ENERGY = "cost_per_million_output_tokens", "gpu_energy_per_1k_tokens_j"
#: Throughputs of one GPU of the server, by those of the whole.
PER_GPU: Mapping[str, str] = {
    "output_throughput": "output_throughput_per_gpu",
    "request_throughput": "request_throughput_per_gpu",
}
_WHOLE = {part: whole for whole, part in PER_GPU.items()}
#: Of tokens, so that the interval of output throughput is theirs, too.
_OF_TOKENS = ("output_throughput", PER_GPU["output_throughput"], COST)
#: What is the same order on the same GPUs, and why; a cost is that of a GPU's tokens whatever the GPUs are.
_SAME_ORDER = (
    (("throughput", "cost"), "on the same GPUs more tokens a second are always cheaper"),
    (("throughput", "throughput_per_gpu"), "all servers of this study have as many GPUs"),
    (("requests", "requests_per_gpu"), "all servers of this study have as many GPUs"),
)
_ALWAYS = (("cost", "throughput_per_gpu"), "more tokens a second of a GPU are always cheaper")


@dataclass(frozen=True, slots=True)
class Objective:
    """What is optimized. `name` is the user's word, `metric` the metric's name with its unit. `gpus` is how many a server has
    whose measurement does not say; `price_per_hour` is that of so many, for the cost, None without one."""

    name: str
    metric: str
    maximize: bool
    price_per_hour: float | None = None
    gpus: int = 1

    @property
    def is_throughput(self) -> bool:
        """Whether it counts all that the server did, whatever its latency."""
        return self.metric in (*PER_GPU, *_WHOLE, COST)

    @property
    def is_per_gpu(self) -> bool:
        """Whether a server with twice the GPUs must do twice as much to be as good."""
        return self.metric in _WHOLE or self.metric == COST

    @property
    def is_of_the_load(self) -> bool:
        """Whether what a client sees tells it, so that it can be predicted; the GPUs' energy cannot."""
        return self.metric != ENERGY

    def value(self, measured: Measured) -> float | None:
        """None where this was not measured."""
        if self.metric == ENERGY:
            return measured.gpu.energy_per_1k_tokens_j if measured.gpu else None
        return self.of_load(measured.load)

    def of_load(self, load: LoadMetrics) -> float | None:
        """Of what a client saw alone; None where that does not tell it."""
        if self.metric == ENERGY:
            return None
        if self.metric == COST:
            return self.cost(load.output_throughput, load.gpus)
        whole = metric_value(load, _WHOLE.get(self.metric, self.metric))
        return whole / (load.gpus or self.gpus) if whole is not None and self.metric in _WHOLE else whole

    def cost(self, output_throughput: float | None, gpus: int | None = None) -> float | None:
        """Of a million output tokens at so many a second from so many GPUs; None without a price, and where nothing is
        served."""
        if self.price_per_hour is None or not output_throughput:
            return None
        price = self.price_per_hour * (gpus or self.gpus) / self.gpus
        return price / 3600 / output_throughput * 1e6

    def error(self, measured: Measured) -> float | None:
        """What the measurement itself tells of its error: the standard deviation of the value's logarithm. None where it does
        not tell."""
        load, value = measured.load, self.value(measured)
        if self.metric in _OF_TOKENS:
            half = load.output_throughput_ci95
            return half / 1.96 / load.output_throughput if half is not None and load.output_throughput else None
        low, high = (load.ci95 or {}).get(self.metric, (0.0, 0.0))
        return log(high / low) / (2 * 1.96) if value and low > 0 and isfinite(high) else None

    def gain(self, value: float, baseline: float) -> float:
        """The relative improvement of `value` over `baseline`: 0.25 is 25 % better, negative is worse. Over a goodput of 0
        it is infinite."""
        better, worse = (value, baseline) if self.maximize else (baseline, value)
        if worse == 0:
            return 0.0 if better == 0 else inf
        return better / worse - 1


OBJECTIVES: Mapping[str, Objective] = {
    o.name: o
    for o in (
        Objective("throughput", "output_throughput", True),
        Objective("requests", "request_throughput", True),
        Objective("goodput", "goodput", True),
        Objective("throughput_per_gpu", PER_GPU["output_throughput"], True),
        Objective("requests_per_gpu", PER_GPU["request_throughput"], True),
        Objective("cost", COST, False),
        Objective("energy", ENERGY, False),
        *(
            Objective(f"{name}_{statistic}", f"{LATENCIES[name].removesuffix('_s')}_{statistic}_s", False)
            for name in ("ttft", "tpot", "e2e")
            for statistic in STATISTICS
        ),
    )
}


def parse_objective(name: str, price_per_hour: float | None = None, gpus: int = 1) -> Objective:
    """`price_per_hour` is that of `gpus`, as many as a server has where its measurement does not say. Raises UsageError for an
    unknown name, and for a cost without a price."""
    if name not in OBJECTIVES:
        raise UsageError(f"unknown objective {name!r}{choose(name, OBJECTIVES)}")
    found = replace(OBJECTIVES[name], gpus=gpus)
    if found.metric != COST:
        return found
    if price_per_hour is None:
        raise UsageError("--objective cost needs the price of one GPU for an hour: give --price")
    return replace(found, price_per_hour=price_per_hour)


def parse_objectives(names: Sequence[str], price_per_hour: float | None = None, gpus: int = 1) -> tuple[Objective, ...]:
    """As `parse_objective`, all of them; also raises UsageError for two that are one. A single name is one of them."""
    names = (names,) if isinstance(names, str) else names
    found = tuple(parse_objective(name, price_per_hour, gpus) for name in names)
    for place, name in enumerate(names):
        if name in names[:place]:
            raise UsageError(f"--objective {name} is given twice: leave one of them out")
    _check_unlike(names, (_ALWAYS,))
    return found


def check_orders(objectives: Sequence[Objective]) -> None:
    """Raises UsageError for two that are one where all servers have as many GPUs."""
    _check_unlike([one.name for one in objectives], _SAME_ORDER)


def _check_unlike(names: Sequence[str], same: Sequence[tuple[tuple[str, str], str]]) -> None:
    for (one, other), why in same:
        if one in names and other in names:
            raise UsageError(f"--objective {other} says nothing beside --objective {one}: {why}: leave one of them out")


def the_only(names: Sequence[str], what: str) -> str:
    """The one objective of what can have no other. Raises UsageError for several."""
    if len(names) > 1:
        raise UsageError(f"--objective is given {len(names)} times, and {what} has one: `tuner optimize` takes several")
    return names[0]


def metrics_of(measured: Measured, objectives: Sequence[Objective]) -> dict[str, float]:
    """Every number of a measurement by its name, with the objectives' own."""
    values = {objective.metric: objective.value(measured) for objective in objectives}
    return {**measured.metrics(), **{name: value for name, value in values.items() if value is not None}}


def without_the_one_gpu(
    found: Sequence[Mapping[str, float]], objectives: Sequence[Objective] = ()
) -> list[dict[str, float]]:
    """The numbers of several measurements, to be shown: where every server has one GPU, those of a GPU are the server's, and
    are left out, but for what is optimized."""
    if any(numbers.get("gpus", 1) > 1 for numbers in found):
        return [dict(numbers) for numbers in found]
    said_already = {"gpus", *_WHOLE} - {one.metric for one in objectives}
    return [{name: value for name, value in numbers.items() if name not in said_already} for numbers in found]


def metric_value(load: LoadMetrics, metric: str) -> float | None:
    """A load metric by its name, e.g. output_throughput or ttft_p99_s; None where it does not exist."""
    latency, _, statistic = metric.removesuffix("_s").rpartition("_")
    if statistic in STATISTICS:
        distribution: Distribution | None = getattr(load, f"{latency}_s")
        value: float | None = None if distribution is None else getattr(distribution, statistic)
    else:
        value = getattr(load, metric)
    return value
