"""What the user asked for in, a checked plan of the study out: space, engine, workload, GPUs, fingerprint.

Everything that can be known to be wrong is found here, before anything is launched or stored.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tuner.caches import Caches, caches_of, default_root
from tuner.clock import Clock, SystemClock
from tuner.decide import Objective, Slo, check_limits, constraints, parse_objective, parse_slo
from tuner.errors import EngineError, UsageError
from tuner.fingerprint import take_fingerprint
from tuner.launch.engine import EngineInfo
from tuner.launch.vllm import VllmEngine
from tuner.load.workload import load_workload, max_tokens, with_overrides, workload_hash
from tuner.measure.gpu import DetectedGpu
from tuner.space import SearchSpace, load_space, space_for
from tuner.trial import RunTrial, run_trial
from tuner.types import Fingerprint, Params, Value, Workload
from tuner.yamlfile import parse_scalar

DEFAULT_MODEL = "deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B"
#: How a trial's server comes to be: `vllm serve`, or a fork of a process that has vLLM imported.
STARTS = ("warm", "plain")
#: Arguments that are secrets, and the environment variable that vLLM and the hub read instead.
_SECRET = {"hf_token": "HF_TOKEN", "api_key": "VLLM_API_KEY when you deploy"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the user can say; every field is a flag, an environment variable TUNER_<NAME>, and a key of --config."""

    gpu: str = "auto"
    model: str = DEFAULT_MODEL
    trials: int = 20
    workload: str = "chat"
    users: int | None = None
    request_rate: float | None = None
    warmup: float | None = None
    window: float | None = None
    max_window: float | None = None
    precision: float | None = None
    objective: str = "throughput"
    slo: Sequence[str] = ()
    study: str | None = None
    storage: str = "sqlite:///tuner.db"
    space: Path | None = None
    force_gpu: bool = False
    max_model_len: int | None = None
    quantized_model: Sequence[str] = ()
    engine_arg: Sequence[str] = ()
    vllm_python: str | None = None
    start: str = "warm"
    startup_timeout: float = 900.0
    trial_timeout: float | None = None
    max_hours: float | None = None
    verify: int = 3
    seed: int = 0
    log_dir: Path = Path("tuner-logs")
    cache_dir: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A study that can be run. `gpus` are those that its trials use; none on the CPU. With `warm` its servers are forked from
    one process that has vLLM imported, where that is safe."""

    study: str
    storage: str
    space: SearchSpace
    engine: VllmEngine
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

    @property
    def constraints(self) -> tuple[Slo, ...]:
        """The SLOs that a trial must meet to be feasible."""
        return constraints(self.objective, self.slos)


def check(options: Options) -> None:
    """What needs neither GPU nor vLLM to be found wrong. Raises UsageError."""
    for name, value, least in (
        ("trials", options.trials, 1),
        ("users", options.users, 1),
        ("verify", options.verify, 0),
    ):
        if value is not None and value < least:
            raise UsageError(f"--{name} is {value} and must be at least {least}")
    for name, seconds in (
        ("warmup", options.warmup),
        ("window", options.window),
        ("max-window", options.max_window),
        ("startup-timeout", options.startup_timeout),
        ("trial-timeout", options.trial_timeout),
    ):
        if seconds is not None and not 0 < seconds < 86400:
            raise UsageError(f"--{name} is {seconds:g} and must be a number of seconds above 0 and below a day")
    if options.max_hours is not None and not 0 < options.max_hours < 10_000:
        raise UsageError(f"--max-hours is {options.max_hours:g} and must be a number of hours above 0")
    if options.start not in STARTS:
        raise UsageError(f"--start is {options.start!r}: choose one of {', '.join(STARTS)}")
    if options.max_model_len is not None and options.max_model_len < 1:
        raise UsageError(f"--max-model-len is {options.max_model_len} and must be at least 1")
    slos = [parse_slo(slo) for slo in options.slo]
    check_limits(parse_objective(options.objective), slos)
    if _workload(options).find_rate and not slos:
        raise UsageError(
            f"workload {options.workload} looks for the highest rate that meets the SLOs: give some (--slo)"
        )
    _model(options.model)
    for model in _quantized_models(options).values():
        _model(model)
    _engine_arguments(options)


def choose_space(options: Options, detected: Sequence[DetectedGpu]) -> SearchSpace:
    """The search space of --space or --gpu, with what the user fixed taken out of it. Raises UsageError."""
    if options.space is not None:
        space = load_space(str(options.space))
    elif options.gpu == "auto":
        space = space_for(detected[0].name) if detected else load_space("cpu")
    else:
        space = load_space(options.gpu)
    _check_card(space, detected, options)
    space = space.with_quantized_models(_quantized_models(options))
    fixed = {} if options.max_model_len is None else {"max_model_len": options.max_model_len}
    return space.with_fixed({**_engine_arguments(options), **fixed})


def make_plan(
    options: Options, space: SearchSpace, python: Path, info: EngineInfo, detected: Sequence[DetectedGpu]
) -> Plan:
    """Raises UsageError, or EngineError where this vLLM cannot run the space."""
    _check_engine(space, python, info)
    model = _model(options.model)
    workload = _workload(options)
    gpus = _gpus_of_a_trial(space, detected)
    fingerprint = take_fingerprint(gpus, info, model, workload_hash(workload))
    caches = caches_of(fingerprint, options.cache_dir or default_root())
    engine = VllmEngine(
        python=python,
        model=model,
        fixed=space.fixed,
        environment=space.environment,
        caches=caches.environment(),
        quantized_models={name: _model(path) for name, path in _quantized_models(options).items()},
        startup_timeout_s=options.startup_timeout,
    )
    return Plan(
        study=options.study or f"{space.name}-{Path(model).name}-{workload.name}",
        storage=options.storage,
        space=space,
        engine=engine,
        workload=workload,
        objective=parse_objective(options.objective),
        slos=tuple(parse_slo(slo) for slo in options.slo),
        gpus=gpus,
        fingerprint=fingerprint,
        trials=options.trials,
        warm=options.start == "warm",
        trial_timeout_s=options.trial_timeout,
        max_hours=options.max_hours,
        verify=options.verify,
        seed=options.seed,
        logs=options.log_dir.absolute(),
        caches=caches,
    )


def check_lengths(plan: Plan, resolved: Params) -> None:
    """Raises UsageError if the longest request does not fit into the model's length."""
    longest, limit = max_tokens(plan.workload), resolved.get("max_model_len")
    if isinstance(limit, int) and longest is not None and longest > limit:
        raise UsageError(
            f"workload {plan.workload.name} has requests of {longest} tokens and max_model_len is {limit}: "
            f"raise --max-model-len or take a shorter workload"
        )


