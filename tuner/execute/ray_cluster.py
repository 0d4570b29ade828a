"""A Ray cluster and what a study wants of its nodes in; slots whose jobs run there, each wherever Ray finds its cards, out.

A launch is one task: it waits for its cards beside other jobs, tells what happens while it runs, is tried elsewhere when its
node is lost, and is cancelled with whoever waits for it. With ray_connection.py the only door to Ray.
"""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager, suppress
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import ModuleType
from typing import Any

from tuner import __version__
from tuner.errors import RunError
from tuner.execute.messages import Begun, Ended, Logged, NodeReport, Note, Phase, Refused, Told, Wanted
from tuner.execute.on_node import is_wanted, portable, run_on_node
from tuner.execute.ray_connection import Node, connection, nodes, other_jobs
from tuner.execute.slot import Slot
from tuner.launch.job import Job, Tell
from tuner.launch.vllm import Launch, Seen
from tuner.space.gpus import canonical_name
from tuner.types import Failed, FailureKind, Outcome, Underway

#: A launch needs a core for the server and one for its load.
_CORES = 2
#: How far a node's clock may be off.
_CLOCK_S = 5.0
_REPORT_S = 180.0
#: How long no word of a launch means that it waits, and how often who it waits for is told.
_WAITING_S = 3.0
#: How long a cancelled launch may take to stop its server, before its worker is killed.
_STOP_S = 40.0
#: How long a launch waits for another node than the one that lost it before.
_ELSEWHERE_S = 15.0
#: How often a launch is begun again whose node or worker was lost.
_TRIES = 3
_SIMULATED = "simulated-"


def simulated_resource(space: str) -> str:
    """What a node with simulated cards of that search space is started with: `ray start --resources '{"simulated-t4": 2}'`."""
    return f"{_SIMULATED}{space}"


@contextmanager
def connect(address: str, wanted: Wanted, parallel: int | None, tell: Tell) -> Iterator[tuple[Slot, ...]]:
    """As many slots as launches are to run at once, None for as many as the cluster has cards for. `tell` is told of nodes that
    cannot run the study. Raises UsageError, RunError where none can."""
    with connection(address) as ray:
        yield slots_of(ray, wanted, parallel, tell)


def slots_of(ray: ModuleType, wanted: Wanted, parallel: int | None, tell: Tell) -> tuple[Slot, ...]:
    """The same of a cluster that is connected."""
    fit, others, unfit = _surveyed(ray, wanted)
    for text in unfit.values():
        tell(text)
    most = sum(_room(node, wanted) for node in fit)
    if not most:
        raise RunError(_none_fits(ray, wanted, unfit))
    if parallel is not None and parallel > most:
        tell(f"--parallel {parallel}: the Ray cluster has room for {most} launches at once: the others wait")
    cluster = _Cluster(ray, wanted, fit, {*unfit, *others})
    return tuple(Slot(number=number, run=cluster.run) for number in range(parallel or most))


def cards_of(address: str) -> Mapping[str, int]:
    """How many cards of each model the cluster has, and of each resource of simulated cards: a study is of one of them."""
    found: Counter[str] = Counter()
    with connection(address) as ray:
        there = nodes(ray)
        for node, answer in zip(there, _reports(ray, there, None), strict=True):
            found.update({name: int(n) for name, n in node.resources.items() if name.startswith(_SIMULATED)})
            if isinstance(answer, NodeReport):
                found.update([gpu.name for gpu in answer.gpus][: int(node.resources.get("GPU", 0))])
    return dict(found)


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


def _surveyed(ray: ModuleType, wanted: Wanted) -> tuple[list[Node], list[str], dict[str, str]]:
    """The nodes that fit the study, the ids of those that have other cards, and why others with its cards do not, by ids."""
    there = [node for node in nodes(ray) if _needed(wanted).keys() <= node.resources.keys()]
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


def _none_fits(ray: ModuleType, wanted: Wanted, unfit: Mapping[str, str]) -> str:
    if unfit:
        return f"no node of the Ray cluster can run the study: {'; '.join(unfit.values())}"
    if wanted.simulated:
        return (
            f"no node of the Ray cluster has simulated cards of this kind: start one with --resources "
            f"'{{\"{wanted.simulated}\": 1}}'"
        )
    if not wanted.cards:
        return f"no node of the Ray cluster has {_CORES} cores"
    has = sorted({node.accelerator.partition(":")[2] for node in nodes(ray) if node.accelerator})
    return (
        f"no node of the Ray cluster has {wanted.per_server} x {' or '.join(wanted.cards)}: "
        f"it has {', '.join(has) or 'no cards'}: add such a node, or give the --gpu that is there"
    )


def _needed(wanted: Wanted) -> dict[str, float]:
    """What of a node a launch takes, by Ray's names."""
    if wanted.simulated:
        return {wanted.simulated: wanted.per_server}
    return {"CPU": _CORES, "GPU": wanted.per_server} if wanted.cards else {"CPU": _CORES}


