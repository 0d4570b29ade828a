"""Who holds a study: seen where it can be seen, watched where not; whoever was taken for dead and lives is fenced off."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import optuna
import pytest
from record_samples import COMMAND, NOW, STUDY, a_trial
from waiting import wait_for

from tuner.errors import RunError, StorageError, UsageError
from tuner.propose.storage import storage
from tuner.record.store import Store
from tuner.study import lease
from tuner.study.deleting import delete, not_left_empty
from tuner.study.lease import holding, me
from tuner.types import ProcessId, Proposal, Resolved

HOLD = (
    "import sys, time\n"
    "from tuner.record.store import Store\n"
    "from tuner.study import lease\n"
    "lease.BEAT_S, lease.WATCHED_S = 0.2, float(sys.argv[2])\n"
    "try:\n"
    "    with lease.holding(Store.open(sys.argv[1]), 'a study', lambda told: print(told, flush=True)):\n"
    "        print('held', flush=True)\n"
    "        time.sleep(60)\n"
    "except Exception as error:\n"
    "    print(error, flush=True)\n"
)
#: Another container on this host: the same kernel, files and host name, pids of its own.
CONTAINER = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]


@pytest.fixture
def store(storage_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    monkeypatch.setattr(lease, "BEAT_S", 0.2)
    monkeypatch.setattr(lease, "WATCHED_S", 2.0)
    opened = Store.open(storage_url)
    opened.create_or_get_study(STUDY)
    yield opened
    opened.close()


@contextmanager
def another(store: Store, *inside: str, watched_s: float = 4.0) -> Iterator["subprocess.Popen[str]"]:
    command = [*inside, sys.executable, "-c", HOLD, store.url, str(watched_s)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as other:
        try:
            yield other
        finally:
            other.kill()


def said(other: "subprocess.Popen[str]") -> str:
    assert other.stdout
    return other.stdout.readline().strip()


def in_containers() -> None:
    done = subprocess.run([*CONTAINER, "true"], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no PID namespace: {done.stderr.strip()}")


def test_two_containers_do_not_hold_one_study(store: Store) -> None:
    """Both are process 1 or the like of one host name; the second is told who holds it, and takes it when that was killed."""
    in_containers()
    with another(store, *CONTAINER) as first:
        assert said(first) == "held"
        with another(store, *CONTAINER) as second:
            assert "did not say that it ended: watched" in said(second)
            assert "is being run by another tuner (process 1 on " in said(second)
        with pytest.raises(UsageError, match="is being run by another tuner"), holding(store, "a study"):
            pass
        first.kill()
        first.wait()
    told: list[str] = []
    with holding(store, "a study", told.append):
        assert "watched for 2 s" in told[0]


def test_a_tuner_of_another_host_is_watched_and_a_dead_one_replaced(store: Store) -> None:
    elsewhere = ProcessId(me().pid, me().started_s, "another boot/pid:[1]")
    assert store.take("a study", elsewhere, None, NOW)
    began = time.monotonic()
    store.forget("a study")
    with holding(store, "a study"):
        assert time.monotonic() > began + lease.WATCHED_S
    assert store.holder("a study") is None


def test_who_was_taken_for_dead_and_lives_is_fenced_off_and_ends(store: Store, storage_url: str) -> None:
    """As after a container was paused: nothing that it writes is taken, and it stops by itself."""
    other = Store.open(storage_url)
    resolved = Resolved(settings={}, digest="d")
    store.begin("a study", Proposal(number=0, params={}, is_default=True), COMMAND, resolved, NOW)

    def run_until_taken() -> None:
        with holding(store, "a study"):
            assert other.take("a study", ProcessId(1, 1.0, "elsewhere"), store.holder("a study"), NOW)
            with pytest.raises(StorageError, match="was taken over by another tuner"):
                store.finish("a study", a_trial(0))
            with pytest.raises(StorageError, match="was taken over"):
                store.begin("a study", Proposal(number=1, params={}, is_default=False), COMMAND, resolved, NOW)
            with pytest.raises(StorageError, match="was taken over"):
                store.begin_contest("a study", [0], 2, NOW)
            time.sleep(30)

    began = time.monotonic()
    with pytest.raises(
        (RunError, StorageError), match=r"was taken over by another tuner \(process 1 on .*that one goes on"
    ):
        run_until_taken()
    assert time.monotonic() < began + 15  # interrupted by the next beat
    other.finish("a study", a_trial(0))
    assert other.trials("a study") == [a_trial(0)]
    held = other.holder("a study")
    assert held is not None  # the loser does not let it go
    assert held.process.pid == 1
    other.close()


def test_two_that_take_over_at_once_do_not_both_get_it(store: Store, storage_url: str) -> None:
    other = Store.open(storage_url)
    before = store.holder("a study")
    assert other.take("a study", ProcessId(1, 1.0, "elsewhere"), before, NOW)
    assert not store.take("a study", me(), before, NOW)
    other.close()


def test_a_lease_is_kept_while_it_beats(store: Store) -> None:
    with another(store) as first:
        assert said(first) == "held"
        beats = [store.holder("a study")]
        wait_for(lambda: store.holder("a study") != beats[0], 5)


def test_a_study_that_is_held_is_not_deleted_and_one_that_is_not_leaves_nothing(store: Store) -> None:
    store.finish("a study", a_trial(0))
    store.begin_contest("a study", [0], 2, NOW)
    store.create_or_get_study(
        STUDY.__class__(**{name: getattr(STUDY, name) for name in STUDY.__slots__} | {"name": "b"})
    )

    opened = storage(store.url)
    for name in ("a study", "b"):
        optuna.create_study(storage=opened, study_name=name)
    with another(store) as first:
        assert said(first) == "held"
        with pytest.raises(UsageError, match=f"process {first.pid} on"):
            delete(store, "a study")
        assert store.trials("a study") == [a_trial(0)]
    delete(store, "a study")
    assert [study.name for study in store.studies()] == ["b"]
    assert optuna.get_all_study_names(storage=opened) == ["b"]
    with pytest.raises(UsageError, match="has no study 'a study'"):
        delete(store, "a study")
    with pytest.raises(RuntimeError), not_left_empty(store, "b"):
        raise RuntimeError
    assert store.studies() == []
    opened.remove_session()
    opened.engine.dispose()
