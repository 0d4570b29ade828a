"""A job and the cards that a scheduler gave it in; what happens to it, one thing after another, out. Runs on the node.

The node's own: its interpreter with vLLM, its caches, its log, the numbers of its cards. It knows no Ray.
"""

import asyncio
import functools
import importlib.metadata
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from tuner.errors import EngineError, RunError, TunerError
from tuner.execute.messages import Begun, Ended, Logged, NodeReport, Note, Phase, Refused, Sought, Told, Wanted
from tuner.execute.node_environment import cards_of_node, forget_scheduler
from tuner.launch import mps
from tuner.launch.caches import COLD, caches_of, default_root
from tuner.launch.card_lock import holding_cards
from tuner.launch.conditions import processor
from tuner.launch.interpreter import find_python
from tuner.launch.job import Job, at_once
from tuner.launch.scratch import scratch
from tuner.launch.vllm import VllmLauncher
from tuner.measure.gpu import detect
from tuner.measure.visible import VISIBLE, visible
from tuner.sim.launcher import SimLauncher
from tuner.space.gpus import canonical_name
from tuner.types import DetectedGpu, Measured, Outcome, Underway

_POLL_S = 0.1
_TELL_S = 1.0
_ASK_S = 120.0
#: What names folders of compiled code.
_CACHES = ("VLLM_CACHE_ROOT", "TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR")


def portable(job: Job) -> Job:
    """The job without what stays with the coordinator: the process that forks servers, who is told how far the load is, and the
    turns that loads of one host take."""
    return replace(job, engine=None, underway=_untold, turns=at_once)


def report(sought: Sought) -> NodeReport:
    """What this node has, and whether that is what is looked for: vLLM, of the same version, and the model."""
    unfit = None if sought.simulated else _unfit(sought)
    return NodeReport(gpus=cards_of_node().gpus, processor=processor(), time_s=time.time(), unfit=unfit)


def run_on_node(job: Job, wanted: Wanted, cards: Sequence[str], node: str, address: str) -> Iterator[Told]:
    """Run it on `cards`, which are numbers or UUIDs as in CUDA_VISIBLE_DEVICES. However that ends, no server is left."""
    forget_scheduler()
    gpus = visible(detect(), ",".join(cards)).gpus if cards else ()
    yield Begun(node, address, gpus)
    other = next((gpu.name for gpu in gpus if not is_wanted(gpu, wanted)), None)
    why = f"it has {other}, and the study is of {' or '.join(wanted.cards)}" if other else None
    if why is None and wanted.fingerprint.mps and not mps.is_there():
        why = f"it has no {mps.CONTROL} on its PATH, over which engines share a GPU: put it there, or give --mps off"
    if why := why or (None if wanted.simulated else _unfit(wanted)):
        yield Refused(RunError(why), is_node=True)
        return
    with scratch() as folder:
        try:
            local = _localized(job, wanted, gpus, cards, folder)
            if gpus:
                yield Phase(f"taking GPU {', '.join(str(gpu.index) for gpu in gpus)}, once no other tuner has it")
            with holding_cards(gpus, job.wait_for_gpu_s, lambda text: None):
                yield from _Running(local, wanted).told()
        except TunerError as error:
            yield Refused(error)


def is_wanted(gpu: DetectedGpu, sought: Sought) -> bool:
    """Whether it is a card of the study."""
    return canonical_name(gpu.name) in map(canonical_name, sought.cards)


def _untold(state: Underway) -> None:
    """Is replaced on the node."""


def python_of_node(sought: Sought) -> Path:
    """The node's own choice, else the path that is looked for, else what is found. Raises EngineError."""
    there = None if "TUNER_VLLM_PYTHON" in os.environ else sought.python
    if there is not None and (there.is_file() or sought.is_named):
        return find_python(str(there))
    return find_python(None)


@functools.cache
def _unfit(sought: Sought) -> str | None:
    """Asked once a process."""
    try:
        python = python_of_node(sought)
        version, expected = _vllm_version(python), sought.version
    except EngineError as error:
        return f"it has no vLLM: {error}"
    if expected is not None and _public(version) != _public(expected):
        return f"its vLLM is {version} ({python}) and the study's {expected}: install the same, or set TUNER_VLLM_PYTHON there"
    model = Path(sought.model)
    if model.is_absolute() and not model.exists():
        return f"it has no model {model}: copy it there, or put it on a disk that all nodes share"
    return None


def _public(version: str) -> str:
    """Without how it was built: `0.32.0+cpu` is what pip calls the vLLM that calls itself 0.32.0."""
    return version.partition("+")[0]


