"""Settings in, a vLLM server that is ready out; stopped for certain when the block ends.

It does not know the search space, the load or the database.
"""

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

import aiohttp

from tuner.errors import LaunchError, is_full
from tuner.launch import mps
from tuner.launch.engine import CannotFork, Engine
from tuner.launch.failures import classify
from tuner.launch.host_memory import memory_bytes, oom_kills
from tuner.launch.interpreter import engine_environment
from tuner.launch.process import ProcessGroup
from tuner.launch.scratch import scratch, variables
from tuner.launch.shared_gpu import SharedGpu, spread
from tuner.launch.speculating import cache_of
from tuner.launch.together import Together
from tuner.predict.settings import version_of
from tuner.space.gpus import UNSET
from tuner.space.speculation import said, synthetic
from tuner.types import Command, DetectedGpu, Endpoint, Failed, FailureKind, Params, ProcessId
from tuner.types.settings import flag

LOOPBACK = "127.0.0.1"
#: Between two looks whether the server is ready: a twentieth of the time that it has been starting, within these.
_POLL_S = (0.005, 0.1)
_POLL_SHARE = 0.05
_FIRST_TOKEN_S = 30.0
#: From SIGTERM to SIGKILL. A ready server is gone in 2 s; one that is still loading the model swallows the signal.
_STOP_S = 15.0
_STOP_LOADING_S = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """A server, or one of its engines, that has been started, told before it is used, so that it can be recorded. `leader`
    leads its session, `processes` are all that are known so far, the leader among them; `start` is "plain" or "warm";
    `oom_kills` is how often the kernel had ended a process of this host for want of memory by then. `host` and `gpus` are said
    of another host's."""

    leader: ProcessId
    processes: frozenset[ProcessId]
    start: str
    port: int
    log: Path
    oom_kills: int | None = None
    host: str | None = None
    gpus: tuple[DetectedGpu, ...] = ()


