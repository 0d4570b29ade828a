"""Slots of hosts that are described: which cards and cores each gets, and what is refused."""

import pytest

from tuner.errors import UsageError
from tuner.execute.places import few_cores, slots_of
from tuner.execute.slot import Slot
from tuner.measure.topology import Core, Topology
from tuner.types import DetectedGpu


def cards(count: int, name: str = "NVIDIA L4", begin: int = 0) -> list[DetectedGpu]:
    return [
        DetectedGpu(
            index=index,
            uuid=f"GPU-{index}",
            name=name,
            memory_bytes=24 * 2**30,
            compute_capability=(8, 9),
            driver="580",
        )
        for index in range(begin, begin + count)
    ]


def host(cores: int, *, threads: int = 2, nodes: int = 1, gpus: int = 0, lent: int | None = None) -> Topology:
    """As Linux numbers them: the second threads come after all first ones, and nodes hold runs of cores and of GPUs."""
    found = [
        Core(threads=frozenset(core + cores * thread for thread in range(threads)), node=core * nodes // cores)
        for core in range(cores)
    ]
    near = {f"GPU-{index}": index * nodes // gpus for index in range(gpus)}
    return Topology(cores=tuple(found), lent=lent or cores * threads, gpu_nodes=near)


def indices(slots: tuple[Slot, ...]) -> list[list[int]]:
    return [[gpu.index for gpu in slot.gpus] for slot in slots]


def check_cores(slots: tuple[Slot, ...], topology: Topology) -> None:
    """No thread is in two slots, no core is split, and all slots have as many."""
    owned = [slot.cores or frozenset() for slot in slots]
    assert len(frozenset().union(*owned)) == sum(map(len, owned))
    assert len({*map(len, owned)}) == 1
    for core in topology.cores:
        assert sum(bool(core.threads & mine) for mine in owned) <= 1


def test_eight_cards_on_two_nodes_have_their_own_cores_of_their_node() -> None:
    topology = host(32, nodes=2, gpus=8)
    slots = slots_of(cards(8), 1, topology, 8)
    assert sorted(indices(slots)) == [[index] for index in range(8)]
    check_cores(slots, topology)
    for slot in slots:
        near = {core.node for core in topology.cores if core.threads & (slot.cores or frozenset())}
        assert near == {topology.gpu_nodes[slot.gpus[0].uuid]}
        assert len(slot.cores or ()) == 8


def test_fewer_slots_than_cards_are_spread_over_the_nodes() -> None:
    assert indices(slots_of(cards(8), 1, host(32, nodes=2, gpus=8), 2)) == [[0], [4]]


def test_the_cards_of_a_server_are_on_one_node_where_they_can_be() -> None:
    topology = Topology(cores=host(16).cores, lent=32, gpu_nodes={"GPU-0": 0, "GPU-1": 1, "GPU-2": 0, "GPU-3": 1})
    assert indices(slots_of(cards(4), 2, topology, 2)) == [[0, 2], [1, 3]]
    uneven = Topology(cores=host(16).cores, lent=32, gpu_nodes={"GPU-0": 0, "GPU-1": 1, "GPU-2": 1, "GPU-3": 1})
    assert indices(slots_of(cards(4), 2, uneven, 2)) == [[1, 2], [0, 3]]


def test_all_that_the_cores_allow_where_nobody_says_how_many() -> None:
    assert len(slots_of(cards(8), 1, host(64, gpus=8), None)) == 8
    assert len(slots_of(cards(8), 1, host(8, gpus=8), None)) == 4  # 16 threads, 4 a launch
    assert len(slots_of(cards(8), 4, host(64, gpus=8), None)) == 2
    assert len(slots_of(cards(2), 1, host(2, threads=1), None)) == 1


def test_one_slot_has_all_cores_as_ever() -> None:
    assert slots_of(cards(2), 1, host(1, threads=1), 1) == (Slot(number=0, gpus=(cards(1)[0],)),)
    assert slots_of((), 1, host(64), None) == (Slot(number=0),)


def test_what_does_not_divide_is_left() -> None:
    topology = host(11, nodes=2)
    slots = slots_of((), 1, topology, 3)
    check_cores(slots, topology)
    assert {len(slot.cores or ()) for slot in slots} == {6}


def test_on_the_cpu_slots_are_within_a_node_where_they_can_be() -> None:
    topology = host(16, threads=1, nodes=2)
    assert [slot.cores for slot in slots_of((), 1, topology, 2)] == [frozenset(range(8)), frozenset(range(8, 16))]


def test_a_simulation_has_no_cores() -> None:
    assert slots_of((), 1, None, 3) == tuple(Slot(number=number) for number in range(3))
    assert slots_of((), 1, None, None) == (Slot(number=0),)


def test_only_cards_of_one_model_are_used() -> None:
    mixed = [*cards(2, "Tesla T4"), *cards(2, "NVIDIA L4", begin=2)]
    assert indices(slots_of(mixed, 1, host(64), None)) == [[0], [1]]
    with pytest.raises(
        UsageError,
        match=r"--parallel 3: 3 launches at once needs? 3 GPUs and there are 2 Tesla T4 \(the other 2 are of",
    ):
        slots_of(mixed, 1, host(64), 3)


@pytest.mark.parametrize(
    ("gpus", "per_server", "topology", "most", "told"),
    [
        (4, 1, host(64), 8, r"--parallel 8: .* 8 GPUs and there are 4 NVIDIA L4: give --parallel 4"),
        (4, 2, host(64), 3, r"3 launches at once of 2 GPUs each .* 6 GPUs .*: give --parallel 2"),
        (2, 4, host(64), None, r"a launch needs 4 GPUs and there are 2 NVIDIA L4: .*--engine-arg"),
        (4, 1, host(2), 4, r"--parallel 4: a launch needs 2 cores and this host lends 4.*: give --parallel 2"),
        (4, 1, host(64, lent=3), 2, r"this host lends 3: give --parallel 1"),
        (0, 1, host(2, threads=1), 2, r"this host lends 2: give --parallel 1"),
    ],
)
def test_too_little_is_one_sentence(
    gpus: int, per_server: int, topology: Topology, most: int | None, told: str
) -> None:
    with pytest.raises(UsageError, match=told):
        slots_of(cards(gpus), per_server, topology, most)


def test_few_cores_are_told() -> None:
    topology = host(8, threads=1, gpus=4)
    slots = slots_of(cards(4), 1, topology, 4)
    assert "4 launches at once have 2 cores each: 4 are recommended" in str(few_cores(slots, topology))
    assert few_cores(slots_of(cards(4), 1, topology, 2), topology) is None
    assert few_cores(slots_of(cards(4), 1, topology, 1), topology) is None
