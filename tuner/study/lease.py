"""Which tuner holds a study and its launches: this process, another that lives, or one that is gone.

Whoever can be seen from here is alive or not. Whoever cannot (another host, a container, a PID namespace) has to be seen to
beat: its beat is watched for a while, so that no two clocks are compared. What was taken from a tuner that lives after all is
fenced off: the database refuses what that one writes of it.
"""

import contextlib
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from tuner.errors import RunError, StorageError, TunerError, UsageError
from tuner.launch.processes import identity, is_alive, is_here
from tuner.record.rows import Holder, Launch
from tuner.record.store import Store
from tuner.types import ProcessId

#: Between two beats of a holder, and how long one that beats not is watched: a beat may wait for a locked database.
BEAT_S = 4.0
WATCHED_S = 20.0
_LOOK_S = 0.5
_MAIN = threading.main_thread().ident or 0


@contextmanager
def holding(store: Store, study: str, note: Callable[[str], None] = lambda _: None) -> Iterator[None]:
    """Hold the study while the block runs, which waits for a database that is away; `note` is told of all that is waited for.
    Raises UsageError if another tuner that lives holds it, RunError in the block once another has taken it."""
    if store.holds(study):
        yield
        return
    while not store.take(study, me(), _gone(store, study, note), datetime.now(UTC)):
        pass
    heart = _Heart(store, study)
    heart.start()
    try:
        with store.patience.waiting(note):
            yield
    except StorageError:
        store.forget(study)  # the end of this process tells
        raise
    except KeyboardInterrupt:
        if not heart.is_lost:
            raise
        store.check_held(study)
        raise RunError(f"study {study!r} was taken over by another tuner, which goes on") from None
    finally:
        heart.stop()
        if store.holds(study):
            with contextlib.suppress(StorageError):
                store.release(study)


def abandoned(store: Store) -> list[Launch]:
    """The launches that nobody saw end, and that can be seen from here, except those of another tuner that is alive."""
    return [
        launch
        for launch in store.open_launches()
        if _is_seen(launch.tuner, launch.host) and not _is_another(launch.tuner)
    ]


def me() -> ProcessId:
    """This process."""
    return identity(os.getpid())


def is_run(store: Store, study: str) -> bool:
    """Whether a tuner runs the study now; one that cannot be seen from here counts as long as it has not said that it ended."""
    return lives(store.holder(study))


def lives(holder: Holder | None) -> bool:
    """The same of who holds a study."""
    if holder is None:
        return False
    return is_alive(holder.process) if _is_seen(holder.process, holder.host) else True


def is_seen(process: ProcessId, host: str) -> bool:
    """Whether it can be told from here whether that process lives."""
    return _is_seen(process, host)


class _Heart(threading.Thread):
    """Beats until it is stopped; when the study is another's, it interrupts the main thread as Ctrl-C does."""

    def __init__(self, store: Store, study: str) -> None:
        super().__init__(name="heartbeat", daemon=True)
        self._store, self._study = store, study
        self._ended = threading.Event()
        self._by_main = threading.current_thread() is threading.main_thread()
        self.is_lost = False

    def run(self) -> None:
        while not self._ended.wait(BEAT_S):
            with contextlib.suppress(TunerError):  # a locked database: the next one
                if not self._store.beat(self._study) and not self._ended.is_set():
                    self.is_lost = True
                    if self._by_main:
                        signal.pthread_kill(_MAIN, signal.SIGINT)
                    return

    def stop(self) -> None:
        self._ended.set()


def _gone(store: Store, study: str, note: Callable[[str], None]) -> Holder | None:
    """Who held the study and is gone, None if nobody did. Raises UsageError if it lives."""
    holder = store.holder(study)
    if holder is None or (holder.process.pid == os.getpid() and is_alive(holder.process)):
        return holder
    if _is_seen(holder.process, holder.host):
        if is_alive(holder.process):
            raise _held(study, holder)
        return holder
    note(f"{_who(holder)} held study {study!r} and did not say that it ended: watched for {WATCHED_S:.0f} s")
    end = time.monotonic() + WATCHED_S
    while time.monotonic() < end:
        time.sleep(_LOOK_S)
        if (now := store.holder(study)) != holder:
            if now is None:
                return None
            raise _held(study, now)
    return holder


def _held(study: str, holder: Holder) -> UsageError:
    since = f", since {holder.since:%Y-%m-%d %H:%M} UTC" if holder.since else ""
    return UsageError(
        f"study {study!r} is being run by another tuner ({_who(holder)}{since}): wait for it, or give this one another --study"
    )


def _who(holder: Holder) -> str:
    return f"process {holder.process.pid} on {holder.host}"


def _is_seen(tuner: ProcessId, host: str) -> bool:
    return is_here(tuner) and (tuner.place is not None or host == socket.gethostname())


def _is_another(tuner: ProcessId) -> bool:
    return tuner.pid != os.getpid() and is_alive(tuner)
