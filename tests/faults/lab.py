"""A study in this process, on a real vLLM, whose trials can be disturbed in each phase: a saboteur is told what happens.

One host serves all trials, so a trial is a matter of seconds; each test runs one more trial of the same study.
"""

import os
import signal
import sqlite3
import threading
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path

import psutil
from waiting import wait_for

from faults.study import roles
from tuner.launch.fork_server import ForkServer
from tuner.launch.processes import members
from tuner.record.store import Store
from tuner.study.lease import abandoned
from tuner.study.loop import run_study
from tuner.study.options import Options
from tuner.study.setup import Setup, choose_space, make_setup
from tuner.types import Proposal, Trial, Underway

#: With processes of its own for the API server, EngineCore and a worker.
SPACE = """
gpu: {names: []}
environment: {OMP_NUM_THREADS: "1", VLLM_CPU_KVCACHE_SPACE: "1"}
fixed: {enforce_eager: true, max_model_len: 2048, distributed_executor_backend: mp}
parameters:
  max_num_seqs: {type: int, low: 8, high: 128}
"""
#: Phases as a watch is told them, and one more.
LOADING, LOAD, STOP, BETWEEN = "starting vLLM", "measuring", "stopping vLLM", "between trials"
#: Seconds without a byte that are a stall: short here, but longer than a busy machine pauses.
STALL_S = 6.0


@dataclass
class Saboteur:
    """A watch that calls `strike` once: at the begin of `at`, or beside it where the victim has yet to come."""

    at: str = ""
    strike: Callable[[], object] = lambda: None
    notes: list[str] = field(default_factory=list)
    thread: threading.Thread | None = None

    def phase(self, name: str, trial: int | None = None) -> None:
        if name == self.at and self.thread is None:
            self.thread = threading.Thread(target=self.strike)
            self.thread.start()
            if name != LOADING:
                self.thread.join(60)

    def note(self, text: str) -> None:
        self.notes.append(text)

    def detail(self, text: str) -> None: ...
    def trial_begins(self, proposal: Proposal, of: int) -> None:
        self.phase(BETWEEN)

    def study_continues(self, finished: Sequence[Trial], best: Trial | None) -> None: ...
    def trial_ended(self, trial: Trial, best: Trial | None) -> None: ...
    def underway(self, state: Underway, trial: int | None = None) -> None: ...
    def verification_begins(self, role: str, launch: int, of: int) -> None: ...


class Lab:
    """`plan` is the study's; a test may give `one_more` a changed one."""

    def __init__(self, folder: Path, engine: Path, model: Path) -> None:
        self.database, self.model = folder / "x.db", model
        self.cache = folder / "cache"
        self.stale_ports: set[int] = set()
        (folder / "space.yaml").write_text(SPACE)
        options = Options(
            space=folder / "space.yaml",
            model=str(model),
            storage=f"sqlite:///{self.database}",
            study="s",
            users=4,
            warmup=0.5,
            window=1,
            precision=0.9,
            verify=0,
            log_dir=folder / "logs",
            cache_dir=self.cache,
        )
        space = choose_space(options, [])
        self.engine = ForkServer(engine, space.environment)
        setup = make_setup(options, space, engine, self.engine.info, [])
        setup.caches.mark_warm()
        # A busy machine may need longer than the window for one request: until one is answered, it goes on.
        self.setup = replace(setup, workload=replace(setup.workload, stall_s=STALL_S, max_window_s=30.0))
        self.store = Store.open(options.storage)

    def one_more(self, watch: Saboteur | None = None, setup: Setup | None = None) -> Trial:
        """Run until one more trial is finished, and return that; whatever happened, nothing of it is left."""
        setup = setup or self.setup
        before = self.finished(setup.study)
        try:
            run_study(replace(setup, trials=len(before) + 1), self.store, self.engine, watch or Saboteur())
        finally:
            if watch and watch.thread:
                watch.thread.join(60)
            self.assert_clean()
        now = self.store.trials(setup.study)
        assert [trial.number for trial in now] == list(range(len(before) + 1))
        assert now[:-1] == before
        return now[-1]

    def finished(self, study: str) -> list[Trial]:
        names = [record.name for record in self.store.studies()]
        return self.store.trials(study) if study in names else []

    def launches(self) -> list[tuple[int, int, str]]:
        """Session, port and way of start of each launch, the oldest first."""
        with closing(sqlite3.connect(self.database)) as database:
            return database.execute("SELECT pgid, port, start FROM tuner_launch ORDER BY id").fetchall()

    def assert_clean(self) -> None:
        """No process of any launch, no port, and no launch that is open."""
        for session, port, _ in self.launches()[-3:]:
            assert members(session) == []
            assert port in self.stale_ports or port not in listened()
        assert abandoned(self.store) == []
        assert not set(roles(os.getpid())) - {"fork server", "fork server guard"}

    def close(self) -> None:
        self.store.close()
        self.engine.close()


def listened() -> set[int]:
    """The ports of what this worker's tests have started: somebody else may have been given a port that a launch has freed."""
    mine = {name: os.environ.get(name) for name in ("TUNER_CACHE_DIR", "PYTEST_XDIST_WORKER")}
    found = set()
    for one in psutil.net_connections("tcp"):
        if one.laddr and one.status == psutil.CONN_LISTEN:
            try:
                theirs = psutil.Process(one.pid).environ() if one.pid else {}
            except psutil.Error:  # it ended meanwhile, or is another user's
                continue
            if one.pid and {name: theirs.get(name) for name in mine} == mine:
                found.add(one.laddr.port)
    return found


def strike(victim: str, number: int = signal.SIGKILL, once: str | None = None) -> Callable[[], None]:
    """Send that process of this one's server a signal, as soon as the process `once` is there too."""

    def send() -> None:
        wait_for(lambda: {victim, once or victim} <= roles(os.getpid()).keys(), 60)
        roles(os.getpid())[victim].send_signal(number)

    return send


def strike_each(victim: str, times: int) -> Callable[[], None]:
    """Kill that process of each of this one's next servers."""

    def newest(struck: set[int]) -> tuple[int, psutil.Process] | None:
        found = roles(os.getpid())
        if not {victim, "guard", "worker"} <= found.keys() or found["guard"].pid in struck:
            return None
        return found["guard"].pid, found[victim]

    def send() -> None:
        struck: set[int] = set()
        for _ in range(times):
            wait_for(lambda: newest(struck) is not None, 120)
            if found := newest(struck):
                struck.add(found[0])
                found[1].kill()

    return send
