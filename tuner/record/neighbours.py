"""Whether the launches of a study disturb one another, kept with it. It knows not how that is found."""

import socket
from dataclasses import dataclass

from pydantic import JsonValue, TypeAdapter
from sqlalchemy import select, update

from tuner.decide.neighbours import Disturbance
from tuner.record.store import Store
from tuner.record.tables import StudyRow


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """What was found with so many `slots` on `host`."""

    found: Disturbance
    slots: int
    host: str


_CHECKED: TypeAdapter[Checked | None] = TypeAdapter(Checked | None)


def keep_checked(store: Store, study: str, found: Disturbance, slots: int) -> None:
    """Of this host. Raises StorageError."""
    tree: JsonValue = _CHECKED.dump_python(Checked(found=found, slots=slots, host=socket.gethostname()), mode="json")
    with store.transaction() as session:
        session.execute(update(StudyRow).where(StudyRow.name == study).values(neighbours=tree))


def kept_checked(store: Store, study: str) -> Checked | None:
    """What is kept; None where nothing was found, or the study is not there. Raises StorageError."""
    with store.transaction() as session:
        return _CHECKED.validate_python(session.scalar(select(StudyRow.neighbours).where(StudyRow.name == study)))


def is_of(checked: Checked, slots: int) -> bool:
    """Whether it says something of so many slots of this host: what many do not disturb, fewer do not."""
    is_like = checked.slots == slots or (checked.found.is_undisturbed and checked.slots > slots)
    return is_like and checked.host == socket.gethostname()
