"""`tuner delete`: a study with all that is kept of it."""

import sys

import typer

from tuner.cli.console import errors, say
from tuner.errors import UsageError
from tuner.record.store import Store
from tuner.study.deleting import delete


def run(study: str, storage: str, *, yes: bool) -> None:
    """Ask, unless `yes`. Raises UsageError where nobody can be asked, or where another tuner runs the study."""
    Store.open(storage, read_only=True).close()  # what is not there is not made
    store = Store.open(storage)
    try:
        store.study(study)
        count = len(store.trials(study))
        what = f"study {study!r} of {store.name}, its {count} trials, and its servers' logs"
        if not yes:
            if not sys.stdin.isatty():
                raise UsageError(f"{what} would be deleted for good: say that you mean it with --yes")
            typer.confirm(f"Delete {what}, for good?", abort=True, err=True)
        folders = delete(store, study)
    finally:
        store.close()
    say(errors, f"deleted: study {study!r}, {count} trials" + "".join(f", {folder}" for folder in folders))
