"""The GPUs of a machine and CUDA_VISIBLE_DEVICES in; the GPUs that a CUDA program sees, in its order, out. Pure.

The rules are CUDA's own (CUDA programming guide, "CUDA environment variables"; MIG user guide): indices, or unambiguous
beginnings of UUIDs of cards or of MIG slices, not both; the first entry that names nothing ends the list; unset means all. A
card in MIG mode is seen by its slices only, and of those the first is used where none is named. What the guide leaves open is
as driver 580 does it on two H200: a number is read as far as it goes ("0x1" is 0), and ends the list if anything follows; a
card that is named twice is an error of CUDA, which then sees none.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from tuner.types import DetectedGpu

#: The environment variable that says which GPUs a CUDA program sees.
VISIBLE = "CUDA_VISIBLE_DEVICES"


@dataclass(frozen=True, slots=True, kw_only=True)
class Visible:
    """`gpus` are those that a CUDA program sees. `hidden` says in a sentence why there are none although the machine has some,
    `cut` is the entry that ended the list before its end."""

    gpus: tuple[DetectedGpu, ...]
    hidden: str | None = None
    cut: str | None = None


def visible(detected: Sequence[DetectedGpu], named: str | None) -> Visible:
    """`named` is the variable's value; None if it is not set."""
    if named is None:
        whole = tuple(gpu for gpu in detected if gpu.card_uuid is None)
        return Visible(gpus=whole or tuple(detected[:1]))
    found: list[DetectedGpu] = []
    entries = [entry.strip() for entry in named.split(",")]
    by_uuid = entries[0].startswith(("GPU-", "MIG-"))
    cut = None
    for entry in entries:
        number = _NUMBER.match(entry)
        gpu = _of_uuid(detected, entry) if by_uuid else _of_index(detected, number)
        if gpu in found:
            how = f"is {named!r}, which names a card twice, and then CUDA sees none of"
            return Visible(gpus=(), hidden=_hidden(detected, how), cut=entry)
        if gpu is not None:
            found.append(gpu)
        if gpu is None or (number and number.end() < len(entry)):
            cut = entry
            break
    if found or not detected:
        return Visible(gpus=tuple(found), cut=cut)
    how = f"is {named!r}, whose first entry names none of" if named.strip() else "is empty, which hides"
    return Visible(gpus=(), hidden=_hidden(detected, how), cut=cut)


_NUMBER = re.compile(r"\+?([0-9]+)")


def _of_index(detected: Sequence[DetectedGpu], number: re.Match[str] | None) -> DetectedGpu | None:
    return next((gpu for gpu in detected if number and gpu.index == int(number[1])), None)


def _of_uuid(detected: Sequence[DetectedGpu], entry: str) -> DetectedGpu | None:
    if not entry.startswith(("GPU-", "MIG-")):
        return None
    known = {(gpu.card_uuid or gpu.uuid) if entry.startswith("GPU-") else gpu.uuid: gpu for gpu in reversed(detected)}
    of_uuid = [gpu for uuid, gpu in known.items() if uuid.lower().startswith(entry.lower())]
    return of_uuid[0] if len(of_uuid) == 1 else None


def _hidden(detected: Sequence[DetectedGpu], how: str) -> str:
    there = ", ".join(f"{gpu.index} ({gpu.name}, {gpu.uuid})" for gpu in detected)
    return f"CUDA_VISIBLE_DEVICES {how} the GPUs of this machine: {there}"
