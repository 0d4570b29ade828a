"""A call on a database whose server may be away in; what it returns once the server is back, out.

A server is away while it restarts, fails over, only reads, cannot be reached, or has no connection left. What it refuses
otherwise (a password, a database that is not there, a full disk) stays so and is raised at once; so is a locked SQLite file,
which SQLite has waited for already. It knows errors by what psycopg says of them, wherever SQLAlchemy, Optuna or tuner have
wrapped them.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from tuner import interrupts

Found = TypeVar("Found")

#: How long the database of a running study may be away.
AWAY_S = 600.0
#: Between two attempts, at first and at most.
_LOOK_S = (0.2, 2.0)
#: SQLSTATEs (https://www.postgresql.org/docs/current/errcodes-appendix.html): a server that ends or begins, has no connection
#: left, or gave way to another transaction. All of class 08 are lost connections.
_AWAY = frozenset({"57P01", "57P02", "57P03", "53300", "40001", "40P01"})
#: What only reads: a standby, or a primary that has become one.
STANDBY = "25006"
#: What a server that is there says, without a SQLSTATE, of a connection that it will never take.
_REFUSED = (
    "authentication failed",
    "does not exist",
    "no pg_hba.conf entry",
    "permission denied",
    "no password supplied",
)


class Patience:
    """Of one study. Whoever is `waiting` waits, from any thread; nobody else does. `tell` is told of each time it is away."""

    def __init__(self) -> None:
        self._tell: Callable[[str], None] = lambda text: None
        self._away_s = 0.0
        self._lock = threading.Lock()
        self._since_s: float | None = None
        self._calls = threading.local()

    @property
    def is_again(self) -> bool:
        """Whether what this thread calls was called before, and lost: it may have been done all the same."""
        return bool(getattr(self._calls, "is_again", False))

    @contextmanager
    def waiting(self, tell: Callable[[str], None], away_s: float | None = None) -> Iterator[None]:
        """Wait during the block, each time for as long as `away_s`, or else AWAY_S."""
        before = self._tell, self._away_s
        self._tell, self._away_s = tell, AWAY_S if away_s is None else away_s
        try:
            yield
        finally:
            self._tell, self._away_s = before

    def of(self, call: Callable[[], Found]) -> Found:
        """What `call` returns, which is called again while the server is away (see `is_again`). Raises what it
        raises, at once where nobody waits, where it is nothing that passes, and after Ctrl-C."""
        began_s, look_s, is_again = time.monotonic(), _LOOK_S[0], False
        while True:
            outer, self._calls.is_again = self.is_again, is_again or self.is_again
            try:
                found = call()
            except Exception as error:
                left_s = self._away_s - (time.monotonic() - began_s)
                if left_s <= 0 or interrupts.was_heard() or (why := reason(error)) is None:
                    raise
                is_again = True
                self._is_away(why)
            else:
                if is_again:
                    self._is_back()
                return found
            finally:
                self._calls.is_again = outer
            time.sleep(min(look_s, left_s))
            look_s = min(2 * look_s, _LOOK_S[1])

    def _is_away(self, why: str) -> None:
        with self._lock:
            if self._since_s is not None:
                return
            self._since_s = time.monotonic()
        self._tell(f"the database does not answer ({why}): waited for, up to {self._away_s / 60:.3g} min")

    def _is_back(self) -> None:
        with self._lock:
            since_s, self._since_s = self._since_s, None
        if since_s is not None:
            self._tell(f"the database is back after {time.monotonic() - since_s:.0f} s, and the study goes on")


def reason(error: BaseException | None) -> str | None:
    """Why the server is away, in its words, where that is what is behind the error; never a password. None where it is not."""
    while error is not None:
        if type(error).__module__.partition(".")[0] == "psycopg":
            return _of_psycopg(error)
        error = error.__cause__ or error.__context__
    return None


def _of_psycopg(error: BaseException) -> str | None:
    state = getattr(error, "sqlstate", None)
    text = str(error)
    if state == STANDBY:
        return "it is a standby"
    if state is not None:
        return f"SQLSTATE {state}" if state in _AWAY or state.startswith("08") else None
    names = {kind.__name__ for kind in type(error).__mro__}
    if "OperationalError" not in names or any(one in text for one in _REFUSED):
        return None
    return "it refuses connections" if "refused" in text else "the connection to it is lost"
