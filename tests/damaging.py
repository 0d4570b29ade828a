"""Models whose answers are broken."""

import json
import random
import struct
from pathlib import Path

#: Of the weights of one layer, and by how many times their own size these are off.
SHARE, SIZE = 0.01, 50.0


def damaged(model: Path, folder: Path) -> Path:
    """A copy in which some weights of the output layer are wrong, as after a failed conversion."""
    folder.mkdir()
    for file in model.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    data = bytearray((model / "model.safetensors").read_bytes())
    size = struct.unpack_from("<Q", data)[0]
    begin, end = json.loads(data[8 : 8 + size])["lm_head.weight"]["data_offsets"]
    places = range(8 + size + begin, 8 + size + end, 2)  # of bfloat16, the upper half of a float32
    values = [struct.unpack("<f", b"\0\0" + data[at : at + 2])[0] for at in random.Random(0).sample(places, 1000)]
    usual, rng = (sum(value**2 for value in values) / len(values)) ** 0.5, random.Random(1)
    for at in rng.sample(places, int(SHARE * len(places))):
        data[at : at + 2] = struct.pack("<f", rng.gauss(0, SIZE * usual))[2:]
    (folder / "model.safetensors").write_bytes(data)
    return folder
