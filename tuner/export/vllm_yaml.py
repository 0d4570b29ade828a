"""A trial in, the YAML file for `vllm serve --config FILE` out.

vLLM turns each key back into a flag and drops a false value, so `--no-x` is the key `no-x: true`.
"""

import shlex

import yaml

from tuner.decide.verdict import Verdict
from tuner.export.unreal import unreal_sentence
from tuner.types import Fingerprint, Trial, Value


def export_yaml(trial: Trial, fingerprint: Fingerprint, host: str, port: int, verdict: Verdict | None = None) -> str:
    command = trial.command
    settings = {"model": command.model, "host": host, "port": port, **dict(map(_entry, command.settings.items()))}
    environment = " ".join(f"{name}={shlex.quote(value)}" for name, value in command.environment.items())
    where = f"measured on {fingerprint.gpu or 'the CPU'} with vLLM {fingerprint.engine_version}"
    sentence = unreal_sentence(fingerprint)
    head = [
        *([f"# {sentence}"] if sentence else []),
        f"# trial {trial.number}, {where if not sentence else f'{fingerprint.gpu}, {fingerprint.engine_version}'}",
        f"# run: {environment + ' ' if environment else ''}vllm serve --config FILE",
    ]
    return "\n".join(head) + "\n" + yaml.safe_dump(settings, sort_keys=False)


def _entry(argument: tuple[str, Value]) -> tuple[str, Value]:
    """An argument by vLLM's name as an entry of the file: ("enable_x", False) is ("no-enable-x", True)."""
    name, value = argument[0].replace("_", "-"), argument[1]
    return (f"no-{name}", True) if value is False else (name, value)
