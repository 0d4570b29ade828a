import pytest

from tuner.measure.visible import visible
from tuner.types import DetectedGpu


def gpu(index: int, uuid: str, card_uuid: str | None = None) -> DetectedGpu:
    return DetectedGpu(
        index=index,
        uuid=uuid,
        name="NVIDIA A100-SXM4-80GB",
        memory_bytes=80 * 1024**3,
        compute_capability=(8, 0),
        driver="550.1",
        card_uuid=card_uuid,
    )


CARDS = [gpu(0, "GPU-8932f937-aa"), gpu(1, "GPU-8932f111-bb"), gpu(2, "GPU-c0ffee00-cc")]
MIG = [gpu(0, "MIG-11aa", "GPU-8932f937-aa"), gpu(0, "MIG-11bb", "GPU-8932f937-aa"), gpu(1, "GPU-c0ffee00-cc")]


@pytest.mark.parametrize(
    ("named", "seen", "cut"),
    [
        (None, [0, 1, 2], None),
        ("2,0", [2, 0], None),
        (" 1 , 2 ", [1, 2], None),
        ("GPU-c0f", [2], None),
        ("gpu-c0f", [], "gpu-c0f"),
        ("GPU-C0FFEE00", [2], None),
        ("GPU-8932f1,GPU-c0ffee00-cc", [1, 2], None),
        ("GPU-8932f", [], "GPU-8932f"),
        ("1,7,0", [1], "7"),
        ("7,1", [], "7"),
        ("0,-1,2", [0], "-1"),
        ("0,0", [], "0"),
        ("1,1,0", [], "1"),
        ("GPU-8932f1,0", [1], "0"),
        ("0,GPU-8932f1", [0], "GPU-8932f1"),
        ("0x1", [0], "0x1"),
        ("1a,0", [1], "1a"),
        ("+1", [1], None),
        ("01", [1], None),
        ("1.0", [1], "1.0"),
        ("0;1", [0], "0;1"),
        ("0,,1", [0], ""),
        ("GPU-", [], "GPU-"),
        ("8932f1", [], "8932f1"),
        ("0,", [0], ""),
        ("", [], ""),
        ("-1", [], "-1"),
        ("none", [], "none"),
        ("MIG-11aa", [], "MIG-11aa"),
    ],
)
def test_cudas_own_rules(named: str | None, seen: list[int], cut: str | None) -> None:
    found = visible(CARDS, named)
    assert ([card.index for card in found.gpus], found.cut) == (seen, cut)
    assert bool(found.hidden) == (not seen)


@pytest.mark.parametrize(
    ("named", "seen"),
    [
        (None, ["GPU-c0ffee00-cc"]),
        ("0", ["MIG-11aa"]),
        ("MIG-11b", ["MIG-11bb"]),
        ("MIG-11", []),
        ("GPU-8932f937-aa", ["MIG-11aa"]),
        ("1", ["GPU-c0ffee00-cc"]),
    ],
)
def test_slices(named: str | None, seen: list[str]) -> None:
    assert [card.uuid for card in visible(MIG, named).gpus] == seen
    assert [card.uuid for card in visible(MIG[:2], None).gpus] == ["MIG-11aa"]


def test_a_machine_without_cards_hides_none() -> None:
    assert visible([], "0").hidden is None
    assert visible([], "0").gpus == ()
