import asyncio
import contextlib
import dataclasses
import resource
import socket
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from faults.server import FaultServer

from tuner.decide.overload import Overload
from tuner.errors import LaunchError, UsageError
from tuner.load.generate import generate_load, learn
from tuner.load.workers import Workers
from tuner.types import Endpoint, FailureKind, Lengths, LoadResult, Workload

QUICK = Workload(
    name="quick",
    api="chat",
    users=4,
    input_tokens=Lengths(low=24, high=32),
    output_tokens=Lengths(low=8, high=12),
    warmup_s=0.1,
    window_s=0.4,
    stall_s=5.0,
    precision=1.0,
)
COMPLETIONS = dataclasses.replace(QUICK, name="completions", api="completions")
PREFIXED = dataclasses.replace(QUICK, name="prefixed", response_prefix="<think>\n", system_prompt="Be brief.")


async def _with_fault(fault: str, workload: Workload, first: int = 0) -> LoadResult:
    async with FaultServer(lambda number: fault if number >= first else None) as server:
        return await server.load(workload)


@pytest.mark.parametrize("workload", [QUICK, COMPLETIONS, PREFIXED], ids=lambda workload: workload.name)
@pytest.mark.parametrize("fault", [None, "split"])
def test_a_whole_stream_is_a_success_with_the_asked_lengths(workload: Workload, fault: str | None) -> None:
    async def run() -> tuple[LoadResult, FaultServer]:
        async with FaultServer(lambda number: fault) as server:
            return await server.load(workload), server

    result, server = asyncio.run(run())
    assert {record.error for record in result.records} == {None}
    by_index = {record.index: record for record in result.records}
    assert len(by_index) == len(result.records)
    for record in result.records:
        assert record.output_tokens == len(record.chunk_times_s)
        assert record.sent_s < record.chunk_times_s[0]
        assert record.chunk_times_s[-1] <= record.ended_s
        assert list(record.chunk_times_s) == sorted(record.chunk_times_s)
        if record.index >= 4:
            assert 8 <= (record.output_tokens or 0) <= 12
            assert 24 <= (record.input_tokens or 0) <= 32
    assert all(body["ignore_eos"] and body["min_tokens"] == body["max_tokens"] for body in server.bodies)


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ("500", 'HTTP 500: {"error": {"message": "engine is dead"}}'),
        ("redirect", "HTTP 307"),
        ("cut", "the connection failed"),
        ("error chunk", "the server reported an error in the stream: EngineCore encountered an issue"),
        ("malformed", "an event is not JSON"),
        ("huge", "longer than 1048576 bytes"),
        ("short", "tokens, asked were"),
        ("abort", "tokens, asked were"),
        ("wrong prompt", "prompt tokens, sent were"),
        ("no usage", "ended without usage"),
        ("broken usage", "not JSON"),
        ("no done", "ended without [DONE]"),
        ("empty", "the stream is empty"),
    ],
)
def test_anything_else_fails_and_says_why(fault: str, says: str) -> None:
    one_length = dataclasses.replace(QUICK, users=1, output_tokens=Lengths(low=3, high=3), seed=2)
    with pytest.raises(LaunchError) as raised:
        asyncio.run(_with_fault(fault, one_length))
    assert raised.value.failed.kind is FailureKind.LOAD_FAILED
    assert says in raised.value.failed.message


STALLING = dataclasses.replace(QUICK, stall_s=0.3, output_tokens=Lengths(low=9, high=9))


def test_a_server_that_sends_nobody_a_byte_has_stalled() -> None:
    with pytest.raises(LaunchError, match=r"for 0\.3 s no byte came for any of the \d+ open ones") as raised:
        asyncio.run(_with_fault("stall", STALLING))
    assert raised.value.failed.kind is FailureKind.STALLED


@pytest.mark.parametrize("fault", ["stall", "mute"])
def test_a_stream_that_stalls_beside_others_fails_alone(fault: str) -> None:
    """After its first tokens, or before them while those that were sent later are answered."""
    lengths = Lengths(low=9, high=9)
    patient = dataclasses.replace(QUICK, users=8, stall_s=2.0, window_s=4.0, output_tokens=lengths)

    async def run() -> None:
        async with FaultServer(lambda number: fault if number in range(20, 24) else None, token_s=0.02) as server:
            await server.load(patient)

    with pytest.raises(LaunchError, match=r"failed; the first: no byte came for 2 s") as raised:
        asyncio.run(run())
    assert raised.value.failed.kind is FailureKind.LOAD_FAILED


