import asyncio
import subprocess
import sys
from time import perf_counter

from tuner.load.worker import _until


def test_a_schedule_that_is_late_lets_others_have_their_turn() -> None:
    async def run() -> int:
        turns = 0

        async def other() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        task = asyncio.create_task(other())
        for _ in range(100):
            await _until(perf_counter() - 1.0)
        task.cancel()
        return turns

    assert asyncio.run(run()) >= 99


def test_a_time_that_is_to_come_is_waited_for() -> None:
    async def run() -> tuple[float, float]:
        due_s = perf_counter() + 0.05
        await _until(due_s)
        return due_s, perf_counter()

    due_s, now_s = asyncio.run(run())
    assert now_s >= due_s


def test_a_worker_starts_without_what_only_reads_files_for_users() -> None:
    """Every measurement waits for it: pydantic alone would double that."""
    code = "import sys, tuner.load.worker; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "tuner.load.sender" in loaded
    assert not {"pydantic", "numpy", "scipy", "aiohttp", "typer", "yaml"} & set(loaded)
