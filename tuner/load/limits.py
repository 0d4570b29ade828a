"""A workload and what this machine allows a process in; why the load cannot be made here, or None, out. Knows no server.

The same limits can be met while the load runs: the kernel then refuses a connection with one of `LOCAL`, which says nothing of
the server.
"""

import errno
import math
import resource
from dataclasses import dataclass
from pathlib import Path

from tuner.load.prompts import longest_prompt
from tuner.types import Workload
from tuner.workload.lengths import mean

_PORTS = Path("/proc/sys/net/ipv4/ip_local_port_range")
_MEMORY = Path("/proc/meminfo")
#: Files of a worker that are no connections.
_OTHER_FILES = 32
#: No server makes a token of one sequence in less: so long at least a request of an open loop is open.
_LEAST_TOKEN_S = 0.001
#: What an open request takes: its socket and objects, the arrival time of each chunk (twice while the array grows), and each
#: word of its prompt.
_REQUEST_BYTES, _CHUNK_BYTES, _WORD_BYTES = 64 * 1024, 16, 16
#: Of the random text that prompts are slices of; each process has one of twice the longest prompt.
_CORPUS_WORD_BYTES = 64
#: Errors of this machine, and how its limit is raised.
LOCAL = {
    errno.EMFILE: "it may open no more files: raise the hard limit (ulimit -Hn)",
    errno.ENFILE: "the machine may open no more files: raise fs.file-max (sysctl)",
    errno.EADDRNOTAVAIL: "no local port is free: widen net.ipv4.ip_local_port_range (sysctl)",
    errno.ENOMEM: "the machine has no memory left: take fewer users",
    errno.ENOBUFS: "the machine has no memory for sockets left: take fewer users, or raise net.ipv4.tcp_mem (sysctl)",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Files that a process may open at most, local ports, and bytes of memory that are free; inf where it does not say."""

    files: float
    ports: float
    memory_bytes: float


def machine_limits() -> Limits:
    """Those of this machine and user."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        first, last = map(int, _PORTS.read_text().split())
        ports: float = last - first + 1
    except (OSError, ValueError):
        ports = math.inf
    return Limits(
        files=math.inf if hard == resource.RLIM_INFINITY else hard, ports=ports, memory_bytes=_available_bytes()
    )


def too_much(workload: Workload, workers: int, limits: Limits) -> str | None:
    """Why `workers` processes cannot keep the workload's requests open on a machine with these limits, in one sentence."""
    tokens = mean(workload.output_tokens)
    if workload.users is not None:
        at_once, what = workload.users, f"{workload.users:,} users"
    else:
        at_once = math.ceil((workload.request_rate or 0.0) * tokens * _LEAST_TOKEN_S)
        what = f"{workload.request_rate or 0:g} requests/s"
    files = math.ceil(at_once / workers) + _OTHER_FILES
    if files > limits.files:
        return (
            f"{what} need {files:,} open files in each process of the load generator, and this machine allows"
            f" {limits.files:,.0f}: raise the hard limit (ulimit -Hn)"
        )
    if at_once > limits.ports:
        return (
            f"{what} need {at_once:,} local ports, and this machine has {limits.ports:,.0f}:"
            " widen net.ipv4.ip_local_port_range (sysctl)"
        )
    need: float = workers * _CORPUS_WORD_BYTES * 2 * longest_prompt(workload)
    need += at_once * (_REQUEST_BYTES + _CHUNK_BYTES * tokens + _WORD_BYTES * mean(workload.input_tokens))
    if need > limits.memory_bytes:
        gib = 1024**3
        return (
            f"{what} need about {need / gib:.1f} GiB of memory for the load generator, and this machine has"
            f" {limits.memory_bytes / gib:.1f} GiB free: take fewer, or shorter prompts"
        )
    return None


def local_error(problem: OSError) -> str | None:
    """What this machine refused, where it was not the server: one sentence. An error of several addresses has only a text."""
    code = problem.errno or next((code for code in LOCAL if f"[Errno {code}]" in str(problem)), None)
    return f"the load generator was refused a connection by its own machine, {LOCAL[code]}" if code in LOCAL else None


def _available_bytes() -> float:
    try:
        line = next(line for line in _MEMORY.read_text().splitlines() if line.startswith("MemAvailable:"))
        return int(line.split()[1]) * 1024
    except (OSError, ValueError, StopIteration):
        return math.inf
