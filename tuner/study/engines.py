"""What the user asked for in; the setup of a study, and who answers for its engine, out: vLLM, a simulation, or recordings.

Only here the three differ. A study on either of the others runs the same loop, and says of everything what it is.
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path

from tuner.decide.slo import parse_slo
from tuner.errors import EngineError, UsageError, did_you_mean
from tuner.execute.messages import Sought
from tuner.launch.caches import Unused
from tuner.launch.engine import Engine
from tuner.launch.fork_server import ForkServer
from tuner.launch.interpreter import find_python
from tuner.measure.gpu import detect
from tuner.predict.host import rates_of
from tuner.predict.prediction import Calibration
from tuner.replay.clock import VirtualClock
from tuner.replay.surface import ReplayEngine, Surface, open_surface
from tuner.sim.engine import SimEngine
from tuner.sim.launcher import SimLauncher
from tuner.sim.speed import pace_of
from tuner.space.files import shipped_spaces, space_for
from tuner.space.parallel import SIZES, fixed_gpus
from tuner.space.search_space import ALL, PARALLEL, SearchSpace
from tuner.study.checks import model_named, workload_of
from tuner.study.fingerprint import unreal_fingerprint, with_host_speed
from tuner.study.options import Options
from tuner.study.quality import lossless_sentence
from tuner.study.setup import Setup, choose_space, line_of, make_setup, seen_gpus, setup_of, vllm_launcher
from tuner.study.shared_gpus import how_shared, may_share, over_mps
from tuner.study.slots import with_slots
from tuner.types import DetectedGpu, Fingerprint
from tuner.workload.presets import workload_hash

Tell = Callable[[str], None]
Ready = AbstractContextManager[tuple[Setup, Engine]]


def set_up(options: Options, tell: Tell) -> Ready:
    """Everything that can be found wrong before anything is started is; then a context of the setup and its engine. `tell` is
    told what takes time, and what is not real.

    Raises UsageError, EngineError; so does entering it.
    """
    if options.engine == "sim":
        space = choose_space(options, ())
        _check_sheet(space)
        _tell_lossless(options, tell, lambda every: choose_space(every, ()))
        return _simulated(options, space, tell)
    if options.surface is not None:
        surface = open_surface(options.surface)
        tell(surface.describe())
        _tell_lossless(options, tell, lambda every: _space_of(surface, every))
        return _replayed(options, _space_of(surface, options), surface)
    if options.executor == "ray":
        _tell_lossless(options, tell, _space_without_a_card)
        return _on_nodes(options, _sought(options), tell)
    detected = detect()
    space = choose_space(options, detected)
    _tell_lossless(options, tell, lambda every: choose_space(every, detected))
    return _real(options, space, find_python(options.vllm_python), detected, tell)


def _tell_lossless(options: Options, tell: Tell, choose: Callable[[Options], SearchSpace]) -> None:
    """What --lossless took out of the space."""
    if options.lossless:
        tell(lossless_sentence(choose(replace(options, lossless=False))))


@contextmanager
def _real(
    options: Options, space: SearchSpace, python: Path, detected: Sequence[DetectedGpu], tell: Tell
) -> Iterator[tuple[Setup, Engine]]:
    with ForkServer(python, space.environment) as engine:
        tell(f"importing vLLM with {python} ...")
        setup = make_setup(options, space, python, engine.info, detected)
        setup = _on_host(setup, with_host_speed(setup.fingerprint, python, tell))
        _tell_shared(options, setup, tell)
        with with_slots(setup, options, seen_gpus(space, detected), tell) as placed:
            yield placed, engine


@contextmanager
def _on_nodes(options: Options, sought: Sought, tell: Tell) -> Iterator[tuple[Setup, Engine]]:
    """All that is asked of a card and of vLLM is asked on a node that has them: this host needs neither."""
    from tuner.execute.ray_connection import AUTO, connection  # an extra
    from tuner.execute.ray_engine import asking

    with connection(options.address or AUTO) as ray, asking(ray, sought, tell) as engine:
        shown = engine.shown
        space = choose_space(options, shown.cards)
        tell(f"importing vLLM with {shown.python} on node {engine.address} ...")
        engine.begin(space.environment)
        tells = shown.tell_energy.__contains__
        setup = make_setup(options, space, shown.python, engine.info, shown.cards, tells)
        over = shown.mps and over_mps(setup.space, options) and may_share(setup.space, options)
        there = replace(setup.fingerprint, host=shown.processor, model_revision=shown.revision, mps=over)
        setup = _on_host(setup, with_host_speed(there, shown.python, tell, engine.host_speed))
        _tell_shared(options, setup, tell)
        with with_slots(setup, options, (), tell) as placed:
            yield placed, engine


def _on_host(setup: Setup, fingerprint: Fingerprint) -> Setup:
    """Predicted for a host as fast as that of the fingerprint, on which engines share a GPU as they do there."""
    return replace(
        setup,
        fingerprint=fingerprint,
        launcher=replace(setup.launcher, mps=fingerprint.mps),
        calibration=Calibration(rates=rates_of(fingerprint)),
    )


def _tell_shared(options: Options, setup: Setup, tell: Tell) -> None:
    if told := how_shared(setup.space, options, mps=setup.fingerprint.mps):
        tell(told)


def _sought(options: Options) -> Sought:
    """What a node needs to be asked. Raises UsageError."""
    space = _space_without_a_card(options)
    return sought_by(options, tuple(space.gpu.names), fixed_gpus(space))


def sought_by(options: Options, cards: tuple[str, ...], per_server: int = 1) -> Sought:
    """What a node with these cards needs to be asked; vLLM may be where the user says, or where this host has it, too. Raises
    UsageError."""
    named = options.vllm_python
    return Sought(
        model=model_named(options.model),
        python=_found_here() if named is None else Path(named),
        is_named=named is not None,
        cards=cards,
        per_server=per_server,
    )


def _found_here() -> Path | None:
    try:
        return find_python(None)
    except EngineError:
        return None


def _space_without_a_card(options: Options) -> SearchSpace:
    """The space as far as it is known before a node was asked. Raises UsageError."""
    if options.gpu == "auto" and options.space is None:
        raise UsageError("--gpu auto on a Ray cluster may be several studies: name one card")
    return choose_space(replace(options, force_gpu=True), ())


@contextmanager
def _simulated(options: Options, space: SearchSpace, tell: Tell) -> Iterator[tuple[Setup, Engine]]:
    engine = SimEngine(space.gpu)
    with with_slots(simulated_setup(options, space, engine), options, (), tell) as setup:
        yield setup, engine


@contextmanager
def _replayed(options: Options, space: SearchSpace, surface: Surface) -> Iterator[tuple[Setup, Engine]]:
    with ReplayEngine(surface, space) as engine:
        yield replayed_setup(options, space, surface, engine), engine


def simulated_setup(options: Options, space: SearchSpace, engine: SimEngine) -> Setup:
    """Raises UsageError for what cannot be simulated."""
    if unknown := engine.info.lacks({*space.parameters, *space.fixed}):
        raise UsageError(
            f"{line_of(options, unknown[0])}the simulated engine does not know {unknown[0]}"
            f"{did_you_mean(unknown[0], engine.info.arguments)}, which search space {space.name} uses"
        )
    launcher = vllm_launcher(options, space, Path(sys.executable))
    pace = pace_of(engine.shape(launcher.model), space, workload_of(options))
    if pace.speed > 1 and any(parse_slo(slo).name.startswith("itl") for slo in options.slo):
        raise UsageError("--slo itl: simulated tokens come in groups, so the gaps between them mean nothing: use tpot")
    card = str(options.space.absolute()) if options.space is not None else space.name
    fingerprint = unreal_fingerprint(
        engine.info,
        f"SIMULATED {space.gpu.names[0]}",
        f"simulated, {pace.speed:g} times as fast as time",
        launcher.model,
        workload_hash(pace.workload),
    )
    simulated = SimLauncher.of(launcher, space.gpu, card, pace.speed, options.seed)
    setup = setup_of(options, space, simulated, pace.workload, fingerprint, Unused(Path("-")))
    return replace(setup, calibration=Calibration())


def replayed_setup(options: Options, space: SearchSpace, surface: Surface, engine: ReplayEngine) -> Setup:
    """Nothing is launched, and time passes as it was recorded."""
    workload, clock = workload_of(options), VirtualClock()
    launcher = vllm_launcher(options, space, Path(sys.executable))
    gpu = surface.header.gpu or (space.gpu.names[0] if space.gpu.names else "the CPU")
    fingerprint = unreal_fingerprint(
        engine.info, f"REPLAYED {gpu}", "replayed", surface.header.model or launcher.model, workload_hash(workload)
    )
    setup = setup_of(options, space, launcher, workload, fingerprint, Unused(Path("-")))
    surface.check(setup.objectives, setup.constraints)
    return replace(setup, clock=clock, run=surface.runner(clock))


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
        return _recorded(surface, options)
    card = surface.header.gpu
    if card is None:
        raise UsageError(f"{options.surface} does not say of which card it is: give --gpu or --space")
    card = card.removeprefix("SIMULATED ")  # of a simulated study
    named = card if card in shipped_spaces() else space_for(card).name
    return _recorded(surface, replace(options, gpu=named))


def _recorded(surface: Surface, options: Options) -> SearchSpace:
    """The space; without a choice of groups, with those of their parameters that were recorded."""
    if options.groups is not None:
        return choose_space(options, ())
    groups = f"{ALL},{PARALLEL}" if surface.names(SIZES) else ALL
    return surface.searched(choose_space(replace(options, groups=groups), ()))