def _vllm_version(python: Path) -> str:
    """Raises EngineError."""
    if python == Path(sys.executable):
        try:
            return importlib.metadata.version("vllm")
        except importlib.metadata.PackageNotFoundError as error:
            raise EngineError(f"{python} has none") from error
    ask = "import importlib.metadata as m; print(m.version('vllm'))"
    try:
        done = subprocess.run(
            [python, "-I", "-c", ask],
            capture_output=True,
            text=True,
            check=False,
            timeout=_ASK_S,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise EngineError(f"{python} cannot be run") from error
    if done.returncode:
        raise EngineError(f"{python} has none")
    return done.stdout.strip()


def _localized(job: Job, wanted: Wanted, gpus: tuple[DetectedGpu, ...], cards: Sequence[str], folder: Path) -> Job:
    """The job with this node's paths. Raises TunerError."""
    given = job.launcher
    if isinstance(given, SimLauncher):
        launcher: VllmLauncher = replace(given, python=Path(sys.executable))
    else:
        root = caches_of(wanted.fingerprint, default_root()).folder
        moved = {name: str(root / Path(place).name) for name, place in given.caches.items() if name in _CACHES}
        shown = {VISIBLE: ",".join(cards)} if cards else {}
        launcher = replace(given, python=python_of_node(wanted), caches={**given.caches, **moved, **shown})
    serve = job.command.argv[job.command.argv.index("serve") :]
    command = replace(job.command, argv=(*launcher.program(), *serve))
    return replace(job, launcher=launcher, command=command, gpus=gpus, log=folder / job.log.name)


class _Running:
    """The job in a thread of its own: its load's timers do not wait for who is told."""

    def __init__(self, job: Job, wanted: Wanted) -> None:
        self._told: queue.SimpleQueue[Told] = queue.SimpleQueue()
        self._job, self._wanted = replace(job, underway=self._underway), wanted
        self._tail, self._last_s = LogTail(job.log), 0.0
        self._loop = asyncio.new_event_loop()
        self._task = self._loop.create_task(self._main())
        self._thread = threading.Thread(target=self._run, name="job", daemon=True)

    def told(self) -> Iterator[Told]:
        """All of it, and the end last. Left before that, the job is cancelled and waited for."""
        self._thread.start()
        logged_s = time.monotonic()
        try:
            while self._thread.is_alive() or not self._told.empty():
                try:
                    message = self._told.get(timeout=_POLL_S)  # short: an interrupt does not end a wait
                except queue.Empty:
                    message = None
                if isinstance(message, Ended | Refused):
                    yield from self._tail.more()
                if message is not None:
                    yield message
                elif time.monotonic() > logged_s + _TELL_S:
                    yield from self._tail.more()
                    logged_s = time.monotonic()
        finally:
            self._cancel()

    def _cancel(self) -> None:
        with suppress(RuntimeError):  # it has ended
            self._loop.call_soon_threadsafe(self._task.cancel)
        while self._thread.is_alive():
            self._thread.join(_POLL_S)

    def _run(self) -> None:
        with closing(self._loop):
            try:
                self._told.put(Ended(self._loop.run_until_complete(self._task)))
            except asyncio.CancelledError:
                return
            except TunerError as error:
                self._told.put(Refused(error))
            except Exception as error:  # noqa: BLE001  the worker's boundary
                self._told.put(Refused(RunError(f"a launch failed by itself: {type(error).__name__} {error}")))

    async def _main(self) -> Outcome:
        """As everywhere, the first start on a host is run twice, and only the second counts."""
        caches = None if self._wanted.simulated else caches_of(self._wanted.fingerprint, default_root())
        if caches is not None and caches.is_cold():
            self._told.put(Note(COLD))
            outcome = await self._once(self._job.discarded())
            if not isinstance(outcome, Measured):
                return outcome
            caches.mark_warm()
        return await self._once(self._job)

    async def _once(self, job: Job) -> Outcome:
        tell = self._told.put
        return await self._wanted.run(job, tell, lambda text: tell(Phase(text)), lambda text: tell(Note(text)))

    def _underway(self, state: Underway) -> None:
        if time.monotonic() >= self._last_s + _TELL_S:
            self._last_s = time.monotonic()
            self._told.put(state)


@dataclass(slots=True)
class LogTail:
    """What came to a log since it was last asked; from its beginning once it was begun anew."""

    path: Path
    _read: int = field(default=0)

    def more(self) -> Iterator[Logged]:
        try:
            with self.path.open("rb") as file:
                if os.fstat(file.fileno()).st_size < self._read:
                    self._read = 0
                file.seek(self._read)
                data = file.read()
        except OSError:
            return
        if data:
            yield Logged(self._read, data)
            self._read += len(data)
