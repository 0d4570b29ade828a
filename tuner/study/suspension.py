"""A block of measuring in; LaunchError out where tuner itself was stopped for a while in it: its times are worth nothing."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from tuner.errors import LaunchError
from tuner.types import Failed, FailureKind


@asynccontextmanager
async def never_suspended() -> AsyncIterator[None]:
    """Raises LaunchError after the block if tuner was stopped in it, by Ctrl-Z or the like, while the server went on."""
    woken: list[int] = []
    loop = asyncio.get_running_loop()
    with suppress(ValueError, RuntimeError):  # not in the main thread, which alone gets signals
        loop.add_signal_handler(signal.SIGCONT, woken.append, signal.SIGCONT)
    try:
        yield
    except LaunchError:
        if not woken:
            raise
    finally:
        with suppress(ValueError, RuntimeError):
            loop.remove_signal_handler(signal.SIGCONT)
    if woken:
        raise LaunchError(
            Failed(kind=FailureKind.CLIENT_BOUND, message="tuner was suspended while it measured (Ctrl-Z)")
        )
