"""What a study wants in; which nodes of a Ray cluster can run it, and in a sentence each why others cannot, out.

A node is asked by a task that takes none of its cards and cores, so that it waits for no other job.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from types import ModuleType
from typing import Any

from tuner import __version__
from tuner.execute.messages import NodeReport, Sought
from tuner.execute.on_node import is_wanted
from tuner.execute.ray_connection import Node, nodes
from tuner.space.gpus import canonical_name

#: A launch needs a core for the server and one for its load.
_CORES = 2
#: How far a node's clock may be off.
_CLOCK_S = 5.0
_REPORT_S = 180.0
_SIMULATED = "simulated-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """The nodes that fit, and what they say of themselves, the ids of those that have other cards, and why others with the
    cards that are looked for do not fit. Reports and reasons stand by the nodes' ids."""

    fit: list[Node] = field(default_factory=list)
    reports: dict[str, NodeReport] = field(default_factory=dict)
    others: list[str] = field(default_factory=list)
    unfit: dict[str, str] = field(default_factory=dict)


def simulated_resource(space: str) -> str:
    """What a node with simulated cards of that search space is started with: `ray start --resources '{"simulated-t4": 2}'`."""
    return f"{_SIMULATED}{space}"


def complaint(node: Node, answer: "NodeReport | str", sought: Sought, sent_s: float, received_s: float) -> str | None:
    """Why a node that has the study's cards cannot run it, told in one sentence; None where it can. Pure."""
    if isinstance(answer, str):
        return f"node {node.address} is left out: {answer}"
    off_s = max(sent_s - answer.time_s, answer.time_s - received_s)
    if off_s > _CLOCK_S:
        return f"node {node.address} is left out: its clock is {off_s:.0f} s off: set it by NTP"
    models = {canonical_name(gpu.name) for gpu in answer.gpus}
    if sought.cards and len(models) > 1:
        return (
            f"node {node.address} is left out: it has cards of several models ({', '.join(sorted(models))}), of which "
            "Ray gives any: start Ray there with CUDA_VISIBLE_DEVICES, once for each model"
        )
    return f"node {node.address} is left out: {answer.unfit}" if answer.unfit else None


def surveyed(ray: ModuleType, sought: Sought) -> Survey:
    there = [node for node in nodes(ray) if needed(sought).keys() <= node.resources.keys()]
    sent_s = time.time()
    found = Survey()
    for node, answer in zip(there, _reports(ray, there, sought), strict=True):
        if isinstance(answer, NodeReport) and not _has_card(answer, sought):
            found.others.append(node.id)
        elif (why := complaint(node, answer, sought, sent_s, time.time())) or isinstance(answer, str):
            found.unfit[node.id] = why or ""
        else:
            found.fit.append(node)
            found.reports[node.id] = answer
    return found


def cards_there(ray: ModuleType, sought: Sought) -> tuple[list[str], list[str]]:
    """What NVML calls the cards of all nodes that could run a study on them, each model once, and why other nodes with cards
    could not."""
    there = [node for node in nodes(ray) if node.resources.get("GPU", 0) >= 1]
    sent_s = time.time()
    names, unfit = set[str](), list[str]()
    for node, answer in zip(there, _reports(ray, there, sought), strict=True):
        if why := complaint(node, answer, sought, sent_s, time.time()):
            unfit.append(why)
        elif isinstance(answer, NodeReport) and answer.gpus:
            names |= {gpu.name for gpu in answer.gpus}
        else:
            unfit.append(f"node {node.address} is left out: NVML shows none of its GPUs")
    return sorted(names), unfit


def _has_card(answer: NodeReport, sought: Sought) -> bool:
    return not sought.cards or any(is_wanted(gpu, sought) for gpu in answer.gpus)


def none_fits(ray: ModuleType, sought: Sought, unfit: Mapping[str, str]) -> str:
    if unfit:
        return f"no node of the Ray cluster can run the study: {'; '.join(unfit.values())}"
    if sought.simulated:
        return (
            f"no node of the Ray cluster has {sought.per_server} of {sought.simulated}, which a server takes: start one with "
            f"--resources '{{\"{sought.simulated}\": {sought.per_server}}}', or try smaller parallel sizes"
        )
    if not sought.cards:
        return f"no node of the Ray cluster has {_CORES} cores"
    has = sorted({node.accelerator.partition(":")[2] for node in nodes(ray) if node.accelerator})
    return (
        f"no node of the Ray cluster has {sought.per_server} x {' or '.join(sought.cards)}: "
        f"it has {', '.join(has) or 'no cards'}: add such a node, or give the --gpu that is there"
    )


def needed(sought: Sought) -> dict[str, float]:
    """What of a node a launch takes, by Ray's names."""
    if sought.simulated:
        return {sought.simulated: sought.per_server}
    return {"CPU": _CORES, "GPU": sought.per_server} if sought.cards else {"CPU": _CORES}


def room(node: Node, sought: Sought) -> int:
    """How many launches a node has room for; on the CPU they would disturb one another."""
    room = min(int(node.resources.get(name, 0) // amount) for name, amount in needed(sought).items())
    return room if sought.cards or sought.simulated else min(room, 1)


def _reports(ray: ModuleType, there: Sequence[Node], sought: Sought) -> list[NodeReport | str]:
    """What each node says of itself, or why it says nothing. Takes no cards and no cores, so that it waits for no other job."""
    look = _looking(_installed(), ray.cloudpickle.dumps(sought))
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
    except ray.exceptions.TaskUnschedulableError:
        return "it was lost"
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
