import os
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from tuner.measure.cpu import CpuSampler, cpu_seconds

BUSY = "import time\nprint(flush=True)\nwhile True: pass"


@pytest.fixture
def busy() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([sys.executable, "-c", BUSY], stdout=subprocess.PIPE, start_new_session=True) as process:
        assert process.stdout
        process.stdout.readline()
        yield process
        process.kill()


def test_a_busy_group_uses_cores(busy: subprocess.Popen[bytes]) -> None:
    used = sum(cpu_seconds(busy.pid).values())
    with CpuSampler(busy.pid) as sampler:
        while sum(cpu_seconds(busy.pid).values()) < used + 0.3:
            time.sleep(0.05)
    cores = sampler.mean_cores()
    assert cores is not None
    assert 0 < cores < 1.5


def test_a_group_that_ended_has_no_number(busy: subprocess.Popen[bytes]) -> None:
    with CpuSampler(busy.pid) as sampler:
        busy.kill()
        busy.wait()
    assert sampler.mean_cores() is None


def test_only_the_group_is_counted(busy: subprocess.Popen[bytes]) -> None:
    assert {pid for pid, _ in cpu_seconds(busy.pid)} == {busy.pid}
    assert os.getpid() in {pid for pid, _ in cpu_seconds(os.getpgrp())}
