"""Options in; what their texts mean out, and one sentence for what can be known to be wrong of them at once.

Nothing is asked here of a GPU, of vLLM or of a database; it does not know what a study is made of.
"""

from dataclasses import replace
from pathlib import Path

from tuner.decide.deciding import check_decides
from tuner.decide.objective import parse_objective
from tuner.decide.slo import check_limits, parse_slo
from tuner.errors import UsageError, choose
from tuner.space.files import shipped_spaces
from tuner.space.yaml_file import parse_scalar
from tuner.study.options import ENGINES, STARTS, Options
from tuner.types import Value, Workload
from tuner.workload.presets import load_workload, with_overrides

#: Arguments that are secrets, and the environment variable that vLLM and the hub read instead.
_SECRET = {"hf_token": "HF_TOKEN", "api_key": "VLLM_API_KEY when you deploy"}


def check(options: Options, *, is_measured: bool = True) -> None:
    """What needs neither GPU nor vLLM to be found wrong. A prediction may have an objective that no measurement decides. Raises
    UsageError."""
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
    if options.verify == 1:
        raise UsageError(
            "--verify 1 cannot tell a gain from the noise of one launch: give 2 or more, or 0 not to verify"
        )
    _check_kind(options)
    if options.start not in STARTS:
        raise UsageError(f"--start is {options.start!r}{choose(options.start, STARTS)}")
    if options.max_model_len is not None and options.max_model_len < 1:
        raise UsageError(f"--max-model-len is {options.max_model_len} and must be at least 1")
    slos = [parse_slo(slo) for slo in options.slo]
    objective, workload = parse_objective(options.objective), workload_of(options)
    check_limits(objective, slos)
    if is_measured:
        check_decides(workload, objective)
    if workload.find_rate and not slos:
        raise UsageError(
            f"workload {options.workload} looks for the highest rate that meets the SLOs: give some (--slo)"
        )
    model_named(options.model)
    for model in quantized_models(options).values():
        model_named(model)
    engine_arguments(options)


def workload_of(options: Options) -> Workload:
    """The workload with what was given instead. Raises UsageError."""
    return _overridden(options, options.seed)


def measured_workload(options: Options, *, seed: int | None, find_rate: bool) -> Workload:
    """The same for a command without a sampler, whose `seed` is the prompts' and None the workload's own, and that may be told
    to look for the highest rate. Raises UsageError."""
    workload = _overridden(options, seed)
    if find_rate and workload.request_rate is None:
        raise UsageError("--find-rate needs a rate to begin with: give --request-rate, or a workload that has one")
    workload = replace(workload, find_rate=workload.find_rate or find_rate)
    if workload.find_rate and not options.slo:
        raise UsageError("--find-rate looks for the highest rate that meets the SLOs: give at least one --slo")
    return workload


def _overridden(options: Options, seed: int | None) -> Workload:
    return with_overrides(
        load_workload(options.workload),
        users=options.users,
        request_rate=options.request_rate,
        warmup_s=options.warmup,
        window_s=options.window,
        max_window_s=options.max_window,
        precision=options.precision,
        seed=seed,
    )


def quantized_models(options: Options) -> dict[str, str]:
    """`awq=PATH_OR_REPO` -> {"awq": "PATH_OR_REPO"}. Raises UsageError."""
    found = {}
    for text in options.quantized_model:
        name, separator, model = text.partition("=")
        if not (name and separator and model):
            raise UsageError(
                f"--quantized-model {text!r}: expected QUANTIZATION=PATH_OR_REPO, for example awq=/models/mine-awq"
            )
        found[name] = model
    return found


def engine_arguments(options: Options) -> dict[str, Value]:
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


def model_named(name: str) -> str:
    """A folder as an absolute path, checked; a hub name as it is. Raises UsageError."""
    path = Path(name).expanduser()
    if not (path.exists() or name.startswith(("/", ".", "~")) or name.count("/") > 1):
        return name
    if not path.is_dir():
        raise UsageError(f"--model {name}: there is no such folder")
    if not (path / "config.json").is_file():
        raise UsageError(f"--model {name}: this folder has no config.json, so it is no model that vLLM can load")
    return str(path.resolve())


def _check_kind(options: Options) -> None:
    if options.engine not in ENGINES:
        raise UsageError(f"--engine is {options.engine!r}{choose(options.engine, ENGINES)}")
    if (options.engine == "replay") != (options.surface is not None):
        raise UsageError("--engine replay and --surface FILE, the recorded measurements, belong together")
    if options.engine == "sim" and options.space is None and options.gpu in ("auto", "cpu"):
        cards = ", ".join(name for name in shipped_spaces() if name != "cpu")
        raise UsageError(f"--engine sim simulates a card, and --gpu is {options.gpu}: name one of {cards}")
