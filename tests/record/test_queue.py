"""The queue, on each kind of database: whose turn it is, who runs what, and what a service that is gone leaves."""

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest
from record_samples import NOW, STUDY

from tuner.record.deleting import delete_rows
from tuner.record.queue import CANCELLED, FAILED, FINISHED, PAUSED, QUEUED, RUNNING, Job, Queue
from tuner.record.store import Store
from tuner.types import ProcessId

ME, OTHER = ProcessId(11, 1.5, "here/pid:[1]"), ProcessId(12, 2.5, "here/pid:[1]")


@pytest.fixture
def store(storage_url: str) -> Iterator[Store]:
    opened = Store.open(storage_url)
    yield opened
    opened.close()


@pytest.fixture
def queue(store: Store) -> Queue:
    return Queue(store)


def add(queue: Queue, study: str, card: str = "t4") -> Job:
    job = queue.add(study, {"gpu": card, "slo": ["ttft_p99=1s"]}, card, "ann", NOW)
    assert job is not None
    return job


def claimed(queue: Queue, me: ProcessId = ME) -> Job:
    job = queue.claim(me, NOW)
    assert job is not None
    return job


def test_a_job_comes_back_as_it_was_asked_for(queue: Queue) -> None:
    job = add(queue, "a")
    assert queue.job("a") == job
    assert queue.jobs(["a", "b"]) == {"a": job}
    assert (job.state, job.asked, job.asked_by, job.asked_at) == (
        QUEUED,
        {"gpu": "t4", "slo": ["ttft_p99=1s"]},
        "ann",
        NOW,
    )
    assert (job.runner, job.child, job.wish, job.deaths, job.message) == (None, None, None, 0, None)
    assert len(job.token) == 16


def test_a_study_has_one_job_until_that_failed_or_was_cancelled(queue: Queue) -> None:
    first = add(queue, "a")
    assert queue.add("a", {}, "t4", "bob", NOW) is None
    assert not queue.forget("a")
    assert queue.change("a", [QUEUED], CANCELLED, None, NOW) is not None
    assert queue.forget("a")
    assert add(queue, "a").token != first.token


def test_first_in_first_out_and_one_a_card(queue: Queue) -> None:
    for study, card in (("a", "t4"), ("b", "t4"), ("c", "l4")):
        add(queue, study, card)
    assert [claimed(queue).study, claimed(queue, OTHER).study] == ["a", "c"]
    assert queue.claim(ME, NOW) is None
    first = queue.job("a")
    assert first is not None
    assert queue.end(first, FINISHED, None, NOW)
    assert claimed(queue).study == "b"
    assert queue.counts() == {FINISHED: 1, RUNNING: 2}


def test_what_is_queued_again_keeps_its_place(queue: Queue) -> None:
    add(queue, "a")
    add(queue, "b")
    assert queue.end(claimed(queue), QUEUED, "it goes on", NOW)
    assert claimed(queue).study == "a"


def test_two_services_never_get_one_job(storage_url: str) -> None:
    """Eight threads, each with a connection of its own, want twelve jobs of four cards, and begin each card's first."""
    first = Store.open(storage_url)
    for number in range(12):
        add(Queue(first), f"s{number}", f"card {number % 4}")
    taken: list[str] = []
    end = time.monotonic() + 120

    def take(pid: int) -> None:
        store = Store.open(storage_url)
        while len(taken) < 12 and time.monotonic() < end:
            if (job := Queue(store).claim(ProcessId(pid, 1.0, "x"), NOW)) is not None:
                taken.append(job.study)
                assert Queue(store).end(job, FINISHED, None, NOW)
        store.close()

    threads = [threading.Thread(target=take, args=(pid,)) for pid in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken) == sorted(f"s{number}" for number in range(12))
    for card in range(4):
        assert [study for study in taken if int(study[1:]) % 4 == card] == [f"s{card + 4 * turn}" for turn in range(3)]
    first.close()


def test_who_was_taken_for_dead_writes_nothing(queue: Queue) -> None:
    add(queue, "a")
    mine = claimed(queue)
    assert queue.started(mine, ProcessId(99, 3.25, "here/pid:[1]"))
    now = queue.job("a")
    assert now is not None
    taken = queue.take_over(now, OTHER)
    assert taken is not None
    assert (taken.child, taken.runner and taken.runner.process) == (ProcessId(99, 3.25, "here/pid:[1]"), OTHER)
    assert queue.take_over(now, ME) is None
    assert not queue.started(mine, ME)
    assert queue.beat([mine]) == []
    assert not queue.end(mine, FAILED, "no", NOW)
    (beaten,) = queue.beat([taken])
    assert beaten.runner is not None
    assert beaten.runner.beat == 1
    assert queue.end(taken, PAUSED, None, NOW)
    paused = queue.job("a")
    assert paused is not None
    assert (paused.state, paused.runner, paused.child, paused.began_at) == (PAUSED, None, None, NOW)


def test_a_wish_that_came_meanwhile_is_not_lost(queue: Queue) -> None:
    add(queue, "a")
    mine = claimed(queue)
    assert queue.change("a", [RUNNING], RUNNING, "it pauses", NOW, wish="pause") is not None
    assert not queue.end(mine, QUEUED, None, NOW)
    assert queue.end(replace(mine, wish="pause"), PAUSED, None, NOW)


def test_a_state_is_left_only_from_where_that_is_allowed(queue: Queue) -> None:
    add(queue, "a")
    assert queue.change("a", [PAUSED], QUEUED, None, NOW) is None
    assert queue.change("nope", [QUEUED], PAUSED, None, NOW) is None
    ended = queue.change("a", [QUEUED], CANCELLED, None, NOW)
    assert ended is not None
    assert ended.ended_at == NOW


def test_a_study_that_is_deleted_takes_its_ended_job_with_it(store: Store, queue: Queue) -> None:
    store.create_or_get_study(STUDY)
    for state in (FINISHED, RUNNING):
        add(queue, "a study") if queue.job("a study") is None else None
        queue.change("a study", [QUEUED, FINISHED], state, None, NOW)
        with store.transaction() as session:
            delete_rows(session, store._study_row(session, "a study").id)
        store.create_or_get_study(STUDY)
        assert (queue.job("a study") is None) == (state == FINISHED)


def test_a_job_survives_its_service_being_killed(storage_url: str) -> None:
    Store.open(storage_url).close()
    code = (
        "import os, sys, signal\n"
        "from datetime import UTC, datetime\n"
        "from tuner.record.queue import Queue\n"
        "from tuner.record.store import Store\n"
        "from tuner.study.lease import me\n"
        "queue = Queue(Store.open(sys.argv[1]))\n"
        "queue.add('a', {}, 't4', 'ann', datetime.now(UTC))\n"
        "queue.claim(me(), datetime.now(UTC))\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([sys.executable, "-c", code, storage_url], check=False)
    store = Store.open(storage_url)
    (left,) = Queue(store).in_states(RUNNING)
    taken = Queue(store).take_over(left, ME)
    assert taken is not None
    assert Queue(store).end(taken, QUEUED, None, NOW)
    store.close()
