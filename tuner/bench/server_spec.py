"""A file for `vllm serve --config` or a trial of a database in; the server that it stands for out. It launches nothing."""

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from tuner.errors import UsageError
from tuner.record.store import Store
from tuner.space.search_space import SearchSpace
from tuner.space.vllm_flags import parts, underscored
from tuner.space.words import is_secret_argument
from tuner.space.yaml_file import key_line, read_yaml
from tuner.study.checks import check
from tuner.study.options import Options
from tuner.study.setup import choose_space
from tuner.types import DetectedGpu, Params


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A server that is to be launched: `vllm serve MODEL *flags`, or with the file `config`. `model` is that of the options if
    None; `served` is the name that it answers to, the model if None. `settings` are what `flags` say, where that is known."""

    options: Options
    space: SearchSpace
    environment: Mapping[str, str]
    flags: tuple[str, ...] = ()
    settings: Params = field(default_factory=dict)
    config: Path | None = None
    model: str | None = None
    served: str | None = None


def source_of(name: str, options: Options, model: str | None, detected: Sequence[DetectedGpu]) -> Source:
    """What `name` stands for; `model` is that of a file that names none. Raises UsageError."""
    if name.endswith((".yaml", ".yml")) or Path(name).is_file():
        return _file(Path(name), options, model, detected)
    if trial := re.fullmatch(r"(.+):(\d+)", name):
        return _trial(trial[1], int(trial[2]), options)
    raise UsageError(
        f"{name!r} is nothing to compare: give the URL of a server (http://...), a YAML file of `vllm serve --config`, "
        "or STUDY:TRIAL"
    )


class _Config(BaseModel):
    """What tuner heeds of a file for `vllm serve --config`; vLLM itself reads the rest, and is asked whether it takes it."""

    model_config = ConfigDict(extra="allow", validate_by_name=True, validate_by_alias=True)
    model: str | None = None
    served_model_name: str | list[str] | None = Field(default=None, alias="served-model-name")
    tensor_parallel_size: int = Field(default=1, alias="tensor-parallel-size", ge=1)
    pipeline_parallel_size: int = Field(default=1, alias="pipeline-parallel-size", ge=1)
    data_parallel_size: int = Field(default=1, alias="data-parallel-size", ge=1)


def _file(path: Path, options: Options, model: str | None, detected: Sequence[DetectedGpu]) -> Source:
    if path.suffix not in (".yaml", ".yml"):
        raise UsageError(f"{path}: vLLM takes a file for --config only if its name ends with .yaml or .yml")
    config = read_yaml(path, _Config)
    _check_is_for_vllm(path, config)
    for key, value in (config.model_extra or {}).items():
        if secret := next((name for name, _ in parts(underscored(key), value) if is_secret_argument(name)), None):
            named = key if "." not in secret else secret
            raise UsageError(
                f"{path}:{key_line(path, key)}: {named}: it would be copied beside the logs: {_instead(secret)}"
            )
    model = config.model or model
    if not model:
        raise UsageError(f"{path} names no model: add `model: ...` to it, or give --model")
    sizes = ("tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size")
    own = replace(options, model=model, engine_arg=tuple(f"{size}={getattr(config, size)}" for size in sizes))
    try:
        check(own)
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from error
    space = choose_space(own, detected)
    name = config.served_model_name
    return Source(
        options=own,
        space=space,
        config=path,
        environment=space.environment,
        served=name[0] if isinstance(name, list) and name else str(name) if name else None,
    )


def _instead(secret: str) -> str:
    if secret == "hf_token":
        return "set HF_TOKEN"
    return "a server that is launched to be measured needs none" if secret == "api_key" else "leave it out"


#: Keys of files that are something else, and what they are.
_OTHERS = {
    "a compose file": ("services", "networks", "volumes", "x-common"),
    "a Kubernetes manifest": ("apiVersion", "kind"),
    "a Helm values file": ("servingEngineSpec", "replicaCount"),
    "a config of `tuner optimize`": ("trials", "objective", "workload"),
    "a search space of tuner": ("parameters", "enqueue"),
    "a workload of tuner": ("input_tokens", "output_tokens"),
}


def _check_is_for_vllm(path: Path, config: _Config) -> None:
    """Raises UsageError for a file that plainly is another tool's: vLLM would call its first key an unknown flag."""
    keys = (config.model_extra or {}).keys()
    for what, known in _OTHERS.items():
        if found := [key for key in known if key in keys]:
            raise UsageError(
                f"{path} is {what} (key {found[0]}) and no file for `vllm serve --config`: write the server's arguments "
                "into a YAML file of their own, `model: ...` and a line for each flag"
            )


def _trial(study: str, number: int, options: Options) -> Source:
    store = Store.open(options.storage, read_only=True)
    try:
        record, trials = store.study(study), store.trials(study)
    finally:
        store.close()
    trial = next((trial for trial in trials if trial.number == number), None)
    if trial is None:
        raise UsageError(
            f"study {study!r} has no trial {number} that ended: see `{shlex.join(('tuner', 'trials', study))}`"
        )
    own = replace(options, model=record.model)
    check(own)
    if trial.command.engines_per_gpu > 1 and not record.fingerprint.mps:
        own = replace(own, mps="off")  # as it was measured
    argv = trial.command.argv
    model, *flags = argv[argv.index("serve") + 1 :]
    return Source(
        options=own,
        space=SearchSpace.model_validate_json(record.space),
        flags=tuple(flags),
        settings=trial.command.settings,
        environment=trial.command.environment,
        model=model,
        served=record.model,
    )
