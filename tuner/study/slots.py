"""How many launches run at once, in: the setup with a slot for each, and the setup of a launch in one of them, out."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from math import prod

from tuner.execute.places import few_cores, slots_of
from tuner.execute.slot import Slot
from tuner.measure.topology import topology
from tuner.study.checks import parallel
from tuner.study.options import Options
from tuner.study.setup import Setup, gpus_of_a_server
from tuner.types import DetectedGpu

#: The environment variable that says which cards a CUDA program sees.
_VISIBLE = "CUDA_VISIBLE_DEVICES"


def on_this_host(setup: Setup, options: Options, seen: Sequence[DetectedGpu], tell: Callable[[str], None]) -> Setup:
    """With slots of the GPUs that can be `seen`. Raises UsageError where there are fewer cards or cores than asked for."""
    if (most := parallel(options)) == 1:
        return setup
    host = topology(seen)
    slots = slots_of(seen, prod(gpus_of_a_server(setup.space).values()), host, most)
    if few := few_cores(slots, host):
        tell(few)
    return replace(setup, slots=slots, gpus=slots[0].gpus)


def simulated(setup: Setup, options: Options) -> Setup:
    """With slots of nothing: as many simulated cards as are asked for."""
    return replace(setup, slots=slots_of((), 1, None, parallel(options)))


def in_slot(setup: Setup, slot: Slot) -> Setup:
    """The setup of a launch in a slot: its cards, and no others, are seen by what is started there."""
    if len(setup.slots) == 1:
        return setup
    launcher = setup.launcher
    if slot.gpus:
        launcher = replace(launcher, caches={**launcher.caches, _VISIBLE: ",".join(gpu.uuid for gpu in slot.gpus)})
    return replace(setup, gpus=slot.gpus, run=slot.run or setup.run, launcher=launcher)
