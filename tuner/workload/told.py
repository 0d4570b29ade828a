"""A workload in; what load it is, in words, out. Pure."""

from tuner.types import Workload


def load_text(workload: Workload) -> str:
    """What load was put on a server, in words."""
    if workload.users is not None:
        return "1 user" if workload.users == 1 else f"{workload.users:,} users"
    if workload.request_rate is None:
        return "arrivals of a trace"
    if workload.find_rate:
        return f"the highest request rate, from {workload.request_rate:g} requests/s"
    return f"{workload.request_rate:g} requests/s"
