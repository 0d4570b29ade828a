"""What a study wants in; which nodes of a Ray cluster can run it, and in a sentence each why others cannot, out.

A node is asked by a task that takes none of its cards and cores, so that it waits for no other job.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from types import ModuleType
from typing import Any

from tuner import __version__
from tuner.execute.messages import NodeReport, Wanted
from tuner.execute.on_node import is_wanted
from tuner.execute.ray_connection import Node, nodes
from tuner.space.gpus import canonical_name

#: A launch needs a core for the server and one for its load.
_CORES = 2
#: How far a node's clock may be off.
_CLOCK_S = 5.0
_REPORT_S = 180.0
_SIMULATED = "simulated-"


def simulated_resource(space: str) -> str:
    """What a node with simulated cards of that search space is started with: `ray start --resources '{"simulated-t4": 2}'`."""
    return f"{_SIMULATED}{space}"


def complaint(node: Node, answer: "NodeReport | str", wanted: Wanted, sent_s: float, received_s: float) -> str | None:
    """Why a node that has the study's cards cannot run it, told in one sentence; None where it can. Pure."""
    if isinstance(answer, str):
        return f"node {node.address} is left out: {answer}"
    off_s = max(sent_s - answer.time_s, answer.time_s - received_s)
    if off_s > _CLOCK_S:
        return f"node {node.address} is left out: its clock is {off_s:.0f} s off: set it by NTP"
    models = {canonical_name(gpu.name) for gpu in answer.gpus}
    if wanted.cards and len(models) > 1:
        return (
            f"node {node.address} is left out: it has cards of several models ({', '.join(sorted(models))}), of which "
            "Ray gives any: start Ray there with CUDA_VISIBLE_DEVICES, once for each model"
        )
    return f"node {node.address} is left out: {answer.unfit}" if answer.unfit else None


def surveyed(ray: ModuleType, wanted: Wanted) -> tuple[list[Node], list[str], dict[str, str]]:
    """The nodes that fit the study, the ids of those that have other cards, and why others with its cards do not, by ids."""
    there = [node for node in nodes(ray) if needed(wanted).keys() <= node.resources.keys()]
    sent_s = time.time()
    fit, others, unfit = list[Node](), list[str](), dict[str, str]()
    for node, answer in zip(there, _reports(ray, there, wanted), strict=True):
        if isinstance(answer, NodeReport) and not _has_card(answer, wanted):
            others.append(node.id)
        elif why := complaint(node, answer, wanted, sent_s, time.time()):
            unfit[node.id] = why
        else:
            fit.append(node)
    return fit, others, unfit


def _has_card(answer: NodeReport, wanted: Wanted) -> bool:
    return not wanted.cards or any(is_wanted(gpu, wanted) for gpu in answer.gpus)


def none_fits(ray: ModuleType, wanted: Wanted, unfit: Mapping[str, str]) -> str:
    if unfit:
        return f"no node of the Ray cluster can run the study: {'; '.join(unfit.values())}"
    if wanted.simulated:
        return (
            f"no node of the Ray cluster has {wanted.per_server} of {wanted.simulated}, which a server takes: start one with "
            f"--resources '{{\"{wanted.simulated}\": {wanted.per_server}}}', or try smaller parallel sizes"
        )
    if not wanted.cards:
        return f"no node of the Ray cluster has {_CORES} cores"
    has = sorted({node.accelerator.partition(":")[2] for node in nodes(ray) if node.accelerator})
    return (
        f"no node of the Ray cluster has {wanted.per_server} x {' or '.join(wanted.cards)}: "
        f"it has {', '.join(has) or 'no cards'}: add such a node, or give the --gpu that is there"
    )


def needed(wanted: Wanted) -> dict[str, float]:
    """What of a node a launch takes, by Ray's names."""
    if wanted.simulated:
        return {wanted.simulated: wanted.per_server}
    return {"CPU": _CORES, "GPU": wanted.per_server} if wanted.cards else {"CPU": _CORES}


def room(node: Node, wanted: Wanted) -> int:
    """How many launches a node has room for; on the CPU they would disturb one another."""
    room = min(int(node.resources.get(name, 0) // amount) for name, amount in needed(wanted).items())
    return room if wanted.cards or wanted.simulated else min(room, 1)


def _reports(ray: ModuleType, there: Sequence[Node], wanted: Wanted) -> list[NodeReport | str]:
    """What each node says of itself, or why it says nothing. Takes no cards and no cores, so that it waits for no other job."""
    look = _looking(_installed(), ray.cloudpickle.dumps(wanted))
    task = ray.remote(num_cpus=0, max_retries=0)(look)
    asked = [task.options(label_selector={"ray.io/node-id": node.id}).remote() for node in there]
    ended, _ = ray.wait(asked, num_returns=len(asked), timeout=_REPORT_S) if asked else ([], [])
    return [_answer(ray, one) if one in ended else f"it gave no answer within {_REPORT_S:g} s" for one in asked]


def _looking(expected: str, packed: bytes) -> Callable[[], Any]:
    """What a node is sent: by value, and with nothing of tuner's in it, for the node may not have it."""

    def look() -> Any:
        import pickle
        from importlib.metadata import PackageNotFoundError, version

        try:
            found = version("tuner")
        except PackageNotFoundError:
            return f"tuner is not installed there: pip install 'tuner[ray]=={expected}' in Ray's environment"
        if found != expected:
            return f"it has tuner {found} and this is {expected}: install the same"
        from tuner.execute.on_node import report

        return report(pickle.loads(packed))

    return look


def _answer(ray: ModuleType, asked: Any) -> NodeReport | str:
    try:
        found: NodeReport | str = ray.get(asked)
    except ray.exceptions.RayError as error:
        return last_line(error)
    return found


def _installed() -> str:
    try:
        return version("tuner")
    except PackageNotFoundError:
        return __version__


def last_line(error: Exception) -> str:
    """The last line that says something."""
    return next((line.strip() for line in reversed(str(error).splitlines()) if line.strip()), type(error).__name__)[
        :300
    ]
