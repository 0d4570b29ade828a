"""Engines that share a GPU, with a real vLLM on the CPU: one port, one page of metrics, one life."""

import asyncio
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import aiohttp
import psutil
import pytest

from tuner.errors import LaunchError
from tuner.launch.fork_server import ForkServer
from tuner.launch.mps import is_running
from tuner.launch.processes import members
from tuner.launch.vllm import Launch, VllmLauncher
from tuner.measure.cpu import CpuSampler
from tuner.measure.server import kv_cache_tokens
from tuner.types import Endpoint, Failed, Params

pytestmark = pytest.mark.engine

TWO: Params = {"engines_per_gpu": 2}


@pytest.fixture(scope="module")
def launcher(engine_python: Path, demo_model: Path) -> VllmLauncher:
    fixed: Params = {"max_model_len": 512, "enforce_eager": True, "kv_cache_memory_bytes": 2**27}
    return VllmLauncher(python=engine_python, model=str(demo_model), fixed=fixed, environment={"OMP_NUM_THREADS": "1"})


@pytest.fixture(scope="module")
def engine(launcher: VllmLauncher) -> Iterator[ForkServer]:
    with ForkServer(launcher.python, launcher.environment) as found:
        yield found


async def _ask(endpoint: Endpoint, count: int) -> None:
    body = {"model": endpoint.model, "prompt": [1, 2, 3], "max_tokens": 8, "ignore_eos": True}

    async def one(session: aiohttp.ClientSession) -> None:
        async with session.post(f"{endpoint.base_url}/v1/completions", json=body) as response:
            assert response.status == 200

    async with aiohttp.ClientSession(trust_env=False) as session:
        await asyncio.gather(*(one(session) for _ in range(count)))


async def _counted(endpoint: Endpoint) -> list[float]:
    """Generated tokens of each engine."""
    async with (
        aiohttp.ClientSession(trust_env=False) as session,
        session.get(f"{endpoint.base_url}/metrics") as response,
    ):
        lines = (await response.text()).splitlines()
    return [float(line.split()[-1]) for line in lines if line.startswith("vllm:generation_tokens_total{")]


def test_they_are_told_apart_in_what_vllm_resolves(launcher: VllmLauncher, engine: ForkServer) -> None:
    one, two = (engine.resolve(launcher.arguments(params)) for params in ({}, TWO))
    assert not isinstance(one, Failed)
    assert not isinstance(two, Failed)
    assert engine.info.lacks(["engines_per_gpu"]) == []
    assert (one.settings["engines_per_gpu"], two.settings["engines_per_gpu"]) == (1, 2)
    assert one.settings["data_parallel_size"] == two.settings["data_parallel_size"] == 1
    assert two.settings["gpu_memory_utilization"] == pytest.approx(one.settings["gpu_memory_utilization"], abs=0.021)
    assert one.digest != two.digest


@pytest.mark.parametrize("warm", [True, False], ids=["forked", "plain"])
def test_both_serve_at_one_port_and_end_together(
    launcher: VllmLauncher, engine: ForkServer, tmp_path: Path, warm: bool
) -> None:
    seen: dict[int, Launch] = {}

    async def run() -> tuple[list[float], int | None, float | None]:
        def record(launch: Launch) -> None:
            seen[launch.leader.pid] = launch

        command, fork = launcher.command(TWO), engine if warm else None
        async with launcher.launch(command, tmp_path / "log", record, fork) as (endpoint, server):
            assert endpoint.sessions == server.sessions
            assert {*seen} == {*server.sessions}
            assert all(len(launch.processes) > 1 for launch in seen.values())
            with CpuSampler(server.sessions) as sampler:
                await _ask(endpoint, 16)
            return await _counted(endpoint), await kv_cache_tokens(endpoint.base_url), sampler.cores().engine_core

    counted, tokens, cores = asyncio.run(run())
    assert len(counted) == 2
    assert min(counted) > 0
    assert sum(counted) == 16 * 8 + 1  # the first token of all
    assert tokens is not None
    assert cores is not None
    text = (tmp_path / "log").read_text()
    assert "EngineCore_DP0" in text
    assert "EngineCore_DP1" in text
    assert {launch.start for launch in seen.values()} == {"warm" if warm else "plain"}
    assert [process for session in seen for process in members(session)] == []


