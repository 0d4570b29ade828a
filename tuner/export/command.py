"""A trial in, one shell command out: the tuple that the launch ran, with the user's host and port."""

import shlex

from tuner.types import Fingerprint, Trial


def export_command(trial: Trial, fingerprint: Fingerprint, host: str, port: int) -> str:
    environment = [f"{name}={shlex.quote(value)}" for name, value in trial.command.environment.items()]
    argv = (*trial.command.argv, "--host", host, "--port", str(port))
    return " ".join([*environment, shlex.join(argv)]) + "\n"
