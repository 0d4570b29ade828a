"""`tuner delete`: a study with all that is kept of it."""

import sys

import typer

from tuner.cli.console import errors, say
from tuner.errors import UsageError
from tuner.record.store import Store
from tuner.study.deleting import delete
from tuner.study.lease import holding


def run(study: str, storage: str, *, yes: bool) -> None:
    """Hold the study, ask, unless `yes`, and delete it. Raises UsageError where another tuner runs it, or where nobody can be
    asked."""
    Store.open(storage, read_only=True).close()  # what is not there is not made
    store = Store.open(storage)
    try:
        store.study(study)
        with holding(store, study, lambda told: say(errors, told)):
            count = len(store.trials(study))
            if not yes:
                _ask(
                    f"study {study!r} of {store.name}, its {count} {'trial' if count == 1 else 'trials'}, and its servers' logs"
                )
            folders = delete(store, study)
    finally:
        store.close()
    say(errors, f"deleted: study {study!r}, {count} trials" + "".join(f", {folder}" for folder in folders))


def _ask(what: str) -> None:
    if not sys.stdin.isatty():
        raise UsageError(f"{what} would be deleted for good: say that you mean it with --yes")
    typer.confirm(f"Delete {what}, for good?", abort=True, err=True)
