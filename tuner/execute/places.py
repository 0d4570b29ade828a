"""The GPUs and cores of a host in; the slots that they make, out. Pure.

Slots are alike, so that what is measured in one can be compared with what is measured in another: as many cards of the same
model in each, on one memory node (NUMA) where possible, and as many cores, those of that node first. The threads of a core
belong to one slot. A quota of processor time cannot be divided, so it is only counted.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from itertools import chain, zip_longest

from tuner.errors import UsageError
from tuner.execute.slot import Slot
from tuner.measure.topology import Core, Topology
from tuner.types import DetectedGpu

#: An API server and an EngineCore, each busy; with what measures them and a worker a card, more.
_LEAST_CORES = 2
_GOOD_CORES = 4

Group = tuple[DetectedGpu, ...]


def slots_of(
    gpus: Sequence[DetectedGpu], per_server: int, topology: Topology | None, most: int | None
) -> tuple[Slot, ...]:
    """`most` slots of `per_server` of these cards each; None is as many as work well, which is one on the CPU. Only cards of
    the first one's model are used. Without a `topology` nothing runs on this host's cores, as in a simulation.

    One slot has all cores. Raises UsageError where the host has too few cards or cores.
    """
    if topology is None:
        return tuple(Slot(number=number) for number in range(most or 1))
    groups = _groups(gpus, per_server, topology.gpu_nodes)
    if gpus and len(groups) < (most or 1):
        raise UsageError(_too_few_cards(gpus, per_server, len(groups), most))
    count = most or max(1, min(len(groups), topology.lent // _good_cores(per_server)))
    groups = groups[:count] if gpus else [()] * count
    if count == 1:
        return (Slot(number=0, gpus=groups[0]),)
    if min(topology.lent, _threads(topology.cores)) < count * _LEAST_CORES or len(topology.cores) < count:
        raise UsageError(
            f"--parallel {count}: a launch needs {_LEAST_CORES} cores and this host lends {_lent(topology)}: give --parallel"
            f" {max(1, min(topology.lent // _LEAST_CORES, len(topology.cores)))}"
        )
    return _with_cores(groups, topology)


def few_cores(slots: Sequence[Slot], topology: Topology) -> str | None:
    """A sentence where a launch has fewer cores than are good for it; None where it has enough."""
    good = _good_cores(len(slots[0].gpus))
    if len(slots) == 1 or (each := topology.lent // len(slots)) >= good:
        return None
    return (
        f"{len(slots)} launches at once have {each} cores each: {good} are recommended, so starts may be slow and the"
        " processor may be what is measured"
    )


def _good_cores(per_server: int) -> int:
    """Two and one a card is the least by vLLM's documentation (Optimization, "CPU Resources for GPU Deployments")."""
    return max(_GOOD_CORES, _LEAST_CORES + per_server)


def _groups(gpus: Sequence[DetectedGpu], per_server: int, nodes: Mapping[str, int]) -> list[Group]:
    """Cards for one server each: those of one node, from each node in turn, then of what is left."""
    of_node: defaultdict[int | None, list[DetectedGpu]] = defaultdict(list)
    for gpu in gpus:
        if gpu.name == gpus[0].name:
            of_node[nodes.get(gpu.uuid)].append(gpu)
    near = [_split(cards, per_server) for cards in of_node.values()]
    found = [group for turn in zip_longest(*near) for group in turn if group is not None]
    taken = set(chain.from_iterable(found))
    left = [gpu for cards in of_node.values() for gpu in cards if gpu not in taken]
    return found + _split(left, per_server)


def _split(cards: Sequence[DetectedGpu], size: int) -> list[Group]:
    return [tuple(cards[at : at + size]) for at in range(0, len(cards) - size + 1, size)]


def _with_cores(groups: Sequence[Group], topology: Topology) -> tuple[Slot, ...]:
    """As many cores in each; what does not divide is left to the system."""
    each, free, slots = len(topology.cores) // len(groups), list(topology.cores), []
    for number, cards in enumerate(groups):
        near = _nearest(free, {topology.gpu_nodes.get(gpu.uuid) for gpu in cards})[:each]
        free = [core for core in free if core not in near]
        threads = frozenset(chain.from_iterable(core.threads for core in near))
        slots.append(Slot(number=number, gpus=cards, cores=threads))
    return tuple(slots)


def _nearest(free: Sequence[Core], nodes: set[int | None]) -> list[Core]:
    """Those of the nodes first, then those of the node with the most left."""
    left = Counter(core.node for core in free)

    def distance(core: Core) -> tuple[bool, int, int, int]:
        is_near = core.node is not None and core.node in nodes
        return not is_near, -left[core.node], -1 if core.node is None else core.node, min(core.threads)

    return sorted(free, key=distance)


def _threads(cores: Sequence[Core]) -> int:
    return sum(len(core.threads) for core in cores)


def _lent(topology: Topology) -> str:
    threads, cores = min(topology.lent, _threads(topology.cores)), len(topology.cores)
    return f"{threads}, which are threads of {cores} only" if cores < threads else str(threads)


def _too_few_cards(gpus: Sequence[DetectedGpu], per_server: int, found: int, most: int | None) -> str:
    """The sentence that says what was asked for and what there is."""
    name, wanted = gpus[0].name, per_server * (most or 1)
    alike = sum(gpu.name == name for gpu in gpus)
    each = f" of {per_server} GPUs each" if per_server > 1 else ""
    asked = f"--parallel {most or 'auto'}: {most or 1} launches at once{each}" if (most or 1) > 1 else "a launch"
    others = f" (the other {len(gpus) - alike} are of another model)" if alike < len(gpus) else ""
    todo = f"give --parallel {found}" if found else "give smaller parallel sizes with --engine-arg"
    return f"{asked} needs {wanted} GPUs and there are {alike} {name}{others}: {todo}"
