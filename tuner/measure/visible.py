"""The GPUs of a machine and CUDA_VISIBLE_DEVICES in; the GPUs that a CUDA program sees, in its order, out. Pure.

The rules are CUDA's own (CUDA programming guide, "CUDA environment variables"; MIG user guide): an index, or the unambiguous
beginning of the UUID of a card or of a MIG slice; the first entry that names nothing ends the list; unset means all. A card in
MIG mode is seen by its slices only, and of those the first is used where none is named.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from tuner.types import DetectedGpu


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
    cut = None
    for entry in (entry.strip() for entry in named.split(",")):
        gpu = _named(detected, entry)
        if gpu is None or gpu in found:
            cut = entry
            break
        found.append(gpu)
    return Visible(gpus=tuple(found), hidden=_hidden(detected, named) if detected and not found else None, cut=cut)


def _named(detected: Sequence[DetectedGpu], entry: str) -> DetectedGpu | None:
    if entry.isascii() and entry.isdigit():
        return next((gpu for gpu in detected if gpu.index == int(entry)), None)
    if not entry.startswith(("GPU-", "MIG-")):
        return None
    known = {(gpu.card_uuid or gpu.uuid) if entry.startswith("GPU-") else gpu.uuid: gpu for gpu in reversed(detected)}
    of_uuid = [gpu for uuid, gpu in known.items() if uuid.lower().startswith(entry.lower())]
    return of_uuid[0] if len(of_uuid) == 1 else None


def _hidden(detected: Sequence[DetectedGpu], named: str) -> str:
    there = ", ".join(f"{gpu.index} ({gpu.name}, {gpu.uuid})" for gpu in detected)
    how = "is empty, which hides" if not named.strip() else f"is {named!r}, whose first entry names none of"
    return f"CUDA_VISIBLE_DEVICES {how} the GPUs of this machine: {there}"
