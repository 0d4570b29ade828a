"""What tests of real processes share: free ports, servers that answer, conditions that come true, calm moments."""

import functools
import random
import socket
import time
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from typing import ParamSpec

P = ParamSpec("P")


def free_port() -> int:
    """One that nobody else is given before a slow server listens on it: the system itself gives higher ones (32768 and up) to
    whoever asks or connects, and two tests at the same time draw differently."""
    while True:
        port = random.SystemRandom().randrange(20000, 32000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as response:
            return bool(response.status == 200)
    except OSError:
        return False


def wait_for(condition: Callable[[], bool], deadline_s: float = 60) -> None:
    end = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.1)


def in_a_calm_moment(test: Callable[P, None]) -> Callable[P, None]:
    """For a test that bounds a real time from above: it is run again when an assertion fails, at most four times. What a busy
    machine adds to a time differs from one run to the next, what a fault adds does not."""

    @functools.wraps(test)
    def run(*arguments: P.args, **named: P.kwargs) -> None:
        for _ in range(4):
            with suppress(AssertionError):
                return test(*arguments, **named)
        return test(*arguments, **named)

    return run
