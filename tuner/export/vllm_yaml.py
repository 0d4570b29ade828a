"""A trial in, the YAML file for `vllm serve --config FILE` out.

vLLM turns each key back into a flag and drops a false value, so `--no-x` is the key `no-x: true`. A mapping below a key is a
nested config, a list several words (utils/argparse_utils.py, load_config_file).
"""

import yaml

from tuner.export.caution import environment_words
from tuner.export.chosen import Chosen
from tuner.export.engines import check_one_process
from tuner.export.provenance import head
from tuner.export.serving import environment
from tuner.types.settings import nested


def export_yaml(chosen: Chosen) -> str:
    check_one_process(chosen, "`vllm serve --config FILE`")
    command = chosen.trial.command
    settings = {
        "model": command.model,
        "host": chosen.host,
        "port": chosen.port,
        **dict(map(_entry, nested(command.settings).items())),
    }
    run = " ".join((*environment_words(environment(command)), "vllm serve --config FILE"))
    return head(chosen, f"run: {run}") + yaml.safe_dump(settings, sort_keys=False)


def _entry(argument: tuple[str, object]) -> tuple[str, object]:
    """An argument by vLLM's name as an entry of the file: ("enable_x", False) is ("no-enable-x", True)."""
    name, value = argument[0].replace("_", "-"), argument[1]
    return (f"no-{name}", True) if value is False else (name, value)
