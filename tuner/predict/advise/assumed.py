"""A case in; a sentence for each thing that its predictions take for granted out. Pure."""

from collections.abc import Sequence

from tuner.predict.advise.case import OF_A_TRACE, RATE_RESOLUTION, Case
from tuner.predict.settings import LATEST
from tuner.predict.step import MEASURED
from tuner.predict.uncertainty import is_measured
from tuner.predict.unpredicted import unpredicted
from tuner.space.engines import ENGINES, engines_of
from tuner.space.gpus import WITH_NVLINK
from tuner.space.parallel import SIZES, most_gpus
from tuner.types import Params

#: Settings that change what the model answers.
_QUALITY = ("quantization", "kv_cache_dtype", "dtype")


def assumptions(case: Case, changed: Params) -> list[str]:
    """`changed` are the settings that are proposed."""
    said = [*case.shape.assumed, *_of_the_machine(case), *_of_the_load(case)]
    for name, shape in case.quantized.items():
        said += [f"the checkpoint for {name}: {sentence}" for sentence in shape.assumed if sentence not in said]
    unknown = sorted(unpredicted(case.space.parameters))
    said += [f"{name} is searched, but what it changes is not predicted" for name in unknown]
    answers = [f"{name}={value}" for name, value in changed.items() if name in _QUALITY]
    said += [f"{setting} changes the model's answers, and how much is not predicted" for setting in answers]
    return said


def _of_the_machine(case: Case) -> Sequence[str]:
    gpu, (major, minor) = case.space.gpu, LATEST
    said = [
        f"vLLM {major}.{minor}: its defaults, its scheduler, its memory in a start that compiles the model",
        "the host's processors are as fast as those that the constants were fitted on, and have nothing else to do",
    ]
    measured = MEASURED.get(gpu.capability) if gpu.capability else None
    if measured is None:
        number = gpu.compute_capability
        said.append(
            f"nobody published what kernels reach at compute capability {number}: shares of other cards stand in"
        )
    elif not is_measured(gpu):
        said.append(f"kernels reach the shares of the data sheet that were measured on {' and '.join(measured)}")
    if ENGINES in case.space.parameters or engines_of(case.space.fixed) > 1:
        rates = case.calibration.rates
        how = "have it at once, over NVIDIA MPS" if rates.shared == rates.shared_at_once else "take turns on it"
        said.append(
            f"engines that share a GPU {how}, as was measured on an H200, and the host has cores for each of them"
        )
    if most_gpus(case.space) > 1:
        said += _of_several_gpus(case)
    return said


def _of_several_gpus(case: Case) -> Sequence[str]:
    rates = case.calibration.rates
    if case.space.gpu.capability in WITH_NVLINK:
        link, other = rates.link_gb_per_s, "as over NVLink: over PCIe they are slower"
    else:
        link, other = rates.pcie_gb_per_s, "a guess for 16 lanes of PCIe: nothing was measured of it"
    said = [f"GPUs send each other {link:,.0f} GB/s, {other}"]
    searched = {*case.space.parameters, *(name for name in SIZES if case.space.fixed.get(name, 1) != 1)}
    if {"pipeline_parallel_size", "data_parallel_size"} & searched:
        said.append(
            "pipeline stages and copies behind one port do as they are written to: nothing was measured of them"
        )
    return said


def _of_the_load(case: Case) -> Sequence[str]:
    said = ["clients are near: no time is spent on the network"]
    if case.workload.trace is not None:
        said.append(
            f"of the trace the first {OF_A_TRACE:,} requests arrive, with lengths drawn from all of its requests"
        )
    if case.workload.find_rate:
        said.append(f"the highest request rate is looked for to {RATE_RESOLUTION:.0%}")
    return said