def _workload(options: Options) -> Workload:
    """The workload with what was given instead. Raises UsageError."""
    return with_overrides(
        load_workload(options.workload),
        users=options.users,
        request_rate=options.request_rate,
        warmup_s=options.warmup,
        window_s=options.window,
        max_window_s=options.max_window,
        precision=options.precision,
        seed=options.seed,
    )


def _check_card(space: SearchSpace, detected: Sequence[DetectedGpu], options: Options) -> None:
    if options.force_gpu or not space.gpu.names:
        return
    present = detected[0].name if detected else None
    if present is None:
        raise UsageError(f"{space.name} is for {space.gpu.names[0]} and this machine has no NVIDIA GPU: use --gpu cpu")
    if not space.gpu.is_called(present):
        raise UsageError(
            f"{space.name} is for {space.gpu.names[0]} and this machine has {present}: use --gpu auto, or --force-gpu to go on"
        )


def _check_engine(space: SearchSpace, python: Path, info: EngineInfo) -> None:
    unknown = sorted({*space.parameters, *space.fixed} - info.arguments)
    if unknown:
        raise EngineError(
            f"vLLM {info.version} of {python} has no argument {', '.join(unknown)}, which search space {space.name} uses: "
            "upgrade vLLM, or take it out of a space of your own (--space FILE)"
        )
    if not space.gpu.names and info.platform != "cpu":
        raise EngineError(f"search space {space.name} is for the CPU and vLLM of {python} is built for {info.platform}")
    if space.gpu.names and info.platform == "cpu":
        raise EngineError(
            f"search space {space.name} is for {space.gpu.names[0]} and vLLM of {python} runs on the CPU only"
        )


def _quantized_models(options: Options) -> dict[str, str]:
    """`awq=PATH_OR_REPO` -> {"awq": "PATH_OR_REPO"}."""
    found = {}
    for text in options.quantized_model:
        name, separator, model = text.partition("=")
        if not (name and separator and model):
            raise UsageError(
                f"--quantized-model {text!r}: expected QUANTIZATION=PATH_OR_REPO, for example awq=/models/mine-awq"
            )
        found[name] = model
    return found


def _engine_arguments(options: Options) -> dict[str, Value]:
    """`load_format=dummy` -> {"load_format": "dummy"}; values are read as in YAML, so 2 is a number and true a switch."""
    found: dict[str, Value] = {}
    for text in options.engine_arg:
        name, separator, value = text.partition("=")
        read = parse_scalar(value)
        if not (separator and name.replace("_", "").isalnum() and isinstance(read, bool | int | float | str)):
            raise UsageError(
                f"--engine-arg {text!r}: expected NAME=VALUE in vLLM's own names, for example load_format=dummy"
            )
        if name in _SECRET:
            raise UsageError(
                f"--engine-arg {name}: a secret would be stored with the trial: set {_SECRET[name]} instead"
            )
        found[name] = read
    return found


def _model(name: str) -> str:
    """A folder as an absolute path, checked; a hub name as it is. Raises UsageError."""
    path = Path(name).expanduser()
    if not (path.exists() or name.startswith(("/", ".", "~")) or name.count("/") > 1):
        return name
    if not path.is_dir():
        raise UsageError(f"--model {name}: there is no such folder")
    if not (path / "config.json").is_file():
        raise UsageError(f"--model {name}: this folder has no config.json, so it is no model that vLLM can load")
    return str(path.resolve())


def _gpus_of_a_trial(space: SearchSpace, detected: Sequence[DetectedGpu]) -> tuple[DetectedGpu, ...]:
    """The first of the visible GPUs, as many as the fixed parallel sizes need."""
    if not space.gpu.names:
        return ()
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    visible = list(detected)
    if named is not None:
        by_name: Mapping[str, DetectedGpu] = {**{str(g.index): g for g in detected}, **{g.uuid: g for g in detected}}
        visible = [by_name[n.strip()] for n in named.split(",") if n.strip() in by_name]
    count = 1
    for size in ("tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size"):
        count *= int(space.fixed.get(size, 1))
    return tuple(visible[:count])
