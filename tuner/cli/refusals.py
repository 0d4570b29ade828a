"""Where every error that tuner raises on purpose leaves: one sentence on stderr, and an exit code."""

from contextlib import suppress
from typing import Any

import typer

from tuner.cli.help import Group
from tuner.errors import TunerError, is_full

_DEBUG: list[bool] = []


class Refusing(Group):
    """The root of the commands. With --debug errors go on, with their tracebacks."""

    def invoke(self, ctx: Any) -> Any:
        _DEBUG.append(ctx.params["debug"])
        try:
            return super().invoke(ctx)
        except TunerError as error:
            if ctx.params["debug"]:
                raise
            _tell(f"Error: {error}")
            raise typer.Exit(error.exit_code) from error
        except BrokenPipeError:
            raise
        except OSError as error:
            if ctx.params["debug"] or error.errno is None:
                raise
            _tell(f"Error: {_of_the_system(error)}")
            raise typer.Exit(1) from error


def is_debug() -> bool:
    """Whether the command that runs was given --debug."""
    return bool(_DEBUG and _DEBUG[-1])


def _tell(sentence: str) -> None:
    from tuner.cli.console import errors, plain

    with suppress(OSError):  # a full disk behind 2>
        errors.print(plain(sentence), style="bold red", markup=False, highlight=False, soft_wrap=True)


def _of_the_system(error: OSError) -> str:
    """What the system refused, where it is not known what was done: reading a file, printing to one."""
    place = error.filename or "what is printed"
    if is_full(error):
        return f"{place} cannot be written, the disk is full: free some space and run the same command again"
    return f"{place}: {error.strerror}"