def test_failures_only_in_the_window_fail_the_load() -> None:
    with pytest.raises(LaunchError, match=r"of the window's requests failed; the first: .* ended without usage"):
        asyncio.run(_with_fault("no usage", QUICK, first=12))


def test_less_than_one_percent_of_failures_is_reported_not_raised() -> None:
    async def run() -> LoadResult:
        async with FaultServer(lambda number: "no usage" if number == 130 else None) as server:
            return await server.load(dataclasses.replace(QUICK, users=64, window_s=1.0))

    result = asyncio.run(run())
    failed = [record for record in result.records if record.error]
    assert [record.error for record in failed] == ["the stream ended without usage"]
    assert len(result.records) > 100


def test_all_requests_sent_before_the_end_are_recorded_and_observe_encloses_the_window() -> None:
    entered_s = left_s = 0.0

    @contextlib.asynccontextmanager
    async def observe() -> AsyncIterator[None]:
        nonlocal entered_s, left_s
        entered_s = time.perf_counter()
        yield
        left_s = time.perf_counter()

    async def run() -> tuple[LoadResult, int]:
        async with FaultServer() as server:
            result = await server.load(QUICK, observe=observe)
            return result, len(server.bodies)

    result, arrived = asyncio.run(run())
    assert entered_s <= result.window_start_s < result.window_end_s <= left_s
    assert result.window_end_s - result.window_start_s >= QUICK.window_s
    indices = sorted(record.index for record in result.records)
    for user in range(QUICK.users or 0):
        own = [index for index in indices if index % 4 == user]
        assert own == list(range(user, user + 4 * len(own), 4))
    assert len(indices) <= arrived
    assert all(record.sent_s < result.window_end_s for record in result.records)
    assert any(record.ended_s > result.window_end_s for record in result.records)


def test_the_window_of_a_slow_server_grows_up_to_four_times() -> None:
    async def run(token_s: float) -> float:
        async with FaultServer(token_s=token_s) as server:
            result = await server.load(dataclasses.replace(QUICK, window_s=0.2))
            return result.window_end_s - result.window_start_s

    assert asyncio.run(run(0.025)) > 0.3
    assert asyncio.run(run(0.3)) >= 0.8


def test_a_request_is_not_given_up_while_bytes_flow() -> None:
    """Answers of 3 s, a window of 0.1 s and a stall_s of 1 s: the load is held until they have ended."""

    async def run() -> LoadResult:
        async with FaultServer(token_s=0.3) as server:
            return await server.load(dataclasses.replace(QUICK, window_s=0.1, stall_s=1.0))

    result = asyncio.run(run())
    assert {(record.error, record.censored) for record in result.records} == {(None, False)}
    assert max(record.ended_s for record in result.records) > result.window_end_s + 1.5


def test_what_takes_far_longer_than_others_is_censored_and_its_tokens_count() -> None:
    """A server that does not heed the length that is asked for may never end."""
    lengths = Lengths(low=9, high=9)
    quick = dataclasses.replace(QUICK, users=8, stall_s=1.5, window_s=1.0, output_tokens=lengths)

    async def run() -> LoadResult:
        async with FaultServer(lambda number: "endless" if number == 20 else None, token_s=0.02) as server:
            return await server.load(quick)

    result = asyncio.run(run())
    (cut,) = [record for record in result.records if record.censored]
    assert cut.error is None
    assert cut.output_tokens == len(cut.chunk_times_s) > 9
    assert cut.ended_s > result.window_end_s + 0.5


def test_requests_that_wait_in_a_queue_are_not_silent() -> None:
    """Two of eight users are served at once: the others wait for longer than stall_s without a byte, in their order."""
    queue = dataclasses.replace(QUICK, users=8, stall_s=1.5, window_s=0.5, output_tokens=Lengths(low=40, high=40))

    async def run() -> LoadResult:
        async with FaultServer(token_s=0.02, at_once=2) as server:
            return await server.load(queue)

    result = asyncio.run(run())
    assert max(record.chunk_times_s[0] - record.sent_s for record in result.records) > 2.0
    assert {record.error for record in result.records} == {None}


#: Ten requests a second for a server that serves four, one after another.
CROWDED = dataclasses.replace(
    COMPLETIONS, users=None, request_rate=10.0, output_tokens=Lengths(low=10, high=10), warmup_s=0.5, window_s=2.0
)


