"""A trial in, one shell command out: the tuple that the launch ran, with the user's host and port."""

import shlex

from tuner.decide.verdict import Verdict
from tuner.export.unreal import unreal_sentence
from tuner.types import Fingerprint, Trial


def export_command(trial: Trial, fingerprint: Fingerprint, host: str, port: int, verdict: Verdict | None = None) -> str:
    environment = [f"{name}={shlex.quote(value)}" for name, value in trial.command.environment.items()]
    argv = (*trial.command.argv, "--host", host, "--port", str(port))
    first = f"# {sentence}\n" if (sentence := unreal_sentence(fingerprint)) else ""
    return first + " ".join([*environment, shlex.join(argv)]) + "\n"
