"""An address in; Ray, connected to that cluster for a block, and what it says of its nodes and jobs, out.

With the other ray_*.py the only door to Ray. Whatever Ray raises where it cannot be connected becomes a sentence;
what it prints of workers that die is not shown, for that is told by whoever needs them.
"""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from tuner.errors import RunError, UsageError
from tuner.space.redaction import shown_url

_PORT = re.compile(r"[1-9][0-9]{0,4}")
AUTO = "auto"
_REACHED_S = 5.0
_HEALTHY_S = 20.0
#: Ray hides all cards from tasks that ask for none, unless it is told not to, and says at each start that this will change.
_QUIET = {"RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0", "RAY_USAGE_STATS_ENABLED": "0"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A node that lives; `resources` are all that it has, used or not."""

    id: str
    address: str
    resources: Mapping[str, float]

    @property
    def accelerator(self) -> str | None:
        """Ray's resource for the model of its cards."""
        return next((name for name in self.resources if name.startswith("accelerator_type:")), None)


@contextmanager
def connection(address: str) -> Iterator[ModuleType]:
    """Ray. `address` is HOST:PORT of the head node, or "auto" for the cluster of RAY_ADDRESS or of this host. A block in
    another has its connection, for a process has one. Raises UsageError for what is no such address or without Ray, RunError
    where the cluster cannot be used."""
    os.environ |= _QUIET
    ray = _ray()
    if ray.is_initialized():
        yield ray
        return
    _check_address(address)
    try:
        with _own_signals():
            ray.init(address=address, namespace="tuner", log_to_driver=False, logging_level="CRITICAL")
    except SystemExit as error:
        raise RunError(f"the Ray cluster at {address} did not answer: see `ray status --address {address}`") from error
    except Exception as error:
        raise RunError(_sentence(address, str(error))) from error
    try:
        yield ray
    finally:
        with _own_signals():
            ray.shutdown()


@contextmanager
def _own_signals() -> Iterator[None]:
    """Ray takes SIGTERM when it is connected, and gives it to nobody when it is not."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            for number, handler in handlers.items():
                signal.signal(number, handler)


def nodes(ray: ModuleType) -> list[Node]:
    """Those that live."""
    return [
        Node(id=node["NodeID"], address=node["NodeManagerAddress"], resources=dict(node["Resources"]))
        for node in ray.nodes()
        if node["Alive"]
    ]


def other_jobs(ray: ModuleType) -> list[str]:
    """Who else uses the cluster now: `job 02000000 (process 7 on 10.0.0.1: python train.py)`."""
    from ray._private.state import state

    mine = ray.get_runtime_context().get_job_id()
    found: Sequence[Mapping[str, Any]] = ()
    with suppress(Exception):  # Ray's own, and only for a sentence
        found = state.job_table()
    return [
        f"job {job['JobID']} (process {job['DriverPid']} on {job['DriverIPAddress']}: {job.get('Entrypoint') or 'unknown'})"
        for job in found
        if not job["IsDead"] and job["JobID"] != mine
    ]


def _ray() -> ModuleType:
    try:
        import ray
        import ray._private.worker as worker
    except ImportError as error:
        raise UsageError(
            "--executor ray needs Ray, which is not installed: pip install 'tuner[ray]', of the cluster's version"
        ) from error
    worker.print_to_stdstream = lambda data, ignore_prefix: None  # such as the log of a raylet that died
    found: ModuleType = ray
    return found


def _check_address(address: str) -> None:
    """Ray itself waits minutes for an address that does not answer, and then ends the process."""
    if address == AUTO:
        return
    if "://" in address:
        raise UsageError(
            f"--address {shown_url(address)} is of a client or of the dashboard: give HOST:PORT of the head node (the port of"
            " `ray start --head`, 6379 by default), and run tuner on a node of the cluster"
        )
    host, _, port = address.rpartition(":")
    if not host or not _PORT.fullmatch(port) or int(port) >= 65536 or (":" in host and host[0] != "["):
        raise UsageError(
            f"--address {shown_url(address)!r} is no address of a Ray cluster: give HOST:PORT of its head node, or auto"
        )
    try:
        socket.create_connection((host.strip("[]"), int(port)), _REACHED_S).close()
    except (OSError, UnicodeError) as error:
        why = (error.strerror if isinstance(error, OSError) else "this is no host's name") or "no answer"
        raise RunError(f"no Ray cluster answers at {address} ({why}): start it, or check host and port") from error
    command = [sys.executable, "-m", "ray.scripts.scripts", "health-check", "--address", address]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_HEALTHY_S)
    except subprocess.TimeoutExpired as error:
        raise RunError(
            f"what answers at {address} is no Ray cluster: give the port of `ray start --head` (6379 by default)"
        ) from error
    if done.returncode:
        raise RunError(_sentence(address, done.stdout + done.stderr))


def _sentence(address: str, told: str) -> str:
    """Why Ray refused, and what to do."""
    if "Version mismatch" in told and (found := re.findall(r"(Ray|Python): (\S+)", told)):
        (_, ray), (_, python), (_, our_ray), (_, our_python) = (*found, *[("", "?")] * 4)[:4]
        return (
            f"the Ray cluster at {address} has Ray {ray} with Python {python}, and tuner runs with Ray {our_ray} and Python "
            f"{our_python}: install tuner in the cluster's environment, with its Ray and Python"
        )
    if found := re.findall(r"[Vv]ersion (?:is )?(\d[\w.]*)", told) if "version mismatch" in told.lower() else []:
        return (
            f"the Ray cluster at {address} has Ray {found[0]}, and tuner runs with Ray {found[-1]}: install tuner in the "
            "cluster's environment, with its Ray and Python"
        )
    last = next((line.strip() for line in reversed(told.splitlines()) if line.strip()), "no reason given")
    if "any running Ray instance" in told:
        return "no Ray cluster runs on this host: start one (`ray start --head`), or give --address HOST:PORT"
    if "this IP address" in told or "local raylet" in told.lower() or "Can't find a" in told:
        return f"this host is not in the Ray cluster at {address}: run tuner on a node, or `ray start --address={address}` here"
    if "Authentication" in told or "auth_token" in told.lower() or "Unauthenticated" in told:
        return f"the Ray cluster at {address} refuses us: give it the cluster's token in RAY_AUTH_TOKEN or ~/.ray/auth_token"
    return f"the Ray cluster at {address} cannot be used: {last[:200]}"
