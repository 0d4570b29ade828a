"""The command line in this process: what `python -m tuner` shows and returns, without the second that it needs to start."""

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

from typer.testing import CliRunner

from tuner.cli.commands import app


@dataclass(frozen=True)
class Done:
    returncode: int
    stdout: str
    stderr: str


def tuner(folder: Path, *arguments: str, **environment: str) -> Done:
    """Run in `folder`, with nothing of this machine's settings."""
    clean: dict[str, str | None] = {name: None for name in os.environ if name.startswith("TUNER_")}
    with contextlib.chdir(folder):
        result = CliRunner().invoke(app, list(arguments), env=clean | environment)
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Done(result.exit_code, result.stdout, result.stderr)