Seen = Callable[[Launch], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class VllmLauncher:
    """How to run `vllm serve` for one study. `quantized_models` maps a quantization to the checkpoint that has it; `caches` are
    the environment variables that say where compiled code is kept, which is no part of the command that is exported, nor is
    the `acceptance` with which servers that speculate are started: how often drafts are accepted where the prompts do not tell
    (a mean acceptance length, or the share accepted up to each position). `shared_gpu` says what memory engines have that share
    a GPU; None where nobody can tell. With `mps` NVIDIA's multi-process service is beneath them."""

    python: Path
    model: str
    fixed: Params = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    caches: Mapping[str, str] = field(default_factory=dict)
    quantized_models: Mapping[str, str] = field(default_factory=dict)
    acceptance: float | tuple[float, ...] | None = None
    startup_timeout_s: float = 900.0
    shared_gpu: SharedGpu | None = None
    mps: bool = False

    def of_version(self, version: str) -> Self:
        """The same for that vLLM."""
        if self.shared_gpu is None:
            return self
        return replace(self, shared_gpu=replace(self.shared_gpu, version=version_of(version)))

    def arguments(self, params: Params) -> tuple[str, ...]:
        """What follows `vllm serve`: the model and every flag. Pure."""
        model, settings = self._passed(params)
        return (model, *(part for name, value in settings.items() for part in flag(name, value)))

    def command(self, params: Params) -> Command:
        """The exact command of a trial, without host and port: what the launch runs is what the export prints."""
        model, settings = self._passed(params)
        return Command(
            argv=(*self.program(), "serve", *self.arguments(params)),
            model=model,
            settings=settings,
            environment=dict(self.environment),
        )

    def _passed(self, params: Params) -> tuple[str, Params]:
        """The model and the arguments that vLLM is given; the choice "none" means that an argument is not passed."""
        asked = {**self.fixed, **params}
        settings = dict(said(spread(asked, self.shared_gpu)))
        if (checkpoint := self.quantized_models.get(str(settings.get("quantization")))) is None:
            return self.model, {name: value for name, value in settings.items() if value != UNSET}
        del settings["quantization"]  # vLLM reads it from the checkpoint; naming another method is refused
        passed = {name: value for name, value in settings.items() if value != UNSET}
        return checkpoint, {**passed, "served_model_name": self.model}

    def program(self) -> tuple[str, ...]:
        """What is run with `serve ...`."""
        script = self.python.parent / "vllm"
        return (str(script),) if script.is_file() else (str(self.python), "-m", "vllm.entrypoints.cli.main")

    def unexported(self, log: Path) -> Mapping[str, str]:
        """The environment variables of a launch that are no part of its command."""
        return self.caches

    def replayed(self, command: Command) -> tuple[str, ...]:
        """The arguments of a launch that are no part of its command: how often vLLM shall accept what it drafts."""
        return tuple(part for item in synthetic(self.acceptance, command.settings).items() for part in flag(*item))

    @asynccontextmanager
    async def launch(
        self, command: Command, log: Path, seen: Seen, engine: Engine | None = None
    ) -> AsyncIterator[tuple[Endpoint, Together]]:
        """Start `command` and yield the endpoint once it is ready: forked from `engine` if there is one, else plainly.

        A server that must not be forked is started plainly. `seen` is called before anything depends on the server, and again
        when it has more processes; where engines share a GPU, also of each of the others. Raises LaunchError with the
        classified failure.
        """
        port, began_s, kills = _free_port(), time.monotonic(), oom_kills()
        groups: list[ProcessGroup] = []
        beneath: list[ProcessGroup] = []
        launches: list[Launch] = []

        def started(group: ProcessGroup, start: str) -> None:
            own = frozenset({group.id})
            launches.append(Launch(leader=group.id, processes=own, start=start, port=port, log=log, oom_kills=kills))
            seen(launches[-1])

        deadline_s = _STOP_LOADING_S
        with ExitStack() as folders:
            try:
                argvs, shared = self._argvs(command, port), dict[str, str]()
                if len(argvs) > 1 and self.mps and not mps.is_running(engine_environment(command.environment)):
                    folder = folders.enter_context(_scratch())
                    environment = {**variables(folder), **self.unexported(log), **command.environment}
                    beneath.append(await mps.start(folder, environment))
                    shared = mps.variables(folder)
                for argv in argvs:
                    folder = folders.enter_context(_scratch())
                    group, start = self._start(argv, command, log, engine, folder, shared, is_first=not groups)
                    groups.append(group)
                    started(group, start)
                for group in beneath:
                    started(group, "plain")
                server = Together(groups, beneath)
                await self._ready(server, launches, seen)
                deadline_s = _STOP_S
                yield self.endpoint(server, launches[0], time.monotonic() - began_s), server
            except asyncio.CancelledError:
                deadline_s = _STOP_LOADING_S  # somebody waits for the end
                raise
            finally:
                await Together(groups, beneath).stop(deadline_s)

    def _argvs(self, command: Command, port: int) -> list[tuple[str, ...]]:
        """The server's, and those of the engines that share its GPUs."""
        beside, more = self.headless(command), self.replayed(command)
        more = (*more, *flag("data_parallel_rpc_port", _free_port())) if beside else more
        address = ("--host", LOOPBACK, "--port", str(port))
        return [(*command.argv, *more, *address), *((*argv, *more) for argv in beside)]

    def headless(self, command: Command) -> tuple[tuple[str, ...], ...]:
        """What runs beside the server."""
        return command.headless

    def _start(
        self,
        argv: tuple[str, ...],
        command: Command,
        log: Path,
        engine: Engine | None,
        scratch: Path,
        shared: Mapping[str, str],
        *,
        is_first: bool,
    ) -> tuple[ProcessGroup, str]:
        environment = {**variables(scratch), **self.unexported(log), **command.environment, **shared}
        environment |= cache_of(command.argv, environment)
        try:
            if is_first:
                log.write_bytes(b"")
            with log.open("ab") as output:
                if engine:
                    with suppress(CannotFork):
                        return engine.fork(argv[argv.index("serve") + 1 :], environment, output), "warm"
                return ProcessGroup.spawn(argv, engine_environment(environment), output, log.parent), "plain"
        except OSError as error:
            message = f"{argv[0]} cannot be started with its log in {log}: {error.strerror}"
            raise _not_made(message, error) from error

    def endpoint(self, server: Together, launch: Launch, startup_s: float) -> Endpoint:
        """A server that is ready."""
        return Endpoint(
            base_url=f"http://{LOOPBACK}:{launch.port}",
            model=self.model,
            sessions=server.sessions,
            startup_s=startup_s,
            log=launch.log,
            start=launch.start,
        )

    async def _ready(self, server: Together, launches: Sequence[Launch], seen: Seen) -> None:
        """Ready means: our processes live and own the port, /health is 200, the model is ours, one token comes back."""
        launch, known, began = launches[0], _Known(launches, seen), time.monotonic()
        base = f"http://{LOOPBACK}:{launch.port}"
        async with aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=_FIRST_TOKEN_S), trust_env=False
        ) as session:
            while not (await _healthy(session, base) and server.owns_port(launch.port)):
                known.look(server)
                if (code := server.exit_code()) is not None:
                    raise LaunchError(failure_of(launch.log, code, launch.oom_kills))
                if (past_s := time.monotonic() - began) > self.startup_timeout_s:
                    raise LaunchError(failure_of(launch.log, None))
                await asyncio.sleep(min(max(_POLL_SHARE * past_s, _POLL_S[0]), _POLL_S[1]))
            await self._first_token(session, base, launch.log)
        known.look(server)

    async def _first_token(self, session: aiohttp.ClientSession, base: str, log: Path) -> None:
        try:
            async with session.get(f"{base}/v1/models") as response:
                served = [entry["id"] for entry in (await response.json())["data"]]
            if self.model not in served:
                raise LaunchError(_not_ready(f"the server serves {', '.join(served)} and not {self.model}", log))
            body = {"model": self.model, "prompt": [1], "max_tokens": 1, "temperature": 0, "ignore_eos": True}
            async with session.post(f"{base}/v1/completions", json=body) as response:
                if response.status != 200 or (await response.json())["usage"]["completion_tokens"] != 1:
                    raise LaunchError(_not_ready(f"the first completion failed with HTTP {response.status}", log))
        except TimeoutError as error:
            text = f"healthy, but the first token did not come within {_FIRST_TOKEN_S:.0f} s"
            raise LaunchError(_not_ready(text, log, FailureKind.STALLED)) from error
        except (aiohttp.ClientError, KeyError, ValueError) as error:
            text = f"healthy, but the first token did not come: {type(error).__name__} {error}"
            raise LaunchError(_not_ready(text, log)) from error


