"""A trial in, the YAML file for `vllm serve --config FILE` out.

vLLM turns each key back into a flag and drops a false value, so `--no-x` is the key `no-x: true`.
"""

import shlex

import yaml

from tuner.export.unreal import unreal_sentence
from tuner.types import Fingerprint, Trial, Value


def export_yaml(trial: Trial, fingerprint: Fingerprint, host: str, port: int) -> str:
    argv = trial.command.argv
    model, *flags = argv[argv.index("serve") + 1 :]
    settings: dict[str, Value] = {"model": model, "host": host, "port": port, **_pairs(flags)}
    environment = " ".join(f"{name}={shlex.quote(value)}" for name, value in trial.command.environment.items())
    where = f"measured on {fingerprint.gpu or 'the CPU'} with vLLM {fingerprint.engine_version}"
    sentence = unreal_sentence(fingerprint)
    head = [
        *([f"# {sentence}"] if sentence else []),
        f"# trial {trial.number}, {where if not sentence else f'{fingerprint.gpu}, {fingerprint.engine_version}'}",
        f"# run: {environment + ' ' if environment else ''}vllm serve --config FILE",
    ]
    return "\n".join(head) + "\n" + yaml.safe_dump(settings, sort_keys=False)


def _pairs(flags: list[str]) -> dict[str, Value]:
    """`--a 1 --no-b` -> {"a": 1, "no-b": True}; values as YAML reads them, so that 1 stays a number."""
    found: dict[str, Value] = {}
    name = ""
    for part in flags:
        if part.startswith("--"):
            name = part.removeprefix("--")
            found[name] = True
        else:
            value = yaml.safe_load(part)
            found[name] = value if isinstance(value, int | float) and not isinstance(value, bool) else part
    return found
