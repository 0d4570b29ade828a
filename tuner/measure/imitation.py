"""Traffic that was seen in; the workload that imitates it out. Pure: knows no servers and no files."""

from tuner.measure.traffic import Traffic
from tuner.types import Workload


def imitation(found: Traffic, api: str, name: str) -> Workload:
    """The open-loop workload with the arrivals and lengths of the traffic."""
    return Workload(
        name=name,
        api=api,
        request_rate=float(f"{found.request_rate:.4g}"),
        burstiness=found.burstiness if found.burstiness is not None else 1.0,
        input_tokens=found.input_tokens,
        output_tokens=found.output_tokens,
        shared_prefix=found.shared_prefix,
    )
