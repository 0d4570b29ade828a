"""Options in; what their texts mean out, and one sentence for what can be known to be wrong of them at once.

Nothing is asked here of a GPU, of vLLM or of a database; it does not know what a study is made of.
"""

import re
from dataclasses import fields, replace
from math import isfinite
from pathlib import Path

from tuner.decide.deciding import check_decides
from tuner.decide.objective import parse_objectives
from tuner.decide.slo import check_limits, parse_slos
from tuner.errors import UsageError, choose
from tuner.load.limits import machine_limits, too_much
from tuner.load.questions import read_questions
from tuner.load.workers import workers_for
from tuner.space.files import shipped_spaces
from tuner.space.redaction import redacted
from tuner.space.search_space import ALL, PARALLEL
from tuner.space.words import TUNERS_OWN, instead_of_secret, is_argument, not_a_name, not_a_value, not_printable
from tuner.space.yaml_file import parse_scalar
from tuner.study.hand_settings import HandSettings, hand_settings
from tuner.study.options import ENGINES, EXECUTORS, MPS, SAMPLERS, STARTS, STOPS, Options
from tuner.study.quality import check_quality
from tuner.types import Value, Workload
from tuner.types.settings import list_text
from tuner.workload.lengths import MAX_TOKENS, MAX_USERS
from tuner.workload.presets import load_workload, with_overrides

#: More trials than a study of a year has, and launches than any verification needs.
_MOST = {"trials": 100_000, "verify": 1_000, "explain": 1_000, "users": MAX_USERS}

AUTO = "auto"
#: More cards than any host has, and launches than any study keeps in flight.
_MOST_AT_ONCE = 1_024


def check(options: Options, *, is_measured: bool = True) -> None:
    """What needs neither GPU nor vLLM to be found wrong. A prediction may have an objective that no measurement decides. Raises
    UsageError."""
    check_values(options)
    _check_kind(options)
    slos = parse_slos(options.slo)
    objectives, workload = parse_objectives(options.objective, options.price), workload_of(options)
    for objective in objectives:
        check_limits(objective, slos)
        if is_measured:
            check_decides(workload, objective)
    is_loaded = is_measured and options.engine != "replay"
    if is_loaded and (why := too_much(workload, workers_for(workload), machine_limits())):
        raise UsageError(why)
    if workload.find_rate and not slos:
        raise UsageError(
            f"workload {options.workload} looks for the highest rate that meets the SLOs: give some (--slo)"
        )
    if options.quality_data is not None:
        read_questions(options.quality_data.expanduser())
    model_named(options.model)
    for name, model in quantized_models(options).items():
        model_named(model, f"--quantized-model {name}:")
    draft_model(options)


def check_values(options: Options) -> None:
    """What is wrong with a value by itself, whatever the others are. Raises UsageError."""
    _check_numbers(options)
    _check_words(options)
    if options.engine not in ENGINES:
        raise UsageError(f"--engine is {options.engine!r}{choose(options.engine, ENGINES)}")
    if options.start not in STARTS:
        raise UsageError(f"--start is {options.start!r}{choose(options.start, STARTS)}")
    if options.mps not in MPS:
        raise UsageError(f"--mps is {options.mps!r}{choose(options.mps, MPS)}")
    if options.stop not in STOPS:
        raise UsageError(f"--stop is {options.stop!r}{choose(options.stop, STOPS)}")
    if options.sampler not in SAMPLERS:
        raise UsageError(f"--sampler is {options.sampler!r}{choose(options.sampler, SAMPLERS)}")
    if options.executor not in EXECUTORS:
        raise UsageError(f"--executor is {options.executor!r}{choose(options.executor, EXECUTORS)}")
    parallel(options)
    check_quality(options)
    parse_objectives(options.objective, options.price or 1.0)  # the price may be said elsewhere: see check
    parse_slos(options.slo)
    quantized_models(options)
    engine_arguments(options)
    groups_of(options)
    baselines(options)


def parallel(options: Options) -> int | None:
    """How many launches may run at once; None for as many as there are cards for. Raises UsageError."""
    if options.parallel == AUTO:
        return None
    if not re.fullmatch("[0-9]{1,4}", options.parallel) or not 1 <= int(options.parallel) <= _MOST_AT_ONCE:
        raise UsageError(f"--parallel is {options.parallel!r} and must be a number, 1 to {_MOST_AT_ONCE:,}, or {AUTO}")
    return int(options.parallel)


