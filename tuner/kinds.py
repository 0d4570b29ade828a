"""What the user asked for in; the plan of a study, and who answers for its engine, out: vLLM, a simulation, or recordings.

Only here the three differ. A study on either of the others runs the same loop, and says of everything what it is.
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path

from tuner.caches import Caches
from tuner.clock import VirtualClock
from tuner.decide import parse_slo
from tuner.errors import UsageError
from tuner.fingerprint import unreal_fingerprint
from tuner.launch.engine import Host
from tuner.launch.engine_host import EngineHost
from tuner.launch.interpreter import find_python
from tuner.load.workload import workload_hash
from tuner.measure.gpu import DetectedGpu, detect
from tuner.options import Options, workload_of
from tuner.plan import Plan, choose_space, make_plan, plan_of, vllm_engine
from tuner.replay import ReplayHost, Surface, open_surface
from tuner.sim.engine import SimEngine
from tuner.sim.host import SimHost
from tuner.sim.pacing import pace_of
from tuner.space import SearchSpace, shipped_spaces, space_for

Tell = Callable[[str], None]
Planned = AbstractContextManager[tuple[Plan, Host]]


def planned(options: Options, tell: Tell) -> Planned:
    """Everything that can be found wrong before anything is started is; then a context of the plan and its host. `tell` is told
    what takes time, and what is not real.

    Raises UsageError, EngineError; so does entering it.
    """
    if options.engine == "sim":
        space = choose_space(options, ())
        _check_sheet(space)
        return _simulated(options, space)
    if options.surface is not None:
        surface = open_surface(options.surface)
        tell(surface.describe())
        return _replayed(options, _space_of(surface, options), surface)
    detected = detect()
    return _real(options, choose_space(options, detected), find_python(options.vllm_python), detected, tell)


@contextmanager
def _real(
    options: Options, space: SearchSpace, python: Path, detected: Sequence[DetectedGpu], tell: Tell
) -> Iterator[tuple[Plan, Host]]:
    with EngineHost(python, space.environment) as host:
        tell(f"importing vLLM with {python} ...")
        yield make_plan(options, space, python, host.info, detected), host


@contextmanager
def _simulated(options: Options, space: SearchSpace) -> Iterator[tuple[Plan, Host]]:
    host = SimHost(space.gpu)
    yield simulated_plan(options, space, host), host


@contextmanager
def _replayed(options: Options, space: SearchSpace, surface: Surface) -> Iterator[tuple[Plan, Host]]:
    with ReplayHost(surface, space) as host:
        yield replayed_plan(options, space, surface, host), host


def simulated_plan(options: Options, space: SearchSpace, host: SimHost) -> Plan:
    """Raises UsageError for what cannot be simulated."""
    if unknown := sorted({*space.parameters, *space.fixed} - host.info.arguments):
        raise UsageError(f"the simulated engine does not know {unknown[0]}, which search space {space.name} uses")
    engine = vllm_engine(options, space, Path(sys.executable))
    pace = pace_of(host.shape(engine.model), space, workload_of(options))
    if pace.speed > 1 and any(parse_slo(slo).name.startswith("itl") for slo in options.slo):
        raise UsageError("--slo itl: simulated tokens come in groups, so the gaps between them mean nothing: use tpot")
    card = str(options.space.absolute()) if options.space is not None else space.name
    fingerprint = unreal_fingerprint(
        host.info,
        f"SIMULATED {space.gpu.names[0]}",
        f"simulated, {pace.speed:g} times as fast as time",
        engine.model,
        workload_hash(pace.workload),
    )
    simulated = SimEngine.of(engine, space.gpu, card, pace.speed, options.seed)
    return plan_of(options, space, simulated, pace.workload, fingerprint, _Unused(Path("-")))


def replayed_plan(options: Options, space: SearchSpace, surface: Surface, host: ReplayHost) -> Plan:
    """Nothing is launched, and time passes as it was recorded."""
    workload, clock = workload_of(options), VirtualClock()
    engine = vllm_engine(options, space, Path(sys.executable))
    gpu = surface.header.gpu or (space.gpu.names[0] if space.gpu.names else "the CPU")
    fingerprint = unreal_fingerprint(
        host.info, f"REPLAYED {gpu}", "replayed", surface.header.model or engine.model, workload_hash(workload)
    )
    plan = plan_of(options, space, engine, workload, fingerprint, _Unused(Path("-")))
    return replace(plan, clock=clock, run=surface.runner(clock))


class _Unused(Caches):
    """Nothing is compiled, so nothing is cold."""

    __slots__ = ()

    def is_cold(self) -> bool:
        return False


def _check_sheet(space: SearchSpace) -> None:
    gpu = space.gpu
    if not gpu.names:
        raise UsageError(f"search space {space.name} is for the CPU, and only GPUs are simulated")
    missing = [name for name in ("memory_gib", "bandwidth_gb_per_s") if getattr(gpu, name) is None]
    missing += [] if "fp16" in gpu.tflops else ["tflops: {fp16: ...}"]
    if missing:
        raise UsageError(
            f"search space {space.name} does not say what its card has: add {', '.join(missing)} to its `gpu`"
        )


def _space_of(surface: Surface, options: Options) -> SearchSpace:
    """The user's, else that of the card that was recorded. Raises UsageError."""
    if options.space is not None or options.gpu != "auto":
        return choose_space(options, ())
    card = surface.header.gpu
    if card is None:
        raise UsageError(f"{options.surface} does not say of which card it is: give --gpu or --space")
    card = card.removeprefix("SIMULATED ")  # of a simulated study
    named = card if card in shipped_spaces() else space_for(card).name
    return choose_space(replace(options, gpu=named), ())
