"""The process that works out what studies say: it may be killed, and leaves nothing behind for the interpreter's end."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import closing
from multiprocessing import active_children
from pathlib import Path

import pytest
from retuning import stored_study
from waiting import wait_for

from tuner.record.listing import Stamp, stamps
from tuner.serve.standing import Standings


@pytest.fixture
def stamp(tmp_path: Path) -> Stamp:
    with closing(stored_study(f"sqlite:///{tmp_path / 'tuner.db'}", "mine")) as store:
        return stamps(store, ["mine"])["mine"]


@pytest.fixture
def standings(tmp_path: Path) -> Iterator[Standings]:
    found = Standings(f"sqlite:///{tmp_path / 'tuner.db'}")
    yield found
    found.close()


def managers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if "ExecutorManager" in type(thread).__name__]


def test_killed_while_it_idles_it_is_begun_again(standings: Standings, stamp: Stamp) -> None:
    before = standings.of("mine", stamp)
    assert before is not None
    assert before.best is not None
    (process,) = active_children()
    assert process.pid
    os.kill(process.pid, signal.SIGKILL)
    wait_for(lambda: not managers(), 30)  # it was seen
    standings._known.clear()
    assert standings.of("mine", stamp) == before


def test_closed_it_says_nothing_more_and_no_thread_is_left(standings: Standings, stamp: Stamp) -> None:
    """Python's own end speaks to each such thread, and fails at one that ends just then."""
    assert standings.of("mine", stamp) is not None
    assert managers()
    standings.close()
    assert not managers()
    assert not active_children()
    standings._known.clear()
    assert standings.of("mine", stamp) is None
