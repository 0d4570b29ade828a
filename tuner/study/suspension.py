"""A block of measuring in; LaunchError out where tuner itself was stopped for a while in it: its times are worth nothing."""

from collections.abc import Iterator
from contextlib import contextmanager

from tuner.errors import LaunchError
from tuner.interrupts import times_woken
from tuner.types import Failed, FailureKind


@contextmanager
def never_suspended() -> Iterator[None]:
    """Raises LaunchError after the block if tuner was stopped in it, by Ctrl-Z or the like, while the server went on."""
    before = times_woken()
    try:
        yield
    except LaunchError:
        if times_woken() == before:
            raise
    if times_woken() > before:
        raise LaunchError(
            Failed(kind=FailureKind.CLIENT_BOUND, message="tuner was suspended while it measured (Ctrl-Z)")
        )
