"""A Ray cluster and what a study wants of its nodes in; slots whose jobs run there, each wherever Ray finds its cards, out.

A launch is one task: it waits for its cards beside other jobs, tells what happens while it runs, is tried elsewhere when its
node is lost, and is cancelled with whoever waits for it. With the other ray_*.py the only door to Ray.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

from tuner.errors import RunError
from tuner.execute.messages import Begun, Ended, Logged, Note, Phase, Refused, Told, Wanted
from tuner.execute.on_node import portable, run_on_node
from tuner.execute.ray_connection import Node, connection, nodes, other_jobs
from tuner.execute.ray_nodes import last_line, needed, none_fits, room, surveyed
from tuner.execute.slot import Slot
from tuner.launch.job import Job, Tell
from tuner.launch.vllm import Launch, Seen
from tuner.types import Failed, FailureKind, Outcome, Underway

#: How long no word of a launch means that it waits, and how often who it waits for is told.
_WAITING_S = 3.0
#: How long a cancelled launch may take to stop its server, before its worker is killed.
_STOP_S = 40.0
#: How long a launch waits for another node than the one that lost it before.
_ELSEWHERE_S = 15.0
#: A worker that ends must not kill its children, as Ray would have it: the guard of a server is one, and ends that by itself.
SPARE_CHILDREN = {"RAY_kill_child_processes_on_worker_exit": "0"}
#: How often a launch is begun again whose node or worker was lost.
_TRIES = 3


@contextmanager
def connect(address: str, wanted: Wanted, parallel: int | None, tell: Tell) -> Iterator[tuple[Slot, ...]]:
    """As many slots as launches are to run at once, None for as many as the cluster has cards for. `tell` is told of nodes that
    cannot run the study. Raises UsageError, RunError where none can."""
    with connection(address) as ray:
        yield slots_of(ray, wanted, parallel, tell)


def slots_of(ray: ModuleType, wanted: Wanted, parallel: int | None, tell: Tell) -> tuple[Slot, ...]:
    """The same of a cluster that is connected."""
    found = surveyed(ray, wanted)
    for text in found.unfit.values():
        tell(text)
    most = sum(room(node, wanted) for node in found.fit)
    if not most:
        raise RunError(none_fits(ray, wanted, found.unfit))
    if parallel is not None and parallel > most:
        tell(f"--parallel {parallel}: the Ray cluster has room for {most} launches at once: the others wait")
    cluster = _Cluster(ray, wanted, found.fit, {*found.unfit, *found.others})
    return tuple(Slot(number=number, run=cluster.run) for number in range(parallel or most))


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
        return has_card and room(node, self._wanted) > 0

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
        takes = needed(self._wanted)
        more = {name: amount for name, amount in takes.items() if name not in ("CPU", "GPU")}
        if self._wanted.cards and len(self._accelerators) == 1:
            more[self._accelerators[0]] = 0.001
        where = {"ray.io/node-id": f"!in({','.join(sorted(avoided))})"} if avoided else None
        return {
            "num_cpus": takes.get("CPU", 0),
            "num_gpus": takes.get("GPU", 0),
            "resources": more,
            "label_selector": where,
            "runtime_env": {"env_vars": SPARE_CHILDREN},
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
        names = [name for name in needed(self._wanted) if name != "CPU" or not self._wanted.cards]
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
        return _Lost(f"Ray ended the launch {where}: {last_line(error)}", FailureKind.HOST)

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