def _crowd(overload: Overload) -> LoadResult:
    async def run() -> LoadResult:
        async with FaultServer(token_s=0.025, at_once=1) as server:
            return await server.load(CROWDED, overloads=[overload])

    return asyncio.run(run())


def test_a_load_is_ended_once_more_requests_wait_for_longer_than_its_slo_allows() -> None:
    """Of those of the first two seconds, which are 20, eight have begun after two, and twelve after three."""
    overload = Overload(slo="ttft_p99", state="waiting", longer_s=1.0, requests=4)
    began_s = time.perf_counter()
    with pytest.raises(
        LaunchError, match=r"^\d+ requests at once waited for more than 4 times the limit of ttft_p99$"
    ) as raised:
        _crowd(overload)
    assert raised.value.failed.kind is FailureKind.LOAD_FAILED
    assert 1.0 < time.perf_counter() - began_s < 6.0


@pytest.mark.parametrize("changes", [{"longer_s": 30.0}, {"requests": 1000}])
def test_a_load_whose_requests_may_wait_is_measured_to_its_end(changes: dict[str, Any]) -> None:
    overload = Overload(slo="e2e_p99", state="open", longer_s=0.1, requests=4)
    found = _crowd(dataclasses.replace(overload, **changes))
    assert found.window_end_s - found.window_start_s >= CROWDED.window_s


def test_a_load_that_failed_leaves_no_request_behind_and_the_next_one_is_whole() -> None:
    async def run() -> tuple[int, LoadResult]:
        async with FaultServer(lambda number: "mute" if number < 4 else None) as server, Workers(1) as workers:
            target = server.endpoint(Path("log"))
            recipe = await learn(target, dataclasses.replace(QUICK, stall_s=0.5))
            with pytest.raises(LaunchError, match="no byte came"):
                await generate_load(target, recipe, workers)
            await asyncio.sleep(0.1)
            return server.open, await generate_load(target, recipe, workers)

    left, result = asyncio.run(run())
    assert left == 0
    assert {record.error for record in result.records} == {None}


def test_a_dead_server_process_is_a_crash() -> None:
    alive = iter([True, True])

    async def run() -> None:
        async with FaultServer() as server:
            slow = dataclasses.replace(QUICK, warmup_s=30.0)
            await server.load(slow, server_alive=lambda: next(alive, False))

    with pytest.raises(LaunchError) as raised:
        asyncio.run(run())
    assert raised.value.failed.kind is FailureKind.CRASHED


def test_nobody_listening_fails_at_once() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{probe.getsockname()[1]}"
        endpoint = Endpoint(base_url=url, model="demo", sessions=(0,), startup_s=0.0, log=Path("log"))
        with pytest.raises(LaunchError, match=r"/detokenize failed: .*[Cc]onnect"):
            asyncio.run(learn(endpoint, QUICK))


def test_cancelling_closes_every_request() -> None:
    async def run() -> int:
        async with FaultServer(token_s=0.5) as server:
            load = asyncio.create_task(server.load(QUICK))
            while server.open < 4:
                await asyncio.sleep(0.02)
            load.cancel()
            with pytest.raises(asyncio.CancelledError):
                await load
            for _ in range(3000):
                await asyncio.sleep(0.02)
                if server.open == 0:
                    break
            return server.open

    assert asyncio.run(run()) == 0


def test_a_prompt_shorter_than_the_template_is_the_users_error() -> None:
    async def run() -> None:
        async with FaultServer() as server:
            await server.load(dataclasses.replace(QUICK, input_tokens=Lengths(low=4, high=32)))

    with pytest.raises(UsageError, match=r"asks for prompts of 4 tokens, but .* raise input_tokens"):
        asyncio.run(run())


def test_a_connection_that_this_machine_refuses_is_no_failure_of_the_server() -> None:
    """The worker may open 24 files, and 40 users want one each: found while the load runs."""

    async def run() -> None:
        async with FaultServer(token_s=0.05) as server, Workers(1) as workers:
            resource.prlimit(workers._workers[0]._process.pid, resource.RLIMIT_NOFILE, (24, 24))
            target = server.endpoint(Path("log"))
            await generate_load(target, await learn(target, dataclasses.replace(QUICK, users=40)), workers)

    with pytest.raises(
        LaunchError, match="by its own machine, it may open no more files: raise the hard limit"
    ) as raised:
        asyncio.run(run())
    assert raised.value.failed.kind is FailureKind.CLIENT_BOUND
