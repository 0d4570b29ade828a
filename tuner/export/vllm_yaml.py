"""A trial in, the YAML file for `vllm serve --config FILE` out.

vLLM turns each key back into a flag and drops a false value, so `--no-x` is the key `no-x: true`. A mapping below a key is a
nested config, a list several words (utils/argparse_utils.py, load_config_file).
"""

import yaml

from tuner.decide.verdict import Verdict
from tuner.export.caution import cautions, environment_words, measured_on, verdict_sentence
from tuner.export.unreal import unreal_sentence
from tuner.types import Fingerprint, Trial
from tuner.types.settings import nested


def export_yaml(trial: Trial, fingerprint: Fingerprint, host: str, port: int, verdict: Verdict | None = None) -> str:
    command = trial.command
    settings = {
        "model": command.model,
        "host": host,
        "port": port,
        **dict(map(_entry, nested(command.settings).items())),
    }
    environment = " ".join(environment_words(dict(command.environment)))
    said = [unreal_sentence(fingerprint), verdict_sentence(trial, verdict), *cautions(trial)]
    head = [
        *(f"# {sentence}" for sentence in said if sentence),
        f"# trial {trial.number}, {measured_on(fingerprint)}",
        f"# run: {environment + ' ' if environment else ''}vllm serve --config FILE",
    ]
    return "\n".join(head) + "\n" + yaml.safe_dump(settings, sort_keys=False)


def _entry(argument: tuple[str, object]) -> tuple[str, object]:
    """An argument by vLLM's name as an entry of the file: ("enable_x", False) is ("no-enable-x", True)."""
    name, value = argument[0].replace("_", "-"), argument[1]
    return (f"no-{name}", True) if value is False else (name, value)
