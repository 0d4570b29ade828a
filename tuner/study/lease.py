"""Which tuner holds a study and its launches: this process, another that is alive, or one that is gone."""

import os
from contextlib import AbstractContextManager

from tuner.launch.processes import identity, is_alive
from tuner.record.rows import Launch
from tuner.record.store import Store
from tuner.types import ProcessId


def holding(store: Store, study: str) -> AbstractContextManager[None]:
    """Hold the study while the block runs. Raises UsageError if another tuner that is alive does."""
    return store.claimed(study, me(), _is_another)


def abandoned(store: Store) -> list[Launch]:
    """The launches on this host that nobody saw end, except those of another tuner that is alive."""
    return store.open_launches(_is_another)


def me() -> ProcessId:
    """This process."""
    return identity(os.getpid())


def _is_another(tuner: ProcessId) -> bool:
    return tuner.pid != os.getpid() and is_alive(tuner)
