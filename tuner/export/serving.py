"""What is exported in; what a server needs of whatever runs it, out: arguments, environment, GPUs, folders, time. Pure.

It knows no format. The arguments are those of the launch; a folder of the host keeps its path, so that they stay the same.
"""

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import PurePosixPath

from tuner.export.chosen import Chosen
from tuner.space.parallel import gpus_of
from tuner.space.words import is_secret
from tuner.types import Command, Fingerprint, Measured, Params
from tuner.types.settings import flag

#: From SIGTERM to SIGKILL: the requests that run may end.
STOP_S = 60
#: Of /health, once the server is ready.
PROBE_S = 10
#: /dev/shm of a container is 64 MB, too little for the workers of tensor parallelism to talk.
SHARED_MEMORY_GIB = 16
#: How many times the measured start is allowed: compiled code and the page cache are cold on a new machine.
_COLD, _LEAST_START_S, _LEAST_DOWNLOAD_S = 10, 600, 1800
#: Arguments whose value may be a folder or file that vLLM reads.
_READ = ("tokenizer", "hf_config_path", "chat_template", "speculative_config.model", "speculative_config.tokenizer")


def launched_arguments(chosen: Chosen) -> tuple[str, ...]:
    """What follows `vllm serve`, without host and port: the words that the launch ran. Of a server that is no vLLM, the same
    for one that is."""
    command = chosen.trial.command
    if chosen.fingerprint.unreal is None and "serve" in command.argv:
        return command.argv[command.argv.index("serve") + 1 :]
    return (command.model, *(part for name, value in command.settings.items() for part in flag(name, value)))


def headless_arguments(chosen: Chosen) -> tuple[tuple[str, ...], ...]:
    """The same for each of the other engines, where several share each GPU."""
    served = replace(chosen.trial.command, argv=("vllm", "serve"))
    return tuple(words[len(served.argv) :] for words in served.headless)


def headless(command: Command, where: Fingerprint) -> tuple[tuple[str, ...], ...]:
    """The argument vectors that the launch ran beside its first: what is simulated is one process."""
    return () if where.unreal else command.headless


def flags(chosen: Chosen, *without: str) -> tuple[str, ...]:
    """The arguments after the model, without these."""
    settings = chosen.trial.command.settings
    if not any(name in settings for name in without):
        return launched_arguments(chosen)[1:]
    return tuple(part for name, value in settings.items() if name not in without for part in flag(name, value))


def served_name(command: Command) -> str:
    """What clients call the model."""
    return str(command.settings.get("served_model_name", command.model))


def environment(command: Command) -> dict[str, str]:
    """The variables of the launch; what looks like a secret is in no export."""
    return {name: value for name, value in command.environment.items() if not is_secret(name)}


def is_identifier(name: str) -> bool:
    """Whether everything takes this as the name of an environment variable."""
    return name.isascii() and name.isidentifier()


def through_env(variables: Mapping[str, str]) -> tuple[str, ...]:
    """The words that stand before a program, so that it has variables which only the kernel takes."""
    return ("/usr/bin/env", "--", *(f"{name}={value}" for name, value in variables.items())) if variables else ()


def gpus(chosen: Chosen) -> int:
    """How many one server needs; 0 where it was measured on the CPU."""
    if chosen.fingerprint.gpu is None:
        return 0
    return gpus_of(chosen.trial.command.settings)


def replicas_inside(chosen: Chosen) -> int:
    """How many copies of the model have GPUs of their own: the data parallel size, less the engines that share."""
    command = chosen.trial.command
    return _size(command.settings, "data_parallel_size") // command.engines_per_gpu


def _size(settings: Params, name: str) -> int:
    value = settings.get(name, 1)
    return value if isinstance(value, int) and value >= 1 else 1


def is_folder(model: str) -> bool:
    """Whether it is a folder of the host, and no name of the hub."""
    return model.startswith("/")


def folders(command: Command) -> list[str]:
    """Paths of the host that the server reads, each to be mounted where it is. A snapshot in the hub's cache is links to the
    files beside it, so the whole model is mounted."""
    named = [command.model, *(str(command.settings[name]) for name in _READ if name in command.settings)]
    return list(dict.fromkeys(_whole(path) for path in named if is_folder(path)))


def _whole(path: str) -> str:
    parts = PurePosixPath(path).parts
    for place, part in enumerate(parts):
        if part.startswith("models--") and parts[place + 1 : place + 2] == ("snapshots",):
            return str(PurePosixPath(*parts[: place + 1]))
    return path


def startup_s(chosen: Chosen) -> int:
    """How long a start may take before it is given up: from what was measured, with room for a cold machine and a download."""
    outcome = chosen.trial.outcome
    measured_s = outcome.startup_s if isinstance(outcome, Measured) else None
    least_s = _LEAST_START_S if is_folder(chosen.trial.command.model) else _LEAST_DOWNLOAD_S
    return max(least_s, math.ceil((measured_s or 0.0) * _COLD / PROBE_S) * PROBE_S)
