"""What the user named in; something that can be measured again and again out, as `Side`s.

A side is the URL of a running server, a file for `vllm serve --config`, or a trial of a database, STUDY:TRIAL. A URL is
measured as it runs. The others are launched plainly for each measurement, by the same vLLM, and leave no process behind.
"""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from urllib.parse import urlsplit

from tuner import interrupts
from tuner.bench.comparison import Side, Tell
from tuner.bench.keys import is_here, key_for
from tuner.bench.server_spec import Source, source_of
from tuner.decide.objective import Objective
from tuner.decide.slo import Slo
from tuner.errors import LaunchError, RunError, UsageError
from tuner.launch.card_lock import holding_cards
from tuner.launch.fork_server import ForkServer
from tuner.launch.interpreter import find_python
from tuner.launch.job import Job
from tuner.launch.processes import end_session
from tuner.launch.vllm import Launch
from tuner.load.target import find_target
from tuner.measure.gpu import detect
from tuner.measure.listening import server_pids
from tuner.study.measurement import Watched, measure
from tuner.study.options import Options
from tuner.study.setup import Setup, check_lengths, make_setup
from tuner.study.suspension import never_suspended
from tuner.study.trial import run_trial
from tuner.types import Command, DetectedGpu, Failed, Measured, ProcessId, Underway, Workload
from tuner.types.settings import engines_sharing


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """What both sides are measured with. `gpus` are sampled beside a URL, None: see `gpus_beside`; `model` is the user's word
    for what does not say its model. With `send_key` OPENAI_API_KEY goes to any server, see `key_for`. `objective` and `slos`
    are what the windows have to tell, see `deciding`. `options` are those of the servers that are launched; `underway` is told
    how far a load is."""

    workload: Workload
    slos: tuple[Slo, ...]
    objective: Objective | None = None
    model: str | None
    send_key: bool = False
    gpus: Sequence[int] | None
    options: Options = field(default_factory=Options)
    underway: Callable[[Underway], None] = lambda state: None


def url_side(url: str, conditions: Conditions) -> Side:
    """A running server, which is asked for its model. Raises UsageError, RunError."""
    target = interrupts.run(find_target(url, conditions.model, key_for(url, send=conditions.send_key)))
    gpus = gpus_beside(target.base_url, conditions.gpus, detect())

    async def once(salt: int, phase: Tell) -> Measured:
        with never_suspended():
            return await measure(
                target,
                conditions.workload,
                slos=conditions.slos,
                objectives=(conditions.objective,) if conditions.objective else (),
                watched=Watched(gpus=gpus, pids=pids_beside(target.base_url)),
                salt=salt,
                phase=phase,
                underway=conditions.underway,
            )

    return Side(target.base_url, target.model, once)


def gpus_beside(url: str, given: Sequence[int] | None, detected: Sequence[DetectedGpu]) -> tuple[int, ...]:
    """The GPUs to sample: the given ones, else all of this machine if the URL is on it. Raises UsageError."""
    present = tuple(dict.fromkeys(gpu.index for gpu in detected))
    if given is None:
        return present if is_here(url) else ()
    for index in given:
        if index not in present:
            there = f"NVML sees {', '.join(map(str, present))}" if present else "NVML sees none on this machine"
            raise UsageError(f"--gpu-index {index}: there is no such GPU, {there}")
    return tuple(given)


def pids_beside(url: str) -> tuple[int, ...]:
    """The processes of the vLLM at that URL, if it is on this machine and they can be seen."""
    parts = urlsplit(url)
    return server_pids(parts.port or (443 if parts.scheme == "https" else 80)) if is_here(url) else ()


