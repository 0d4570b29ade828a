"""What others are shown of a study beside its trials in; the same in the attributes that optuna-dashboard reads, written, out.

Its notes and artifacts are attributes of Optuna's study, so they can be written for a trial that has ended. A line in a note
says that tuner wrote it: what a person has put in its place stays.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

import optuna

from tuner.propose.storage import OURS, Opener, read_only_storage, storage

#: The end of each note of ours.
SIGNED = "*Written by tuner. A note of your own, without this line, stays.*"
#: optuna-dashboard 0.21 puts a note together from pieces of this length.
_PIECE = 2045


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """A file that can be asked for by its id: hexadecimal digits and dashes."""

    id: str
    filename: str
    mimetype: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """What such a file holds when it is asked for."""

    filename: str
    mimetype: str
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownTrial:
    """A trial's note, and its files."""

    note: str
    artifacts: tuple[Artifact, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """`attributes` are the study's, `note` is its own; `trials` by their numbers. Notes are Markdown."""

    attributes: Mapping[str, str | bool]
    note: str
    trials: Mapping[int, ShownTrial] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Behind:
    """What has to be written: attributes of the study for its pages, and for its readers."""

    study: int
    system: Mapping[str, str | int]
    user: Mapping[str, str | bool]


def show(opened: optuna.storages.BaseStorage, name: str, shown: Shown) -> None:
    """Have Optuna's study say it, where there is one of ours."""
    with suppress(KeyError):  # it is deleted meanwhile
        if (behind := _behind(opened, name, shown)) is None:
            return
        for key, value in behind.system.items():
            opened.set_study_system_attr(behind.study, key, value)
        for key, told in behind.user.items():
            opened.set_study_user_attr(behind.study, key, told)


def is_behind(opened: optuna.storages.BaseStorage, name: str, shown: Shown) -> bool:
    """Whether `show` would write anything; it may be asked of a storage that can only be read."""
    behind = _behind(opened, name, shown)
    return behind is not None and bool(behind.system or behind.user)


def bring_up_to_date(url: str, opener: Opener | None, name: str, shown: Shown) -> None:
    """`show`, in the database of that URL; it is opened to be written only where that has to be. Raises what it refuses."""
    reading = read_only_storage(url, opener)
    try:
        if not is_behind(reading, name, shown):
            return
    finally:
        reading.remove_session()
        reading.engine.dispose()
    writing = storage(url)
    try:
        show(writing, name, shown)
    finally:
        writing.remove_session()
        writing.engine.dispose()


def _behind(opened: optuna.storages.BaseStorage, name: str, shown: Shown) -> _Behind | None:
    """None where there is no such study, or it is another program's."""
    try:
        study = opened.get_study_id_from_name(name)
    except KeyError:
        return None
    before, seen = opened.get_study_system_attrs(study), opened.get_study_user_attrs(study)
    if OURS not in before:
        return None
    ids = {trial.number: trial._trial_id for trial in opened.get_all_trials(study, deepcopy=False)}
    wanted = dict(_of_note(before, shown.note, None))
    for number, one in shown.trials.items():
        if number in ids:
            wanted |= dict(_of_note(before, one.note, ids[number]))
            wanted |= {_artifact_key(ids[number], each.id): _told(each) for each in one.artifacts}
    return _Behind(
        study=study,
        system={key: value for key, value in wanted.items() if before.get(key) != value},
        user={key: value for key, value in shown.attributes.items() if seen.get(key) != value},
    )


def _of_note(before: Mapping[str, object], body: str, trial: int | None) -> Iterator[tuple[str, str | int]]:
    """The attributes that make it the note of the study or of a trial; none where a person's is there."""
    place = "dashboard:" if trial is None else f"dashboard:{trial}:"
    pieces: list[str] = []
    while (key := f"{place}note_str:{len(pieces)}") in before:
        pieces.append(str(before[key]))
    there = "".join(pieces)
    if there.strip() and SIGNED not in there:
        return
    whole = f"{body.rstrip()}\n\n{SIGNED}\n"
    if whole == there:
        return
    cut = [whole[begin : begin + _PIECE] for begin in range(0, len(whole), _PIECE)]
    for number in range(max(len(cut), len(pieces))):
        yield f"{place}note_str:{number}", cut[number] if number < len(cut) else ""
    version = before.get(f"{place}note_ver", 0)
    yield f"{place}note_ver", (version if isinstance(version, int) else 0) + 1


def _artifact_key(trial: int, artifact: str) -> str:
    return f"dashboard:artifacts:{trial}:{artifact}"


def _told(artifact: Artifact) -> str:
    told = {"artifact_id": artifact.id, "filename": artifact.filename, "mimetype": artifact.mimetype}
    return json.dumps({**told, "encoding": None})
