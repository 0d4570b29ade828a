"""Launches on a real Ray of this host: two nodes with simulated cards, a coordinator, and what may go wrong between them.

Nothing here has a real card: what Ray does with those is read from what it is asked for (test_ray_nodes.py).
"""

import asyncio
import importlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import conftest
import psutil
import pytest
from waiting import wait_for

from tuner import interrupts
from tuner.errors import RunError, UsageError
from tuner.execute.messages import Sought, Wanted
from tuner.execute.pool import Pool
from tuner.execute.ray_cluster import connect, slots_of
from tuner.execute.ray_connection import connection
from tuner.execute.ray_nodes import cards_there, simulated_resource
from tuner.execute.slot import Slot
from tuner.launch.job import Job
from tuner.launch.processes import is_alive, members
from tuner.launch.vllm import Launch
from tuner.sim.log import READY
from tuner.study.engines import set_up
from tuner.study.options import Options
from tuner.study.setup import Setup
from tuner.study.trial import run_trial
from tuner.types import Failed, FailureKind, Measured, Outcome, Underway

pytest.importorskip("ray", reason="no Ray: pip install 'tuner[ray]'")
pytestmark = [
    pytest.mark.ray,
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # Ray's own pipes
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

CARD = simulated_resource("t4")
#: Long enough to be disturbed, and short enough to be waited for.
SLOW = {"warmup": 20.0, "window": 300.0, "max_window": 300.0}
OTHER_JOB = f"""
import ray, sys, time
ray.init(address=sys.argv[1], log_to_driver=False, logging_level="CRITICAL")
@ray.remote(num_cpus=0, resources={{{CARD!r}: 1}})
def hold(path):
    open(path, "a").write("x")
    time.sleep(3600)
held = hold.remote(sys.argv[2])
time.sleep(3600)
"""


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A head without cards, and one node with one."""
    from ray.cluster_utils import Cluster

    os.environ["RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"] = "0"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TUNER_VLLM_PYTHON", "/nowhere/python")  # what every node inherits
        yield from _cluster_of(Cluster)


def _cluster_of(kind: Any) -> Iterator[Any]:
    made = kind(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    conftest._LOOPBACK.add(made.address.rpartition(":")[0])  # this host
    made.add_node(num_cpus=2, resources={CARD: 1})
    yield made
    made.shutdown()


@pytest.fixture(scope="module")
def connected(cluster: Any) -> Iterator[Any]:
    """One connection, which a process can have one of; the tests with their own stand before those with this one."""
    with connection(cluster.address) as ray:
        yield ray


@pytest.fixture(scope="module")
def slots(connected: Any) -> tuple[Slot, ...]:
    """As many as the cluster has cards, and one more."""
    told = list[str]()
    slots = slots_of(connected, wanted(setup()), 2, told.append)
    assert told == ["--parallel 2: the Ray cluster has room for 1 launches at once: the others wait"]
    return slots


@contextmanager
def another_node(cluster: Any) -> Iterator[Any]:
    node = cluster.add_node(num_cpus=2, resources={CARD: 1})
    try:
        yield node
    finally:
        if node in cluster.worker_nodes:
            cluster.remove_node(node)


def setup(**options: float) -> Setup:
    with set_up(Options(engine="sim", gpu="t4", users=2, **options), lambda text: None) as (found, _):  # type: ignore[arg-type]
        return found


def wanted(setup: Setup) -> Wanted:
    known = setup.fingerprint
    return Wanted(
        fingerprint=known,
        model=known.model,
        version=known.engine_version,
        python=setup.launcher.python,
        run=run_trial,
        simulated=CARD,
    )


class Heard:
    """One job, and what is heard of it."""

    def __init__(self, setup: Setup, folder: Path, number: int = 0) -> None:
        self.job = Job(
            launcher=setup.launcher,
            command=setup.launcher.command({}),
            workload=setup.workload,
            gpus=(),
            log=folder / f"trial-{number}.log",
            salt=number,
            underway=self.underway,
        )
        self.launches: list[Launch] = []
        self.phases: list[str] = []
        self.notes: list[str] = []
        self.far: list[tuple[float, Underway]] = []
        self.environments: list[set[str]] = []

    def underway(self, state: Underway) -> None:
        self.far.append((time.monotonic(), state))

    def seen(self, launch: Launch) -> None:
        if not self.launches:
            place = Path(f"/proc/{launch.leader.pid}/environ")
            wait_for(lambda: b"PATH=" in place.read_bytes(), 10)  # it may not have begun yet
            entries = place.read_bytes().split(b"\0")
            self.environments.append({entry.partition(b"=")[0].decode() for entry in entries})
        self.launches.append(launch)

    def run(self, slot: Slot) -> Outcome:
        assert slot.run is not None
        return interrupts.run(slot.run(self.job, self.seen, self.phases.append, self.notes.append))

    @property
    def is_gone(self) -> bool:
        """Whether nothing is left of all its servers."""
        return not any(is_alive(process) for launch in self.launches for process in launch.processes)

    @property
    def worker(self) -> int:
        """The process of Ray that the last launch runs in."""
        return psutil.Process(self.launches[-1].leader.pid).ppid()


def measured(outcome: Outcome) -> Measured:
    assert isinstance(outcome, Measured), outcome
    return outcome


def test_a_cluster_of_another_version_is_told_with_both(cluster: Any) -> None:
    from ray._common.usage.usage_constants import CLUSTER_METADATA_KEY
    from ray._private.ray_constants import KV_NAMESPACE_CLUSTER

    client = importlib.import_module("ray._raylet").GcsClient(address=cluster.address)
    before = client.internal_kv_get(CLUSTER_METADATA_KEY, KV_NAMESPACE_CLUSTER)
    import ray

    other = before.replace(ray.__version__.encode(), b"2.49.1")
    client.internal_kv_put(CLUSTER_METADATA_KEY, other, True, KV_NAMESPACE_CLUSTER)
    try:
        with pytest.raises(
            RunError, match=r"has Ray 2\.49\.1, and tuner runs with Ray \S+: install tuner in the cluster's env"
        ):
            connection(cluster.address).__enter__()
    finally:
        client.internal_kv_put(CLUSTER_METADATA_KEY, before, True, KV_NAMESPACE_CLUSTER)


@pytest.mark.parametrize(
    ("address", "error", "text"),
    [
        ("127.0.0.1:1", RunError, r"no Ray cluster answers at 127\.0\.0\.1:1 \(Connection refused\): start it"),
        ("ray://127.0.0.1:10001", UsageError, "is of a client or of the dashboard: give HOST:PORT of the head node"),
        ("head", UsageError, "'head' is no address of a Ray cluster: give HOST:PORT"),
        ("::1:6379", UsageError, "'::1:6379' is no address of a Ray cluster"),
        ("127.0.0.1:\u0666", UsageError, "is no address of a Ray cluster"),
        ("127.0.0.1:" + "1" * 5000, UsageError, "is no address of a Ray cluster"),
        ("a..b:6379", RunError, r"no Ray cluster answers at a\.\.b:6379 \("),
    ],
)
def test_an_address_without_a_cluster_is_one_sentence(address: str, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        connection(address).__enter__()


def test_without_ray_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UsageError, match=r"pip install 'tuner\[ray\]'"):
        connection("auto").__enter__()


def test_ray_leaves_our_signals_and_output_alone(cluster: Any, capfd: pytest.CaptureFixture[str]) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with connection(cluster.address) as ray:
        assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before

        @ray.remote(max_retries=0)  # type: ignore[untyped-decorator]
        def dies() -> None:
            os.kill(os.getpid(), signal.SIGKILL)

        with pytest.raises(ray.exceptions.WorkerCrashedError):
            ray.get(dies.remote())
        time.sleep(1)  # its messages come later
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
    assert capfd.readouterr() == ("", "")


def test_a_node_without_vllm_is_told_once_and_by_its_address(connected: Any) -> None:
    found = setup()
    real = replace(wanted(found), simulated=None, python=Path("/nowhere/python"))
    with pytest.raises(RunError, match=r"no node .* can run the study: node \S+ is left out: it has no vLLM: "):
        slots_of(connected, real, None, print)


def test_a_card_that_no_node_has_is_told_with_those_that_are_there(connected: Any) -> None:
    found = setup()
    real = replace(wanted(found), simulated=None, cards=("Tesla T4",))
    with pytest.raises(RunError, match="no node of the Ray cluster has 1 x Tesla T4: it has no cards: add such a node"):
        slots_of(connected, real, None, print)
    other = replace(wanted(found), simulated=simulated_resource("h200"))
    with pytest.raises(
        RunError, match="no node of the Ray cluster has 1 of simulated-h200, which a server takes: start"
    ):
        slots_of(connected, other, None, print)


def test_which_cards_a_cluster_has_is_asked_where_ray_has_some(cluster: Any, connected: Any) -> None:
    node = cluster.add_node(num_cpus=1, num_gpus=1)
    try:
        names, unfit = cards_there(connected, Sought(model="hub/model", cards=("Tesla T4",)))
    finally:
        cluster.remove_node(node)
    assert names == []
    assert len(unfit) == 1
    assert "is left out: it has no vLLM: TUNER_VLLM_PYTHON names /nowhere/python, which is no file" in unfit[0]


def test_jobs_run_on_the_nodes_and_all_of_them_comes_back(
    cluster: Any, slots: tuple[Slot, ...], tmp_path: Path
) -> None:
    found = setup()
    with another_node(cluster):
        heard = [Heard(found, tmp_path, number) for number in range(2)]
        with Pool(slots) as pool:
            outcomes = [future.result(120) for future in [pool.submit(one.run) for one in heard]]
    for one, outcome in zip(heard, outcomes, strict=True):
        assert (measured(outcome).load.output_throughput or 0) > 0
        assert READY in one.job.log.read_text()
        assert one.job.log == one.launches[0].log
        assert one.launches[0].host == cluster.address.rpartition(":")[0]
        assert any("starting vLLM (node " in phase for phase in one.phases)
        assert one.notes == []
        assert one.far
        assert all(later - earlier > 0.5 for (earlier, _), (later, _) in zip(one.far, one.far[1:], strict=False))
        assert one.is_gone
        [names] = one.environments
        assert "PATH" in names
        assert not {name for name in names if name.startswith("RAY_")}
        assert "OMP_NUM_THREADS" not in names or "OMP_NUM_THREADS" in os.environ


def test_a_worker_that_dies_takes_its_server_along_and_the_trial_is_launched_again(
    slots: tuple[Slot, ...], tmp_path: Path
) -> None:
    found = setup()
    with Pool(slots) as pool:
        heard = Heard(found, tmp_path)
        future = pool.submit(heard.run)
        wait_for(lambda: bool(heard.launches))
        first = heard.launches[:]
        os.kill(heard.worker, signal.SIGKILL)
        wait_for(lambda: not any(is_alive(process) for launch in first for process in launch.processes), 20)
        assert (measured(future.result(120)).load.output_throughput or 0) > 0
        [note] = heard.notes
        assert "Ray's worker on node" in note
        assert note.endswith("died: the trial is launched again elsewhere (1 of 2)")
    assert heard.is_gone


def test_a_node_that_is_lost_costs_the_launch_and_not_the_trial(
    cluster: Any, slots: tuple[Slot, ...], tmp_path: Path
) -> None:
    found = setup(**SLOW)
    holder = subprocess.Popen([sys.executable, "-c", OTHER_JOB, cluster.address, str(tmp_path / "held")])
    try:
        wait_for(lambda: (tmp_path / "held").exists())
        with Pool(slots) as pool:
            heard = Heard(found, tmp_path)
            future = pool.submit(heard.run)
            wait_for(lambda: any("waiting for the Ray cluster" in phase for phase in heard.phases))
            assert f"1 of 1 {CARD} in use, also by job " in heard.phases[-1]
            assert f"process {holder.pid} on " in heard.phases[-1]
            with another_node(cluster) as node:
                wait_for(lambda: bool(heard.launches))
                cluster.remove_node(node, allow_graceful=False)
                first = heard.launches[:]
                wait_for(lambda: not any(is_alive(process) for one in first for process in one.processes), 30)
                holder.kill()
                wait_for(lambda: len(heard.launches) > len(first))
                assert "was lost: the trial is launched again elsewhere" in heard.notes[0]
            future.cancel()
    finally:
        holder.kill()
        holder.wait()
    assert heard.is_gone  # the pool was left in the middle of the second one


def test_a_trial_whose_worker_always_dies_is_nobodys_settings_fault(slots: tuple[Slot, ...], tmp_path: Path) -> None:
    found = setup(**SLOW)
    with Pool(slots) as pool:
        heard = Heard(found, tmp_path)
        future = pool.submit(heard.run)
        killed = set[int]()
        for _ in range(3):
            wait_for(lambda: bool(heard.launches) and heard.launches[-1].leader.pid not in killed)
            killed.add(heard.launches[-1].leader.pid)
            os.kill(heard.worker, signal.SIGKILL)
        outcome = future.result(60)
    assert isinstance(outcome, Failed)
    assert outcome.kind is FailureKind.HOST
    assert not outcome.kind.is_of_the_settings
    assert "and so it was 3 times" in outcome.message
    assert len(heard.notes) == 2
    wait_for(lambda: heard.is_gone, 20)


def test_what_is_cancelled_leaves_no_task_and_no_server(slots: tuple[Slot, ...], tmp_path: Path) -> None:
    import ray

    found = setup(**SLOW)
    heard = [Heard(found, tmp_path, number) for number in range(2)]
    with Pool(slots) as pool:
        futures = [pool.submit(one.run) for one in heard]  # one runs, one waits for the card
        wait_for(lambda: any(one.launches for one in heard))
        wait_for(lambda: any("waiting" in phase for one in heard for phase in one.phases))
    assert all(isinstance(future.exception(), asyncio.CancelledError) for future in futures)
    assert all(one.is_gone for one in heard)
    wait_for(lambda: ray.available_resources().get(CARD) == 1.0, 10)


def test_a_coordinator_that_is_killed_leaves_nothing(cluster: Any, tmp_path: Path) -> None:
    """By SIGKILL: nobody cancels anything."""
    script = (
        "import sys; sys.path[:0] = sys.argv[1:3]\n"
        "from pathlib import Path\n"
        "import test_ray_cluster as t\n"
        "t.run_and_say(sys.argv[3], Path(sys.argv[4]))\n"
    )
    tests = Path(__file__).parents[1]
    words = [sys.executable, "-c", script, str(tests), str(tests / "execute"), cluster.address, str(tmp_path)]
    pids = tmp_path / "pids"
    with subprocess.Popen(words) as coordinator:
        wait_for(lambda: pids.exists() or coordinator.poll() is not None)
        servers = [psutil.Process(int(pid)) for pid in pids.read_text().split()]
        assert (
            len(servers) >= 2
        )  # the guard and what it guards: Ray ends the first, and then nobody would end the second
        coordinator.kill()
    wait_for(lambda: not any(server.is_running() and server.status() != "zombie" for server in servers), 30)


def run_and_say(address: str, folder: Path) -> None:
    """In a process of its own: the pids of a server that is under load go to a file."""
    conftest._LOOPBACK.add(address.rpartition(":")[0])
    found = setup(**SLOW)
    heard = Heard(found, folder)

    def underway(state: Underway) -> None:
        processes = members(heard.launches[-1].leader.pid)
        (folder / "new").write_text(" ".join(str(process.pid) for process in processes))
        (folder / "new").rename(folder / "pids")

    with connect(address, wanted(found), 1, print) as slots:
        assert slots[0].run is not None
        asyncio.run(slots[0].run(replace(heard.job, underway=underway), heard.seen, print, print))