def sides_of(names: Sequence[str], conditions: Conditions, tell: Tell) -> list[Side]:
    """A side for each name, A first. What cannot be measured at all is found here: UsageError, RunError."""
    detected = detect()
    sources = [
        None if _is_url(name) else source_of(name, conditions.options, conditions.model, detected) for name in names
    ]
    sides = {name: url_side(name, conditions) for name in dict.fromkeys(names) if _is_url(name)}
    launched = [source for source in sources if source is not None]
    if not launched:
        return [sides[name] for name in names]
    python = find_python(conditions.options.vllm_python)
    tell(f"importing vLLM with {python}")
    folder = conditions.options.log_dir.absolute() / f"compare-{datetime.now():%Y%m%d-%H%M%S}"
    with ForkServer(python, launched[0].environment) as engine:
        return [
            sides[name] if source is None else launched_side(name, source, conditions, engine, python, folder / role)
            for name, source, role in zip(names, sources, "AB", strict=True)
        ]


def launched_side(
    name: str, source: Source, conditions: Conditions, engine: ForkServer, python: Path, folder: Path
) -> Side:
    """Asks vLLM whether it takes the settings before anything is launched. Logs go to `folder`."""
    setup = make_setup(source.options, source.space, python, engine.info, detect())
    setup = replace(setup, workload=conditions.workload, slos=conditions.slos)
    arguments = (source.model or setup.launcher.model, *source.flags, *_kept(source.config, folder))
    resolved = engine.resolve(arguments)
    if isinstance(resolved, Failed):
        raise UsageError(f"vLLM refuses {name}: {resolved.message}")
    check_lengths(setup, resolved.settings)
    argv = setup.launcher.command({}).argv
    job = Job(
        launcher=replace(setup.launcher, model=source.served or setup.launcher.model),
        command=command_of((*argv[: argv.index("serve") + 1], *arguments), source),
        workload=conditions.workload,
        gpus=setup.gpus,
        gpu_count=len(setup.gpus) or None,
        log=folder,
        salt=0,
        slos=conditions.slos,
        objectives=(conditions.objective,) if conditions.objective else (),
        wait_for_gpu_s=setup.wait_for_gpu_s,
        underway=conditions.underway,
    )
    numbers = itertools.count(1)

    async def once(salt: int, phase: Tell) -> Measured:
        return await _launch(replace(job, salt=salt, log=folder / f"{next(numbers)}.log"), setup, phase)

    return Side(name, job.launcher.model, once)


def command_of(argv: tuple[str, ...], source: Source) -> Command:
    """Its settings are told only where they say that other engines run beside it, for those of a file are not known."""
    if engines_sharing(source.settings) == 1:
        return Command(argv=argv, environment=source.environment)
    model = argv[argv.index("serve") + 1]
    return Command(argv=argv, model=model, settings=source.settings, environment=source.environment)


def _kept(config: Path | None, folder: Path) -> tuple[str, ...]:
    """The flags of a copy of the file beside the logs, so that all launches read the same. Raises RunError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if config is None:
            return ()
        copy = folder / "config.yaml"
        copy.write_bytes(config.read_bytes())
    except OSError as error:
        raise RunError(f"{folder} cannot be written for the servers' logs: {error.strerror}: see --log-dir") from error
    return "--config", str(copy)


async def _launch(job: Job, setup: Setup, phase: Tell) -> Measured:
    with holding_cards(job.gpus, job.wait_for_gpu_s, phase):
        if setup.caches.is_cold():
            phase("the first start on this host fills the caches; its measurement is discarded")
            await _run(job.discarded(), phase)
            setup.caches.mark_warm()
        return await _run(job, phase)


async def _run(job: Job, phase: Tell) -> Measured:
    """Raises LaunchError; RunError when a process of the server cannot be killed."""
    seen: dict[ProcessId, frozenset[ProcessId]] = {}

    def see(launch: Launch) -> None:
        seen[launch.leader] = launch.processes

    try:
        outcome = await run_trial(job, see, phase, phase)
    finally:
        for leader, processes in seen.items():
            end_session(leader, processes)
    if isinstance(outcome, Failed):
        raise LaunchError(outcome)
    return outcome


def _is_url(name: str) -> bool:
    return "://" in name
