"""The files that a study's trials have beside their numbers: which there are, and what one of them holds when it is asked for.

In: the database, and the folder of the servers' logs. Out: files that are made as they are read: nothing is copied. Of the logs
only those are read that the database names, that lie in the study's own folder, and are no links to elsewhere. Secrets are
hidden.
"""

import json
import os
import re
import stat
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path

from tuner.propose.shown import Artifact, Content
from tuner.record.rows import StudyRecord
from tuner.record.store import Store
from tuner.record.timelines import StoredTimeline
from tuner.space.redaction import redacted
from tuner.space.words import is_secret
from tuner.study.timeline_svg import timeline_svg

#: Of a longer log its beginning and its end are given.
_HEAD_BYTES, _TAIL_BYTES = 256 * 1024, 768 * 1024
#: The most logs of one trial: of its launch in the search, and of the first ones of its verification.
_LOGS = 10
_ID = re.compile(r"([0-9a-f]{16})-([0-9a-f]{1,8})-(1[0-9a-f]|2|3)")


def artifacts_of(record: StudyRecord, number: int, logs: Sequence[Path], *, has_timeline: bool) -> tuple[Artifact, ...]:
    """Of a trial whose servers wrote these logs."""
    begin = f"{_token(record)}-{number:x}"
    found = [
        Artifact(id=f"{begin}-{0x10 + place:x}", filename=log.name, mimetype="text/plain")
        for place, log in enumerate(logs[:_LOGS])
    ]
    if has_timeline:
        found.append(Artifact(id=f"{begin}-2", filename=f"trial-{number}-timeline.svg", mimetype="image/svg+xml"))
        found.append(Artifact(id=f"{begin}-3", filename=f"trial-{number}-timeline.json", mimetype="application/json"))
    return tuple(found)


class Artifacts:
    """`Artifacts(store, logs)(id)`: the content, or None where there is no such file."""

    def __init__(self, store: Store, logs: Path, environment: Mapping[str, str] = os.environ) -> None:
        """What the environment holds in variables that look like secrets is hidden wherever it stands in a log."""
        self._store, self._logs = store, logs
        self._secrets = [value for name, value in environment.items() if is_secret(name)]

    def __call__(self, artifact: str) -> Content | None:
        if (named := _ID.fullmatch(artifact)) is None:
            return None
        token, number, kind = named[1], int(named[2], 16), int(named[3], 16)
        record = next((one for one in self._store.studies() if _token(one) == token), None)
        if record is None:
            return None
        if kind >= 0x10:
            return self._log(record, number, kind - 0x10)
        found = self._store.timelines(record.name, number)
        if not found:
            return None
        title = f"{record.fingerprint.unreal or ''} {record.name}, trial {number}".strip()
        if kind == 2:
            return Content(
                filename=f"trial-{number}-timeline.svg",
                mimetype="image/svg+xml",
                body=timeline_svg(found[0].timeline, title).encode(),
            )
        return Content(filename=f"trial-{number}-timeline.json", mimetype="application/json", body=_json(found))

    def _log(self, record: StudyRecord, number: int, place: int) -> Content | None:
        logs = self._store.logs_by_trial(record.name).get(number, [])
        if not place < len(logs) or (log := _inside(logs[place], self._logs / record.name)) is None:
            return None
        try:
            text = _ends_of(log)
        except OSError:
            return None
        return Content(
            filename=log.name, mimetype="text/plain; charset=utf-8", body=redacted(text, self._secrets).encode()
        )


def _token(record: StudyRecord) -> str:
    """Of a study that was deleted and begun again under the same name it is another."""
    return sha256(f"{record.name}\0{record.created_at.isoformat()}".encode()).hexdigest()[:16]


def _inside(log: Path, folder: Path) -> Path | None:
    """Where the log really lies, if that is in the folder."""
    try:
        path, place = log.resolve(strict=True), folder.resolve(strict=True)
    except (OSError, ValueError, RuntimeError):
        return None
    return path if path.parent == place and path.suffix == ".log" else None


def _ends_of(log: Path) -> str:
    with os.fdopen(os.open(log, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
        told = os.fstat(file.fileno())
        if not stat.S_ISREG(told.st_mode):
            raise OSError(f"{log} is no file")
        if told.st_size <= _HEAD_BYTES + _TAIL_BYTES:
            return file.read(_HEAD_BYTES + _TAIL_BYTES).decode("utf-8", "replace")
        head = file.read(_HEAD_BYTES)
        file.seek(told.st_size - _TAIL_BYTES)
        tail = file.read(_TAIL_BYTES)
    left_out = told.st_size - len(head) - len(tail)
    return f"{head.decode('utf-8', 'replace')}\n... {left_out:,} bytes are left out here ...\n{tail.decode('utf-8', 'replace')}"


def _json(found: Sequence[StoredTimeline]) -> bytes:
    loads = [{"contest": one.contest, "round": one.round, **asdict(one.timeline)} for one in found]
    return (json.dumps({"trial": found[0].trial, "loads": loads}) + "\n").encode()
