import os
import subprocess
import sys
import time
from collections.abc import Iterator

import psutil
import pytest
from waiting import wait_for

from tuner.measure.cpu import CpuSampler, cpu_seconds

BUSY = "import time\nprint(flush=True)\nwhile True: pass"


@pytest.fixture
def busy() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([sys.executable, "-c", BUSY], stdout=subprocess.PIPE, start_new_session=True) as process:
        assert process.stdout
        process.stdout.readline()
        yield process
        process.kill()


def test_a_busy_session_uses_cores(busy: subprocess.Popen[bytes]) -> None:
    with CpuSampler([busy.pid]) as sampler:
        used = sum(cpu_seconds(busy.pid).values())
        while sum(cpu_seconds(busy.pid).values()) < used + 0.3:
            time.sleep(0.05)
    cores = sampler.mean_cores()
    assert cores is not None
    assert 0 < cores < 1.5


def test_a_session_that_ended_has_no_number(busy: subprocess.Popen[bytes]) -> None:
    with CpuSampler([busy.pid]) as sampler:
        busy.kill()
        busy.wait()
    assert sampler.mean_cores() is None


def test_only_the_session_is_counted(busy: subprocess.Popen[bytes]) -> None:
    assert {pid for pid, _ in cpu_seconds(busy.pid)} == {busy.pid}
    assert os.getpid() in {pid for pid, _ in cpu_seconds(os.getsid(0))}


def test_a_process_group_of_its_own_within_the_session_counts() -> None:
    """A server is in such a group: its guard leads the session."""
    code = f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {BUSY!r}], process_group=0)"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, start_new_session=True) as leader:
        assert leader.stdout
        leader.stdout.readline()
        child, before = psutil.Process(leader.pid).children()[0], sum(cpu_seconds(leader.pid).values())
        wait_for(lambda: sum(cpu_seconds(leader.pid).values()) > before + 0.1)
        child.kill()


def test_who_was_busy_and_when(busy: subprocess.Popen[bytes]) -> None:
    """A process without a title of vLLM's is the API server; by its pid as by its session."""
    for sampler in (CpuSampler([busy.pid]), CpuSampler(pids=[busy.pid])):
        with sampler:
            used = sum(cpu_seconds(busy.pid).values())
            while sum(cpu_seconds(busy.pid).values()) < used + 0.2:
                time.sleep(0.05)
        cores, seconds = sampler.cores(), sampler.seconds()
        assert cores.api_server_max == pytest.approx(sampler.mean_cores())
        assert (cores.api_servers, cores.engine_core, cores.worker_max) == (1, None, None)
        assert cores.host_cores is not None
        assert cores.host_busy is not None
        assert 0 < cores.host_busy <= 1
        assert seconds[0].server == 0.0
        assert seconds[-1].server >= 0.2 - 1e-9  # a difference of sums
        assert [one.engine_core for one in seconds] == [None] * len(seconds)


def test_nobody_is_nobody() -> None:
    with CpuSampler(pids=[2**22 + 1]) as sampler:
        pass
    assert sampler.mean_cores() is None
    assert sampler.cores().api_servers is None
    assert sampler.seconds() == []
