"""What was measured and is not in the database yet, in a file of its own, until the database or the same command takes it.

In: a trial or a verification, and the folder of the study's logs. Out: the same, once the database takes it.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from tuner.errors import StorageError
from tuner.record.rows import StudyRecord, Verification
from tuner.space.words import is_secret
from tuner.types import Trial

_PATTERN = "kept-*.json"
_RESERVE = ".reserve"
#: A measurement takes less than 8 KiB, its time line 32 KiB, and the end of a failed server's log some more.
_RESERVED_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """One measurement of the study of that name, begun then."""

    study: str
    begun_at: datetime
    measured: Trial | Verification


_KEPT = TypeAdapter(Kept)


def stored_or_kept(store: Callable[[], None], folder: Path, study: StudyRecord, measured: Trial | Verification) -> None:
    """Store it; until that is done, it is in a file, which outlives whatever ends this process while the database is away.
    Raises StorageError where the database refuses, whose sentence says where it is kept."""
    number = measured.number if isinstance(measured, Trial) else measured.trial_number
    path = folder / f"kept-{number}-{measured.ended_at:%Y%m%d%H%M%S}.json"
    command = measured.command
    public = {name: value for name, value in command.environment.items() if not is_secret(name)}
    kept = Kept(
        study=study.name,
        begun_at=study.created_at,
        measured=replace(measured, command=replace(command, environment=public)),
    )
    is_kept = _written(path, kept) is None
    try:
        store()
    except StorageError as error:
        (folder / _RESERVE).unlink(missing_ok=True)
        if not is_kept and (why := _written(path, kept)) is not None:
            lost = f"the measurement of trial {number} is lost, for {folder} cannot be written either ({why})"
            raise StorageError(f"{error}; {lost}") from error
        raise StorageError(f"{error}; the measurement of trial {number} is kept in {path} for that run") from error
    with suppress(OSError):
        path.unlink(missing_ok=True)


def _written(path: Path, kept: Kept) -> str | None:
    """Why it cannot be written, None where it was."""
    try:
        path.write_bytes(_KEPT.dump_json(kept))
    except OSError as error:
        with suppress(OSError):
            path.unlink(missing_ok=True)
        return error.strerror
    return None


@contextmanager
def reserved(folder: Path) -> Iterator[None]:
    """Hold some space of that disk during the block, for what has to be kept there once it is full."""
    reserve = folder / _RESERVE
    with suppress(OSError):
        reserve.write_bytes(bytes(_RESERVED_BYTES))
    try:
        yield
    finally:
        with suppress(OSError):
            reserve.unlink(missing_ok=True)


def take_back(folder: Path, study: StudyRecord, take: Callable[[Trial | Verification], None]) -> None:
    """Give `take` what was kept of the study, the oldest first, and remove each file once that returns."""
    for path in sorted(folder.glob(_PATTERN), key=lambda path: path.stat().st_mtime):
        try:
            kept = _KEPT.validate_json(path.read_bytes())
        except ValidationError:  # cut off: it was never whole
            continue
        if (kept.study, kept.begun_at) == (study.name, study.created_at):
            take(kept.measured)
            path.unlink()