def _pipes(session: int) -> set[str]:
    """Where the processes of a session look for the service; what was forked tells the environment of whoever forked it."""
    found = {process.environ().get("CUDA_MPS_PIPE_DIRECTORY") for process in members(session)}
    return {place for place in found if place}


@pytest.mark.parametrize("warm", [True, False], ids=["forked, without its daemon", "plain, ended"])
def test_the_service_beneath_them_is_theirs_and_ends_with_them(
    mps_control: Path, launcher: VllmLauncher, engine: ForkServer, tmp_path: Path, warm: bool
) -> None:
    over, seen = replace(launcher, mps=True), set[int]()

    async def run() -> tuple[str, int | None]:
        def record(launch: Launch) -> None:
            seen.add(launch.leader.pid)

        fork = engine if warm else None
        async with over.launch(over.command(TWO), tmp_path / "log", record, fork) as (endpoint, server):
            assert len(server.sessions) == 3
            assert {*seen} == {*server.sessions}
            *engines, daemon = server.sessions
            (place,) = _pipes(daemon)
            assert warm or [_pipes(session) for session in engines] == [{place}] * 2
            await _ask(endpoint, 4)
            assert is_running({"CUDA_MPS_PIPE_DIRECTORY": place})
            if warm:
                for process in members(daemon):
                    process.kill()
                end = time.monotonic() + 30
                while server.exit_code() is None and time.monotonic() < end:
                    await asyncio.sleep(0.05)
            return place, server.exit_code()

    place, code = asyncio.run(run())
    assert (code is None) == (not warm)
    assert not Path(place).exists()
    assert [process for session in seen for process in members(session)] == []


def test_one_engine_alone_has_no_service_beneath_it(
    mps_control: Path, launcher: VllmLauncher, engine: ForkServer, tmp_path: Path
) -> None:
    over = replace(launcher, mps=True)

    async def run() -> int:
        async with over.launch(over.command({}), tmp_path / "log", lambda _: None, engine) as (_, server):
            return len(server.sessions)

    assert asyncio.run(run()) == 1


def test_the_death_of_one_is_that_of_the_server(launcher: VllmLauncher, engine: ForkServer, tmp_path: Path) -> None:
    async def run() -> int | None:
        async with launcher.launch(launcher.command(TWO), tmp_path / "log", lambda _: None, engine) as (_, server):
            assert server.exit_code() is None
            for process in members(server.sessions[1]):
                if "EngineCore" in " ".join(process.cmdline()):
                    process.kill()
            end = time.monotonic() + 60
            while server.exit_code() is None and time.monotonic() < end:
                await asyncio.sleep(0.1)
            return server.exit_code()

    assert asyncio.run(run()) is not None


def test_one_that_cannot_start_takes_the_others_with_it(launcher: VllmLauncher, tmp_path: Path) -> None:
    """The second is refused by vLLM: it has no such rank."""
    command, seen = launcher.command(TWO), set[int]()

    class Wrong(VllmLauncher):
        def headless(self, command: object) -> tuple[tuple[str, ...], ...]:
            return (("false",),)

    wrong = Wrong(**{name: getattr(launcher, name) for name in ("python", "model", "fixed", "environment")})

    async def run() -> None:
        async with wrong.launch(command, tmp_path / "log", lambda launch: seen.add(launch.leader.pid)):
            raise AssertionError("it must not become ready")

    with pytest.raises(LaunchError):
        asyncio.run(run())
    assert len(seen) == 2
    assert not any(psutil.pid_exists(pid) and members(pid) for pid in seen)
