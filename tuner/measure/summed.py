"""A page of Prometheus metrics in; the sums over engines of those that are named, and their histograms, out. Pure."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from prometheus_client.samples import Sample

from tuner.errors import UsageError
from tuner.measure.buckets import Observed
from tuner.measure.exposition import samples


@dataclass(frozen=True, slots=True, kw_only=True)
class Summed:
    """`values` are sums over all labels, by the samples' names; `samples` are what they were made of."""

    samples: Sequence[Sample]
    values: Mapping[str, float]
    bounds: Mapping[str, Mapping[float, float]]

    def began(self, name: str) -> float | None:
        """Since when a counter counts, Unix time in seconds: another time is another process's. None where it is not told, as
        by a server with several API servers."""
        return min((sample.value for sample in self.samples if sample.name == f"{name}_created"), default=None)

    def histogram(self, name: str) -> Observed | None:
        """None where it is absent, or lacks its last bucket or its sum."""
        at_most, total = self.bounds.get(name, {}), self.values.get(f"{name}_sum")
        return Observed(at_most=at_most, sum=total) if total is not None and math.inf in at_most else None


def is_later(began_s: float | None, earlier_s: float | None) -> bool:
    """Whether what began then is another process; False where one of them does not tell."""
    return began_s is not None and earlier_s is not None and began_s > earlier_s


def summed(text: str, names: tuple[str, ...], url: str) -> Summed:
    """Of the lines that begin with one of the names. Raises UsageError, naming `url`, for what is no such page."""
    values: dict[str, float] = {}
    bounds: dict[str, dict[float, float]] = {}
    try:
        found = samples(text, names)
        for sample in found:
            values[sample.name] = values.get(sample.name, 0.0) + sample.value
            if "le" in sample.labels:
                buckets = bounds.setdefault(sample.name.removesuffix("_bucket"), {})
                bound = float(sample.labels["le"])
                buckets[bound] = buckets.get(bound, 0.0) + sample.value
    except ValueError as error:
        raise UsageError(f"{url} is not a page of Prometheus metrics: {error}") from error
    return Summed(samples=found, values=values, bounds=bounds)