def _room(node: Node, wanted: Wanted) -> int:
    """How many launches a node has room for; on the CPU they would disturb one another."""
    room = min(int(node.resources.get(name, 0) // amount) for name, amount in _needed(wanted).items())
    return room if wanted.cards or wanted.simulated else min(room, 1)


def _reports(ray: ModuleType, there: Sequence[Node], wanted: Wanted | None) -> list[NodeReport | str]:
    """What each node says of itself, or why it says nothing. Takes no cards and no cores, so that it waits for no other job."""
    expected = _installed()

    def look() -> NodeReport | str:  # by value: a node may not have tuner
        from importlib.metadata import PackageNotFoundError, version

        try:
            found = version("tuner")
        except PackageNotFoundError:
            return f"tuner is not installed there: pip install 'tuner[ray]=={expected}' in Ray's environment"
        if found != expected:
            return f"it has tuner {found} and this is {expected}: install the same"
        from tuner.execute.on_node import cards_only, report

        return cards_only() if wanted is None else report(wanted)

    task = ray.remote(num_cpus=0, max_retries=0)(look)
    asked = [task.options(label_selector={"ray.io/node-id": node.id}).remote() for node in there]
    ended, _ = ray.wait(asked, num_returns=len(asked), timeout=_REPORT_S) if asked else ([], [])
    return [_answer(ray, one) if one in ended else f"it gave no answer within {_REPORT_S:g} s" for one in asked]


def _answer(ray: ModuleType, asked: Any) -> NodeReport | str:
    try:
        found: NodeReport | str = ray.get(asked)
    except ray.exceptions.RayError as error:
        return _line(error)
    return found


def _installed() -> str:
    try:
        return version("tuner")
    except PackageNotFoundError:
        return __version__


def _line(error: Exception) -> str:
    """The last line that says something."""
    return next((line.strip() for line in reversed(str(error).splitlines()) if line.strip()), type(error).__name__)[
        :300
    ]


class _Lost(Exception):
    """A node or a worker was lost, and with it a launch; the text says which. `kind` is what the trial fails by at last."""

    def __init__(self, text: str, kind: FailureKind) -> None:
        super().__init__(text)
        self.kind = kind


class _Busy(Exception):
    """There is no place elsewhere for now."""


class _Unfit(Exception):
    """A node that came later does not fit; the text says why."""


class _Cluster:
    """The launches of one study."""

    def __init__(self, ray: ModuleType, wanted: Wanted, fit: Sequence[Node], avoided: set[str]) -> None:
        self._ray, self._wanted, self._avoided = ray, wanted, avoided
        self._accelerators = sorted({node.accelerator for node in fit if node.accelerator})
        self._task = ray.remote(max_retries=0, num_returns="streaming")(_launched)

    async def run(self, job: Job, seen: Seen, phase: Tell, note: Tell) -> Outcome:
        """A RunTrial: the outcome is that of the first node that was not lost."""
        shunned: set[str] = set()
        for attempt in range(1, _TRIES + 1):
            launch = _Launch(job, seen, phase, note)
            try:
                return await self._fitting(launch, shunned)
            except _Lost as lost:
                kind, text = lost.kind, str(lost)
                if launch.node is not None:
                    shunned.add(launch.node)
            if attempt < _TRIES:
                note(f"{text}: the trial is launched again elsewhere ({attempt} of {_TRIES - 1})")
        return Failed(kind=kind, message=f"{text}, and so it was {_TRIES} times: look at Ray's log of that node")

    async def _fitting(self, launch: "_Launch", shunned: set[str]) -> Outcome:
        while True:
            elsewhere = shunned if self._others(self._avoided | shunned) else set[str]()
            try:
                return await self._once(launch, self._avoided | elsewhere, _ELSEWHERE_S if elsewhere else None)
            except _Busy:
                shunned = set()
            except _Unfit as unfit:
                self._avoided.add(launch.node or "")
                launch.note(f"node {launch.address} is left out: {unfit}")
                if not self._others(self._avoided):
                    return Failed(kind=FailureKind.HOST, message=f"no node of the Ray cluster is left: {unfit}")

    def _others(self, without: set[str]) -> list[Node]:
        return [node for node in nodes(self._ray) if node.id not in without and self._may(node)]

    def _may(self, node: Node) -> bool:
        has_card = not self._accelerators or node.accelerator in self._accelerators
        return has_card and _room(node, self._wanted) > 0

    async def _once(self, launch: "_Launch", avoided: set[str], patience_s: float | None) -> Outcome:
        stream = self._task.options(**self._demand(avoided)).remote(portable(launch.job), self._wanted)
        try:
            async with aclosing(self._told(stream, launch, patience_s)) as everything:
                async for told in everything:
                    if (outcome := launch.heard(told)) is not None:
                        return outcome
        except BaseException:
            await self._cancel(stream)
            raise
        raise _Lost(f"the launch on node {launch.address} ended without a word", FailureKind.HOST)

    def _demand(self, avoided: set[str]) -> dict[str, Any]:
        """What Ray is asked for. Cards of one model: Ray's own resource for it, of which each node that has it has one."""
        needed = _needed(self._wanted)
        more = {name: amount for name, amount in needed.items() if name not in ("CPU", "GPU")}
        if self._wanted.cards and len(self._accelerators) == 1:
            more[self._accelerators[0]] = 0.001
        where = {"ray.io/node-id": f"!in({','.join(sorted(avoided))})"} if avoided else None
        return {
            "num_cpus": needed.get("CPU", 0),
            "num_gpus": needed.get("GPU", 0),
            "resources": more,
            "label_selector": where,
        }

    async def _told(self, stream: Any, launch: "_Launch", patience_s: float | None) -> AsyncGenerator[Told, None]:
        """What the node tells. Raises _Lost where it is gone, _Busy where there is none after `patience_s`."""
        began_s = time.monotonic()
        while True:
            following = asyncio.ensure_future(_following(stream))
            try:
                while not (await asyncio.wait({following}, timeout=_WAITING_S))[0]:
                    if launch.node is None:
                        launch.phase(self._waiting())
                        if patience_s is not None and time.monotonic() > began_s + patience_s:
                            raise _Busy
                yield following.result()
            except StopAsyncIteration:
                return
            except self._ray.exceptions.RayError as error:
                raise self._lost(error, launch) from error
            finally:
                following.cancel()

    def _waiting(self) -> str:
        """Who else has the cards, as far as Ray tells."""
        free, has = self._ray.available_resources(), self._ray.cluster_resources()
        names = [name for name in _needed(self._wanted) if name != "CPU" or not self._wanted.cards]
        taken = " and ".join(
            f"{has.get(name, 0) - free.get(name, 0):g} of {has.get(name, 0):g} {name}" for name in names
        )
        others = other_jobs(self._ray)
        return f"waiting for the Ray cluster: {taken} in use{', also by ' + ', '.join(others) if others else ''}"

    def _lost(self, error: Exception, launch: "_Launch") -> _Lost:
        where = f"on node {launch.address}" if launch.address else "before it had a node"
        if isinstance(error, self._ray.exceptions.OutOfMemoryError):
            return _Lost(f"Ray ended the launch {where}: the host's memory ran out", FailureKind.HOST_MEMORY)
        if isinstance(error, self._ray.exceptions.NodeDiedError | self._ray.exceptions.LocalRayletDiedError):
            return _Lost(f"node {launch.address or 'of a launch'} was lost", FailureKind.HOST)
        if isinstance(error, self._ray.exceptions.WorkerCrashedError):
            return _Lost(f"Ray's worker {where} died", FailureKind.HOST)
        return _Lost(f"Ray ended the launch {where}: {_line(error)}", FailureKind.HOST)

    async def _cancel(self, stream: Any) -> None:
        """Until nothing of the task is left: its server first, then, if that takes too long, its worker."""
        for by_force in (False, True):
            self._ray.cancel(stream, force=by_force)
            with suppress(TimeoutError):
                async with asyncio.timeout(_STOP_S):
                    await _over(stream)
                    return


class _Launch:
    """One launch, as far as its node has told."""

    def __init__(self, job: Job, seen: Seen, phase: Tell, note: Tell) -> None:
        self.job, self.phase, self.note, self._seen = job, phase, note, seen
        self.node: str | None = None
        self.address = ""
        self._begun: Begun | None = None
        try:
            self.job.log.write_bytes(b"")
        except OSError as error:
            raise RunError(f"{self.job.log} cannot be written: {error.strerror}: see --log-dir") from error

    def heard(self, told: Told) -> Outcome | None:
        """The outcome at the end. Raises what ran the job there raised, and _Unfit."""
        match told:
            case Begun():
                self.node, self.address, self._begun = told.node, told.address, told
            case Phase(text):
                self.phase(f"{text} (node {self.address})")
            case Note(text):
                self.note(f"{text} (node {self.address})")
            case Launch():
                gpus = self._begun.gpus if self._begun else ()
                self._seen(replace(told, log=self.job.log, host=self.address, gpus=gpus))
            case Underway():
                self.job.underway(told)
            case Logged(offset, data):
                _written(self.job.log, offset, data)
            case Refused(error, is_node=True):
                raise _Unfit(str(error))
            case Refused(error):
                raise error
            case Ended(outcome):
                return outcome
        return None


def _written(log: Path, offset: int, data: bytes) -> None:
    with suppress(OSError), log.open("r+b") as file:  # a full disk: then it is cut
        file.truncate(offset)
        file.seek(offset)
        file.write(data)


async def _following(stream: Any) -> Told:
    told: Told = await (await anext(stream))
    return told


async def _over(stream: Any) -> None:
    """Wait for the task's end, however it ends."""
    try:
        await stream.completed()
    except Exception:  # noqa: BLE001  that it was cancelled, or died
        return


def _launched(job: Job, wanted: Wanted) -> Iterator[Told]:
    """The task. Its worker is this study's own; Ray interrupts it when it is cancelled."""
    import ray

    context = ray.get_runtime_context()
    cards = [str(one) for one in context.get_accelerator_ids().get("GPU", ())]
    address = ray.util.get_node_ip_address()
    yield from run_on_node(job, wanted, cards if wanted.cards else (), context.get_node_id(), address)
