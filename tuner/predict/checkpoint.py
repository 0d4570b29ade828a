"""A model's folder in; how many bytes of its safetensors files vLLM loads out. Only the files' headers are read."""

import json
import re
import struct
from pathlib import Path
from typing import Any

from tuner.errors import UsageError
from tuner.predict.config_json import read_json

_INDEX = "model.safetensors.index.json"
_LARGEST_HEADER = 100_000_000  # bytes; the safetensors library refuses more


def stored_bytes(folder: Path, layers: int, *, tied: bool) -> int | None:
    """Bytes of all tensors that belong to the model: neither layers beyond `layers` (those of speculative heads), nor an
    output head that is `tied` to the embedding. None without safetensors files; from the index alone where only that is there.

    Raises UsageError for a file that is cut or is no safetensors file."""
    # The original files of Mistral and Llama lie beside the same weights in the hub's format; vLLM reads one of them.
    files = [path for path in sorted(folder.glob("*.safetensors")) if not path.name.startswith("consolidated")]
    index = folder / _INDEX
    if index.is_file():
        listed = read_json(index)
        names = listed.get("weight_map")
        files = (
            [folder / name for name in sorted({str(name) for name in names.values()})]
            if isinstance(names, dict)
            else files
        )
        if not all(path.is_file() for path in files):
            return _total_size(listed, index)
    sizes = [size for path in files for name, size in _tensors(path) if _is_loaded(name, layers, tied=tied)]
    return sum(sizes) or None


def _total_size(index: dict[str, Any], path: Path) -> int | None:
    """What the index says, where its files are not here; it counts everything."""
    metadata = index.get("metadata")
    size = metadata.get("total_size") if isinstance(metadata, dict) else None
    if size is None:
        return None
    if isinstance(size, bool) or not isinstance(size, int | float) or size <= 0:
        raise UsageError(f"{path}: total_size is {size}; it must be a number of bytes")
    return int(size)


def _is_loaded(name: str, layers: int, *, tied: bool) -> bool:
    if tied and name.endswith("lm_head.weight"):
        return False
    layer = re.search(r"(?:^|\.)layers\.(\d+)\.", name)
    return layer is None or int(layer[1]) < layers


def _tensors(path: Path) -> list[tuple[str, int]]:
    """The names of a file's tensors, and their bytes."""
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            header = json.loads(file.read(length)) if length <= _LARGEST_HEADER else None
        tensors = {name: entry["data_offsets"] for name, entry in header.items() if name != "__metadata__"}  # type: ignore[union-attr]
        sizes = [(name, int(end) - int(begin)) for name, (begin, end) in tensors.items()]
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error}") from None
    except (struct.error, ValueError, AttributeError, TypeError, KeyError, OverflowError, RecursionError):
        sizes = [("", -1)]
    if any(size < 0 for _, size in sizes):
        raise UsageError(f"{path} is not a whole safetensors file: download it again")
    return sizes
