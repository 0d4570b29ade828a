"""What the user asked for in, a checked setup of the study out: space, engine, workload, GPUs, fingerprint.

Everything that can be known to be wrong is found here, before anything is launched or stored.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import takewhile
from pathlib import Path

from tuner.decide.harm import MAX_LOSS
from tuner.decide.objective import ENERGY, Objective, check_orders, parse_objectives
from tuner.decide.slo import Slo, constraints, parse_slos
from tuner.errors import EngineError, UsageError, did_you_mean
from tuner.execute.slot import Slot
from tuner.launch import mps
from tuner.launch.caches import Caches, caches_of, default_root
from tuner.launch.engine import EngineInfo
from tuner.launch.job import RunTrial
from tuner.launch.vllm import VllmLauncher
from tuner.measure.gpu import tells_energy
from tuner.measure.visible import VISIBLE, Visible, visible
from tuner.predict.prediction import Calibration
from tuner.predict.settings import LATEST, version_of
from tuner.propose.enumeration import check_finite
from tuner.space.engines import ENGINES, engines_of
from tuner.space.files import load_space, space_for
from tuner.space.parallel import SIZES, fixed_gpus, gpus_of, most_gpus, searched_sizes, within
from tuner.space.search_space import SearchSpace
from tuner.space.words import not_a_name
from tuner.space.yaml_file import line_in
from tuner.study.checks import (
    baselines,
    engine_arguments,
    groups_of,
    model_named,
    parallel,
    quantized_models,
    workload_of,
)
from tuner.study.clock import Clock, SystemClock
from tuner.study.fingerprint import take_fingerprint
from tuner.study.hand_settings import HandSettings
from tuner.study.options import Options
from tuner.study.quality import Guard, guard_of, lossless
from tuner.study.shared_gpus import engines_space, may_share, over_mps, shared_gpu, why_not_shared
from tuner.study.speculation import speculative_space
from tuner.study.trial import run_trial
from tuner.types import DetectedGpu, Fingerprint, Params, Workload
from tuner.types.settings import engines_sharing
from tuner.workload.presets import max_tokens, workload_hash

#: Those that this host has, of which its user may have named some (CUDA_VISIBLE_DEVICES); or those that another host shows.
Cards = Sequence[DetectedGpu] | Visible


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """A study that can be run. `gpus` are those that its trials may use, each the first that its sizes need; none on the CPU.
    With `warm` its servers are forked from one process that has vLLM imported, where that is safe. `calibration` is what the
    model of a server begins with here; None where trials are not predicted. Without `may_stop` every launch is measured to the
    end, and all are made. `warm_start` is the earlier study that it learns from, "auto" or "none". What is traded off with the
    `objective` stands `beside` it. `baselines` are the user's own settings, `explain` is how many launches may say what each
    setting brings, `price_per_hour` that of as many GPUs as the fixed sizes make of a server, None without one. The `guard` is
    what finalists are asked, None where no model answers; they may lose `max_quality_loss` of the NLL. In each of the
    `slots` one launch can run; where there is one, on `gpus`."""

    study: str
    storage: str
    space: SearchSpace
    launcher: VllmLauncher
    workload: Workload
    objective: Objective
    slos: tuple[Slo, ...]
    gpus: tuple[DetectedGpu, ...]
    fingerprint: Fingerprint
    trials: int
    warm: bool
    trial_timeout_s: float | None
    max_hours: float | None
    verify: int
    seed: int
    logs: Path
    caches: Caches
    clock: Clock = field(default_factory=SystemClock)
    run: RunTrial = run_trial
    wait_for_gpu_s: float = 0.0
    calibration: Calibration | None = None
    may_stop: bool = True
    warm_start: str = "none"
    sampler: str = "model"
    beside: tuple[Objective, ...] = ()
    baselines: tuple[HandSettings, ...] = ()
    explain: int = 0
    price_per_hour: float | None = None
    guard: Guard | None = None
    max_quality_loss: float = MAX_LOSS
    slots: tuple[Slot, ...] = (Slot(number=0),)

    @property
    def all_gpus(self) -> tuple[DetectedGpu, ...]:
        """Those of all slots on this host."""
        if any(slot.run is not None for slot in self.slots):
            return ()  # other hosts'
        return tuple(gpu for slot in self.slots for gpu in slot.gpus) or self.gpus

    @property
    def objectives(self) -> tuple[Objective, ...]:
        """All, in the user's order: the first one is `objective`."""
        return (self.objective, *self.beside)

    @property
    def launches(self) -> int:
        """Of the search at the most: the user's own settings come on top."""
        return self.trials + len(self.baselines)

    @property
    def constraints(self) -> tuple[Slo, ...]:
        """The SLOs that a trial must meet to be feasible."""
        return constraints(self.objectives, self.slos)