def _check_numbers(options: Options) -> None:
    for name, value, least in (
        ("trials", options.trials, 1),
        ("users", options.users, 1),
        ("verify", options.verify, 0),
        ("explain", options.explain, 0),
    ):
        if value is not None and value < least:
            raise UsageError(f"--{name} is {value} and must be at least {least}")
        if value is not None and value > _MOST.get(name, value):
            raise UsageError(f"--{name} is {value:,}, and {_MOST[name]:,} are the most")
    for name, seconds in (
        ("warmup", options.warmup),
        ("window", options.window),
        ("max-window", options.max_window),
        ("startup-timeout", options.startup_timeout),
        ("trial-timeout", options.trial_timeout),
    ):
        if seconds is not None and not 0 < seconds < 86400:
            raise UsageError(f"--{name} is {seconds:g} and must be a number of seconds above 0 and below a day")
    if not 0 <= options.wait_for_gpu < 86400 * 7:
        raise UsageError(f"--wait-for-gpu is {options.wait_for_gpu:g} and must be a number of seconds, below a week")
    if options.max_hours is not None and not 0 < options.max_hours < 10_000:
        raise UsageError(f"--max-hours is {options.max_hours:g} and must be a number of hours above 0")
    if options.price is not None and not (isfinite(options.price) and options.price > 0):
        raise UsageError(f"--price is {options.price:g} and must be a number above 0")
    if options.verify == 1:
        raise UsageError(
            "--verify 1 cannot tell a gain from the noise of one launch: give 2 or more, or 0 not to verify"
        )
    if options.explain and not options.verify:
        raise UsageError("--explain goes on from the verification: leave --verify 0 out")
    if options.max_model_len is not None and not 1 <= options.max_model_len <= MAX_TOKENS:
        raise UsageError(f"--max-model-len is {options.max_model_len:,} and must be 1 to {MAX_TOKENS:,}")


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
        if name in found:
            raise UsageError(f"--quantized-model {name} is given twice: leave one of them out")
        found[name] = model
    return found


def baselines(options: Options) -> list[HandSettings]:
    """The user's own settings, each once. Raises UsageError."""
    found = {one.flags: one for one in map(hand_settings, options.baseline)}
    return list(found.values())


def groups_of(options: Options) -> list[str] | None:
    """The groups that the user chose; None without a choice. Raises UsageError."""
    if options.groups is None:
        return None
    names = [name.strip() for name in options.groups.split(",")]
    if not all(names):
        raise UsageError(f"--groups {options.groups!r}: expected names of groups, such as batch,graphs, or {ALL}")
    if ALL in names and not {*names} <= {ALL, PARALLEL}:
        raise UsageError(f"--groups {options.groups}: {ALL} has the others in it: leave them out")
    return list(dict.fromkeys(names))


def engine_arguments(options: Options) -> dict[str, Value]:
    """`load_format=dummy` -> {"load_format": "dummy"}; values are read as in YAML, so 2 is a number and true a switch."""
    found: dict[str, Value] = {}
    for text in options.engine_arg:
        name, separator, value = text.partition("=")
        if separator and (instead := instead_of_secret(name) or ("leave it out" if redacted(value) != value else None)):
            raise UsageError(f"--engine-arg {name}: a secret would be stored with the trial: {instead}")
        read = parse_scalar(value)
        if separator and (why := not_a_value(read)):
            raise UsageError(f"--engine-arg {name}: {why.replace('NAME', name).replace(': ...', '=...')}")
        if isinstance(read, list) and read and all(isinstance(one, bool | int | float | str) for one in read):
            read = list_text(read)
        if not (separator and is_argument(name) and isinstance(read, bool | int | float | str)):
            raise UsageError(
                f"--engine-arg {text!r}: expected NAME=VALUE in vLLM's own names, for example load_format=dummy"
            )
        if name in TUNERS_OWN:
            raise UsageError(f"--engine-arg {name}: tuner itself gives {name} to each server: leave it out")
        if name in found:
            raise UsageError(f"--engine-arg {name} is given twice: leave one of them out")
        found[name] = read
    return found


def draft_model(options: Options) -> str | None:
    """As `model_named`. Raises UsageError."""
    return None if options.draft_model is None else model_named(options.draft_model, "--draft-model")


def model_named(name: str, said: str = "--model") -> str:
    """A folder as an absolute path, checked; a hub name as it is. `said` is where it was named. Raises UsageError."""
    path = Path(name).expanduser()
    if not (path.exists() or name.startswith(("/", ".", "~")) or name.count("/") > 1):
        return name
    if not path.is_dir():
        raise UsageError(f"{said} {name}: there is no such folder")
    if not (path / "config.json").is_file():
        raise UsageError(f"{said} {name}: this folder has no config.json, so it is no model that vLLM can load")
    return str(path.resolve())


def _check_words(options: Options) -> None:
    """Names become folders and keys of a database, and every text is printed."""
    if options.study is not None and (why := not_a_name(options.study)):
        raise UsageError(f"--study {options.study!r}: {why}")
    for field in fields(options):
        value = () if field.name == "baseline" else getattr(options, field.name)  # it may have lines, and is parsed
        for text in value if isinstance(value, tuple | list) else [value]:
            if isinstance(text, str | Path) and (why := not_printable(str(text))):
                raise UsageError(f"--{field.name.replace('_', '-')} {str(text)!r}: {why}")


def _check_kind(options: Options) -> None:
    if (options.engine == "replay") != (options.surface is not None):
        raise UsageError("--engine replay and --surface FILE, the recorded measurements, belong together")
    if options.address is not None and not options.address.strip():
        raise UsageError("--address is empty: give HOST:PORT of the Ray cluster's head node, or auto")
    if options.address is not None and options.executor != "ray":
        raise UsageError(f"--address {options.address} is that of a Ray cluster: give --executor ray, too")
    if options.engine == "replay" and options.executor != "local":
        raise UsageError(f"--executor {options.executor}: what was recorded is not launched anywhere")
    if options.engine == "replay" and options.parallel != "1":
        raise UsageError(f"--parallel {options.parallel}: what was recorded is answered at once, one after the other")
    if options.engine == "sim" and options.space is None and options.gpu in ("auto", "cpu"):
        cards = ", ".join(name for name in shipped_spaces() if name != "cpu")
        raise UsageError(f"--engine sim simulates a card, and --gpu is {options.gpu}: name one of {cards}")
