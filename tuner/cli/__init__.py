"""The command line: each command parses, calls one function, prints. Results on stdout, progress and errors on stderr."""

import os
import sys
from contextlib import suppress

from tuner.cli.commands import app
from tuner.errors import is_full


def run() -> None:
    """The console script; commands.py turns errors into a sentence and an exit code."""
    try:
        try:
            app()
        finally:
            sys.stdout.flush()  # here, where a full disk is still a sentence
    except KeyboardInterrupt:
        from tuner.interrupts import interrupted_code

        sys.exit(interrupted_code())
    except BrokenPipeError:  # `tuner trials | head`
        sys.stderr.close()
        sys.exit(0)
    except OSError as error:
        if not is_full(error):
            raise
        with suppress(OSError):
            sys.stderr.write(
                "Error: what is printed cannot be written, the disk is full: free some space and run it again\n"
            )
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115, PTH123  else Python fails to flush it once more
        sys.exit(1)