class _Known:
    """Tells `seen` of processes that are new."""

    def __init__(self, launches: Sequence[Launch], seen: Seen) -> None:
        self._launches, self._seen = {launch.leader: launch for launch in launches}, seen

    def look(self, server: Together) -> None:
        for leader, processes in server.members().items():
            launch = self._launches[leader]
            if processes - launch.processes:
                self._launches[leader] = replace(launch, processes=launch.processes | processes)
                self._seen(self._launches[leader])


@contextmanager
def _scratch() -> Iterator[Path]:
    """Raises LaunchError where no folder can be made."""
    with ExitStack() as stack:
        try:
            folder = stack.enter_context(scratch())
        except OSError as error:
            message = f"no temporary folder can be made for the server: {error.strerror} ({error.filename}): see TMPDIR"
            raise _not_made(message, error) from error
        yield folder


def _not_made(message: str, error: OSError) -> LaunchError:
    return LaunchError(Failed(kind=FailureKind.DISK_FULL if is_full(error) else FailureKind.HOST, message=message))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port


async def _healthy(session: aiohttp.ClientSession, base: str) -> bool:
    try:
        async with session.get(f"{base}/health") as response:
            return response.status == 200
    except (aiohttp.ClientError, TimeoutError):
        return False


def failure_of(log: Path, exit_code: int | None, kills_before: int | None = None) -> Failed:
    """Why the server that wrote `log` did not start, or died; `exit_code` is None if it still runs. `kills_before` is how often
    the kernel had ended a process for want of memory when it was started."""
    kills = oom_kills() if kills_before is not None else None
    return classify(
        log.read_text(encoding="utf-8", errors="replace"),
        exit_code,
        oom_killed=kills > kills_before if kills is not None and kills_before is not None else None,
        memory_bytes=memory_bytes(),
    )


def _not_ready(message: str, log: Path, kind: FailureKind = FailureKind.CRASHED) -> Failed:
    return Failed(kind=kind, message=message, log_tail=failure_of(log, 0).log_tail)
