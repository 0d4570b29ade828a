"""A page of vLLM's /metrics in; what the server has answered, and how fast, out. Pure: knows no SLO and no other server."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from prometheus_client.samples import Sample

from tuner.errors import UsageError
from tuner.measure.buckets import Observed
from tuner.measure.page_faults import why_absent
from tuner.measure.summed import is_later, summed

_REQUESTS = "vllm:request_success"
_FINISHED = f"{_REQUESTS}_total"
_RUNNING = "vllm:num_requests_running"
_WAITING = "vllm:num_requests_waiting"
#: By the latency's name in an SLO.
LATENCIES = {
    "ttft": "vllm:time_to_first_token_seconds",
    "tpot": "vllm:request_time_per_output_token_seconds",
    "itl": "vllm:inter_token_latency_seconds",
    "e2el": "vllm:e2e_request_latency_seconds",
}
_NAMES = (_REQUESTS, _RUNNING, _WAITING, *LATENCIES.values())
#: Finished, and not answered: the server failed, or its client did not wait for it.
_UNANSWERED = ("error", "abort")


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """Since the server's start, summed over engines. `unanswered` of the `finished` got no whole answer. `latencies` are
    seconds, by the names of LATENCIES; what the server does not count is absent. `began_s` is since when it counts, Unix time,
    None where it does not tell."""

    time_s: float
    finished: float
    unanswered: float
    in_flight: float
    latencies: Mapping[str, Observed]
    began_s: float | None = None

    def since(self, earlier: "Served") -> "Served":
        """What was answered between the two; `time_s` is how long that took, `in_flight` by how much it grew."""
        return Served(
            time_s=self.time_s - earlier.time_s,
            finished=self.finished - earlier.finished,
            unanswered=self.unanswered - earlier.unanswered,
            in_flight=self.in_flight - earlier.in_flight,
            latencies={
                name: now.since(earlier.latencies[name])
                for name, now in self.latencies.items()
                if name in earlier.latencies
            },
            began_s=self.began_s,
        )

    def is_restarted(self, earlier: "Served") -> bool:
        """Whether another process counts by now."""
        counts = [(earlier.finished, self.finished)]
        counts += [(old.count, self.latencies[n].count) for n, old in earlier.latencies.items() if n in self.latencies]
        return is_later(self.began_s, earlier.began_s) or any(now < before for before, now in counts)


def parse_served(text: str, time_s: float, url: str) -> Served:
    """Raises UsageError, naming `url`, where the page is not vLLM's."""
    found = summed(text, _NAMES, url)
    values = found.values
    if _FINISHED not in values:
        raise UsageError(why_absent(text, url, _FINISHED))
    return Served(
        time_s=time_s,
        finished=values[_FINISHED],
        unanswered=sum(sample.value for sample in found.samples if _is_unanswered(sample)),
        in_flight=values.get(_RUNNING, 0.0) + values.get(_WAITING, 0.0),
        latencies={
            latency: observed for latency, name in LATENCIES.items() if (observed := found.histogram(name)) is not None
        },
        began_s=found.began(_REQUESTS),
    )


def _is_unanswered(sample: Sample) -> bool:
    return sample.name == _FINISHED and sample.labels.get("finished_reason") in _UNANSWERED


def quantile(observed: Observed, share: float) -> float | None:
    """The value that `share` of them are at most, straight between the bounds of its bucket, as Prometheus's histogram_quantile
    has it; above the last bound it is that bound. None where nothing was observed."""
    if observed.count <= 0:
        return None
    wanted, low, below = share * observed.count, 0.0, 0.0
    for bound in sorted(observed.at_most):
        at_most = observed.at_most[bound]
        if at_most >= wanted and at_most > below:
            return low if math.isinf(bound) else low + (bound - low) * (wanted - below) / (at_most - below)
        low, below = (bound if math.isfinite(bound) else low), at_most
    return low
