"""How many launches run at once, and where, in; the setup with a slot for each, and that of a launch in one of them, out."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from tuner.execute.messages import Wanted
from tuner.execute.places import few_cores, slots_of
from tuner.execute.slot import Slot
from tuner.launch.caches import Unused
from tuner.measure.topology import topology
from tuner.measure.visible import VISIBLE
from tuner.space.parallel import most_gpus
from tuner.study.checks import parallel
from tuner.study.options import Options
from tuner.study.setup import Setup
from tuner.types import DetectedGpu


@contextmanager
def with_slots(
    setup: Setup, options: Options, seen: Sequence[DetectedGpu], tell: Callable[[str], None]
) -> Iterator[Setup]:
    """With those of this host, whose GPUs can be `seen`, or of a Ray cluster. Raises UsageError where there are fewer cards or
    cores than asked for, RunError where the cluster cannot run the study."""
    if options.executor == "ray":
        with _on_a_cluster(setup, options, tell) as found:
            yield found
    elif options.engine == "sim":
        yield replace(setup, slots=slots_of((), 1, None, parallel(options)))
    else:
        yield _on_this_host(setup, options, seen, tell)


@contextmanager
def _on_a_cluster(setup: Setup, options: Options, tell: Callable[[str], None]) -> Iterator[Setup]:
    """Each node fills caches of its own, and compiled code is not this host's."""
    from tuner.execute.ray_cluster import connect  # an extra
    from tuner.execute.ray_connection import AUTO
    from tuner.execute.ray_nodes import simulated_resource

    space, is_real = setup.space, options.engine == "vllm"
    wanted = Wanted(
        fingerprint=setup.fingerprint,
        model=setup.fingerprint.model,
        version=setup.fingerprint.engine_version,
        python=setup.launcher.python,
        run=setup.run,
        cards=tuple(space.gpu.names) if is_real else (),
        per_server=most_gpus(space),
        simulated=None if is_real else simulated_resource(space.name),
    )
    with connect(options.address or AUTO, wanted, parallel(options), tell) as slots:
        yield replace(setup, slots=slots, warm=False, caches=Unused(setup.caches.folder))


def _on_this_host(setup: Setup, options: Options, seen: Sequence[DetectedGpu], tell: Callable[[str], None]) -> Setup:
    """With slots of the GPUs that can be `seen`. Raises UsageError where there are fewer cards or cores than asked for."""
    if (most := parallel(options)) == 1:
        return setup
    host = topology(seen)
    slots = slots_of(seen, most_gpus(setup.space), host, most)
    if few := few_cores(slots, host):
        tell(few)
    return replace(setup, slots=slots, gpus=slots[0].gpus)


def in_slot(setup: Setup, slot: Slot) -> Setup:
    """The setup of a launch in a slot: its cards, and no others, are seen by what is started there."""
    if len(setup.slots) == 1 and slot.run is None:
        return setup
    launcher = setup.launcher
    if slot.gpus:
        launcher = replace(launcher, caches={**launcher.caches, VISIBLE: ",".join(gpu.uuid for gpu in slot.gpus)})
    return replace(setup, gpus=slot.gpus, run=slot.run or setup.run, launcher=launcher)
