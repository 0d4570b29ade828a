"""A study in, nothing of it left: our tables, Optuna's, the logs of its servers. What another tuner runs is refused."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tuner.errors import StorageError, TunerError
from tuner.propose.storage import forget
from tuner.record.store import Store
from tuner.study.launches import sweep_leftovers
from tuner.study.lease import holding


def delete(store: Store, study: str) -> list[Path]:
    """The folders of logs that are gone with it. Raises UsageError when there is no such study or another tuner holds it."""
    store.study(study)
    sweep_leftovers(store)
    with store.errors(), holding(store, study):
        logs = store.logs(study)
        _forget(store, study)
    folders = []
    for folder in dict.fromkeys(log.parent for log in logs):
        others = (*folder.glob("kept-*.json"), *folder.glob("trial-*-quality.log"))
        for file in [*(log for log in logs if log.parent == folder), *others]:
            with suppress(OSError):
                file.unlink()
        with suppress(OSError):  # somebody else's files are in it
            folder.rmdir()
            folders.append(folder)
    return folders


@contextmanager
def not_left_empty(store: Store, study: str) -> Iterator[None]:
    """A study of which nothing was begun when the block fails does not stay."""
    try:
        yield
    except StorageError:
        raise
    except BaseException:
        with suppress(TunerError), store.errors():
            if not store.trials(study) and not store.running(study):
                _forget(store, study)
        raise


def _forget(store: Store, study: str) -> None:
    """Optuna's first: what is cut off between the two is made anew from ours."""
    forget(store.url, study)
    store.delete_study(study)
