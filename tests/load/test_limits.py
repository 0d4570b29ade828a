import errno
import os
from dataclasses import replace
from math import inf

import pytest

from tuner.load.limits import LOCAL, Limits, local_error, machine_limits, too_much
from tuner.workload.presets import PRESETS

CHAT, OPEN = PRESETS["chat"], PRESETS["open-chat"]
ENOUGH = Limits(files=inf, ports=inf, memory_bytes=inf)


def test_what_a_machine_allows_is_known() -> None:
    limits = machine_limits()
    assert limits.files > 100
    assert limits.ports > 1000
    assert limits.memory_bytes > 1 << 20
    assert too_much(CHAT, 1, limits) is None


@pytest.mark.parametrize(
    ("limits", "says"),
    [
        (
            {"files": 128},
            "300 users need 332 open files in each process of the load generator, and this machine",
        ),
        ({"ports": 299}, "300 users need 300 local ports, and this machine has 299"),
        ({"memory_bytes": 1 << 20}, "300 users need about 0.0 GiB of memory"),
    ],
)
def test_users_that_this_machine_cannot_be_are_found_before_anything_is_launched(
    limits: dict[str, float], says: str
) -> None:
    why = too_much(replace(CHAT, users=300), 1, replace(ENOUGH, **limits))
    assert why is not None
    assert says in why


def test_each_worker_has_files_of_its_own() -> None:
    assert too_much(replace(CHAT, users=300), 4, replace(ENOUGH, files=128)) is None


def test_a_rate_needs_what_the_fastest_server_would_leave_open() -> None:
    fast = replace(OPEN, request_rate=20_000.0)
    assert too_much(OPEN, 1, replace(ENOUGH, files=64)) is None
    assert "20000 requests/s need" in (too_much(fast, 1, replace(ENOUGH, files=1024)) or "")


@pytest.mark.parametrize("code", LOCAL)
def test_an_error_of_this_machine_is_told_with_the_limit_to_raise(code: int) -> None:
    assert LOCAL[code] in (local_error(OSError(code, os.strerror(code))) or "")
    several = OSError(f"Multiple exceptions: [Errno {errno.ECONNREFUSED}] refused, [Errno {code}] {os.strerror(code)}")
    assert LOCAL[code] in (local_error(several) or "")


@pytest.mark.parametrize("code", [errno.ECONNREFUSED, errno.ECONNRESET, errno.EPIPE, errno.ETIMEDOUT])
def test_an_error_of_the_server_is_none_of_this_machine(code: int) -> None:
    assert local_error(OSError(code, os.strerror(code))) is None