def choose_space(options: Options, detected: Cards) -> SearchSpace:
    """The search space of --space or --gpu, with what the user fixed taken out of it. Raises UsageError."""
    if options.space is not None:
        space = load_space(str(options.space))
    elif options.gpu == "auto":
        space = space_for(first.name) if (first := _first_visible(detected)) else load_space("cpu")
    else:
        space = load_space(options.gpu)
    _check_card(space, detected, options)
    space = _with_own_memory(space, detected)
    space = space.with_quantized_models(quantized_models(options))
    fixed = {} if options.max_model_len is None else {"max_model_len": options.max_model_len}
    space = space.with_fixed({**engine_arguments(options), **fixed}).with_groups(groups_of(options))
    if (seen := _seen(detected).gpus) and options.engine == "vllm":
        space = within(space, _most_of_a_server(options, space, seen))
    if options.engine != "replay":
        space = engines_space(speculative_space(space, options, workload_of(options)), options)
    return lossless(space) if options.lossless else space


def _most_of_a_server(options: Options, space: SearchSpace, seen: Sequence[DetectedGpu]) -> int:
    """How many of these GPUs: where several servers run at once on this host, each has its part. Raises UsageError."""
    at_once = parallel(options) if options.executor != "ray" else 1
    if at_once in (1, None):
        return len([*takewhile(lambda gpu: gpu.name == seen[0].name, seen)])
    return max(sum(gpu.name == seen[0].name for gpu in seen) // at_once, fixed_gpus(space))


def make_setup(
    options: Options,
    space: SearchSpace,
    python: Path,
    info: EngineInfo,
    detected: Cards,
    tells: Callable[[str], bool] = tells_energy,
) -> Setup:
    """`tells` is whether the GPU of a UUID says what energy it takes. Raises UsageError, or EngineError where this vLLM cannot
    run the space."""
    _check_engine(options, space, python, info)
    space = engines_space(space, options, version_of(info.version))
    workload, gpus = workload_of(options), _gpus_of_a_trial(space, detected)
    fingerprint = take_fingerprint(gpus, info, model_named(options.model), workload_hash(workload))
    caches = caches_of(fingerprint, options.cache_dir or default_root())
    launcher = vllm_launcher(options, space, python).of_version(info.version)
    launcher = replace(launcher, caches=caches.environment())
    # A daemon of somebody else is used whatever is asked for.
    beneath = launcher.mps or (bool(gpus) and mps.is_running(os.environ))
    fingerprint = replace(fingerprint, mps=beneath and may_share(space, options))
    setup = setup_of(options, space, launcher, workload, fingerprint, caches)
    _check_energy(setup.objectives, gpus, tells)
    return replace(
        setup,
        gpus=gpus,
        warm=options.start == "warm",
        wait_for_gpu_s=options.wait_for_gpu,
        calibration=Calibration(),
        guard=guard_of(options),
    )


def vllm_launcher(options: Options, space: SearchSpace, python: Path) -> VllmLauncher:
    """How a trial's server is started. Raises UsageError."""
    return VllmLauncher(
        python=python,
        model=model_named(options.model),
        fixed=space.fixed,
        environment=space.environment,
        quantized_models={name: model_named(path) for name, path in quantized_models(options).items()},
        acceptance=_acceptance(options),
        startup_timeout_s=options.startup_timeout,
        shared_gpu=shared_gpu(space, options),
        mps=over_mps(space, options) and mps.is_there(),
    )


def _acceptance(options: Options) -> float | tuple[float, ...] | None:
    """How often servers shall accept what they draft, where the workload's prompts cannot tell."""
    workload = workload_of(options)
    return workload.acceptance_rates or workload.acceptance_length


def setup_of(
    options: Options,
    space: SearchSpace,
    launcher: VllmLauncher,
    workload: Workload,
    fingerprint: Fingerprint,
    caches: Caches,
) -> Setup:
    """The setup whose servers are started plainly and use no GPU. Raises UsageError."""
    if options.sampler == "grid":
        check_finite(space)
    study = options.study or study_name(options, space, launcher.model, workload)
    if why := not_a_name(study):
        raise UsageError(f"the study's name would be {study!r}: {why}: give one with --study")
    first, *others = objectives_of(options, space)
    return Setup(
        study=study,
        storage=options.storage,
        space=space,
        launcher=launcher,
        workload=workload,
        objective=first,
        beside=tuple(others),
        slos=parse_slos(options.slo),
        gpus=(),
        fingerprint=fingerprint,
        trials=options.trials,
        warm=False,
        trial_timeout_s=options.trial_timeout,
        max_hours=options.max_hours,
        verify=options.verify,
        seed=options.seed,
        sampler=options.sampler,
        logs=options.log_dir.absolute(),
        caches=caches,
        may_stop=options.stop == "auto",
        warm_start=options.warm_start,
        baselines=tuple(_of_this_study(one, options, space, launcher) for one in baselines(options)),
        explain=options.explain,
        price_per_hour=price_per_hour(options, space),
        max_quality_loss=options.max_quality_loss,
    )


def _of_this_study(hand: HandSettings, options: Options, space: SearchSpace, launcher: VllmLauncher) -> HandSettings:
    """A quantized checkpoint of it is a quantization. Raises UsageError for hand settings that it cannot be compared with."""
    _check_sharing(hand, options, space, launcher)
    for name in SIZES:
        size, ours = hand.params.get(name, 1), launcher.fixed.get(name, 1)
        if name == "data_parallel_size" and isinstance(size, int):
            size //= engines_sharing(hand.params)
        if name not in space.parameters and size != ours:
            raise UsageError(
                f"--baseline {hand.said}: its {name} is {size} and that of all trials is {ours}: give --engine-arg"
                f" {name}={size}, so that the same GPUs are compared"
            )
    if searched_sizes(space) and (taken := gpus_of({**launcher.fixed, **hand.params})) > (most := most_gpus(space)):
        raise UsageError(
            f"--baseline {hand.said}: it takes {taken} GPUs, and a server of this study has {most} at the most"
        )
    passed_over = tuple(name for name in hand.passed_over if name not in launcher.environment)
    model = hand.model
    if model is None or model == options.model or _folder(model) == launcher.model:
        return replace(hand, passed_over=passed_over)
    for quantization, checkpoint in launcher.quantized_models.items():
        if _folder(model) == checkpoint:
            return replace(hand, params={**hand.params, "quantization": quantization}, passed_over=passed_over)
    raise UsageError(
        f"--baseline {hand.said}: it is for model {model} and the study is of {options.model}: leave the model out if it is the"
        " same, or name a checkpoint of it with --quantized-model"
    )


def _check_sharing(hand: HandSettings, options: Options, space: SearchSpace, launcher: VllmLauncher) -> None:
    """Raises UsageError for engines that cannot share a GPU."""
    if ENGINES not in hand.params:
        return
    version = launcher.shared_gpu.version if launcher.shared_gpu else LATEST
    try:
        if engines_of(hand.params) > 1 and (why := why_not_shared(space, options, version)) is not None:
            raise UsageError(f"{ENGINES}: {why}")
        launcher.command(hand.params)
    except UsageError as error:
        raise UsageError(f"--baseline {hand.said}: {error}") from error


def _folder(model: str) -> str:
    path = Path(model).expanduser()
    return str(path.resolve()) if path.is_dir() else model


def objectives_of(options: Options, space: SearchSpace) -> tuple[Objective, ...]:
    """What is optimized; a price is that of all GPUs of a server. Raises UsageError, also for the energy of no GPU."""
    found = parse_objectives(options.objective, price_per_hour(options, space), fixed_gpus(space))
    if not searched_sizes(space):
        check_orders(found)
    if not space.gpu.names and (per_gpu := next((one for one in found if one.is_per_gpu), None)):
        raise UsageError(
            f"--objective {per_gpu.name} is of one GPU, and {space.name} is for the CPU: choose another one"
        )
    if any(one.metric == ENERGY for one in found) and (not space.gpu.names or options.engine == "sim"):
        where = "a simulated GPU draws nothing" if space.gpu.names else f"{space.name} is for the CPU"
        raise UsageError(f"--objective energy is what a GPU's own counter says, and {where}: choose another one")
    return found


def _check_energy(objectives: Sequence[Objective], gpus: Sequence[DetectedGpu], tells: Callable[[str], bool]) -> None:
    if all(one.metric != ENERGY for one in objectives):
        return
    if silent := [gpu.name for gpu in gpus if gpu.card_uuid is not None or not tells(gpu.uuid)]:
        raise UsageError(
            f"--objective energy: {silent[0]} does not tell through NVML what energy it takes: choose another one"
        )


def price_per_hour(options: Options, space: SearchSpace) -> float | None:
    """Of as many GPUs as the fixed sizes make of a server; None without a price."""
    return None if options.price is None else options.price * fixed_gpus(space)


def study_name(options: Options, space: SearchSpace, model: str, workload: Workload) -> str:
    """Of a study that the user gave none."""
    kind = "" if options.engine == "vllm" else f"{options.engine}-"
    return f"{kind}{space.name}-{Path(model).name}-{workload.name}"


def check_lengths(setup: Setup, resolved: Params) -> None:
    """Raises UsageError if the longest request does not fit into the model's length."""
    if why := too_short(setup, resolved):
        raise UsageError(f"{why}: raise --max-model-len or take a shorter workload")


def too_short(setup: Setup, resolved: Params) -> str | None:
    """Why the longest request does not fit into the model's length; None where it does."""
    longest, limit = max_tokens(setup.workload), resolved.get("max_model_len")
    if isinstance(limit, int) and longest is not None and longest > limit:
        return f"workload {setup.workload.name} has requests of {longest} tokens and max_model_len is {limit}"
    return None


def _check_card(space: SearchSpace, detected: Cards, options: Options) -> None:
    if options.force_gpu or not space.gpu.names or options.engine != "vllm":
        return
    first = _first_visible(detected)
    present = first.name if first else None
    if present is None:
        raise UsageError(
            f"{space.name} is for {space.gpu.names[0]} and this machine has no NVIDIA GPU: `tuner plan` predicts it"
            " without one, --engine sim tries it, and --gpu cpu tunes this machine"
        )
    if not space.gpu.is_called(present):
        raise UsageError(
            f"{space.name} is for {space.gpu.names[0]} and this machine has {present}: use --gpu auto, or --force-gpu to go on"
        )


def line_of(options: Options, name: str) -> str:
    """ "FILE:LINE: " where the user's own search space names an argument; else nothing."""
    line = options.space and line_in(Path(options.space), (("parameters", name), ("fixed", name)))
    return f"{options.space}:{line}: " if line else ""


def _check_engine(options: Options, space: SearchSpace, python: Path, info: EngineInfo) -> None:
    unknown = info.lacks({*space.parameters, *space.fixed})
    if unknown:
        near = did_you_mean(unknown[0], info.arguments)
        raise EngineError(
            f"{line_of(options, unknown[0])}vLLM {info.version} of {python} has no argument {', '.join(unknown)}{near},"
            f" which search space {space.name} uses: upgrade vLLM, or take it out of a space of your own (--space FILE)"
        )
    if not space.gpu.names and info.platform != "cpu":
        raise EngineError(f"search space {space.name} is for the CPU and vLLM of {python} is built for {info.platform}")
    if space.gpu.names and info.platform == "cpu":
        raise EngineError(
            f"search space {space.name} is for {space.gpu.names[0]} and vLLM of {python} runs on the CPU only"
        )


def _seen(detected: Cards) -> Visible:
    """What a CUDA program sees. What the user said of this host hides nothing on another."""
    return detected if isinstance(detected, Visible) else visible(detected, os.environ.get(VISIBLE))


def _first_visible(detected: Cards) -> DetectedGpu | None:
    """The card that a CUDA program uses; None on a machine without any. Raises UsageError where all are hidden from it."""
    seen = _seen(detected)
    if seen.hidden:
        raise UsageError(f"{seen.hidden}: name one of them there, unset it, or give --gpu cpu")
    return seen.gpus[0] if seen.gpus else None


def _with_own_memory(space: SearchSpace, detected: Cards) -> SearchSpace:
    """With the memory that this very card has, where it is here: a driver keeps more or less of it, a MIG slice has a part."""
    first = next(iter(_seen(detected).gpus), None)
    if first is None or first.usable_bytes is None or not space.gpu.is_called(first.name):
        return space
    return space.with_memory(first.usable_bytes)


def seen_gpus(space: SearchSpace, detected: Cards) -> tuple[DetectedGpu, ...]:
    """Those that a CUDA program sees; none where the space is for the CPU."""
    return _seen(detected).gpus if space.gpu.names else ()


def _gpus_of_a_trial(space: SearchSpace, detected: Cards) -> tuple[DetectedGpu, ...]:
    """The first of the visible GPUs, as many as the largest parallel sizes need. Raises UsageError where fewer are visible."""
    if not space.gpu.names:
        return ()
    seen, count = _seen(detected), most_gpus(space)
    if seen.gpus and count > len(seen.gpus):
        asked = ", ".join(f"{name} {size}" for name in SIZES if (size := space.fixed.get(name, 1)) != 1)
        why = f" ({VISIBLE} ends at {seen.cut!r}, which names none)" if seen.cut is not None else ""
        raise UsageError(f"{asked} needs {count} GPUs and {len(seen.gpus)} can be seen{why}")
    return seen.gpus[:count]
