"""The card of a point, as tuner's model takes it. Those that tuner has a search space for are read from there."""

from functools import cache

from tuner.errors import UsageError
from tuner.space.files import space_for
from tuner.space.search_space import Gpu

#: Dense TFLOPS. Sources: NVIDIA's data sheets; memory as CUDA sees it.
_OTHERS = (
    Gpu(
        names=("NVIDIA L40S",),
        memory_gib=44.5,
        compute_capability="8.9",
        bandwidth_gb_per_s=864.0,
        tflops={"fp16": 362.0, "fp8": 733.0, "int8": 733.0},
        source="NVIDIA L40S data sheet",
    ),
    Gpu(
        names=("NVIDIA GeForce RTX 5090",),
        memory_gib=31.37,
        compute_capability="12.0",
        bandwidth_gb_per_s=1792.0,
        tflops={"fp16": 209.5, "fp8": 419.0, "int8": 838.0},
        source="NVIDIA RTX Blackwell architecture paper",
    ),
    Gpu(
        names=("16 GB GeForce",),  # its log does not name it
        memory_gib=15.99,
        compute_capability="8.9",
        bandwidth_gb_per_s=672.0,
        tflops={"fp16": 88.0, "fp8": 176.0, "int8": 353.0},
        source="taken for an RTX 4070 Ti SUPER: NVIDIA Ada architecture paper",
    ),
    Gpu(
        names=("NVIDIA A100-SXM4-40GB",),
        memory_gib=39.5,
        compute_capability="8.0",
        bandwidth_gb_per_s=1555.0,
        tflops={"fp16": 312.0, "int8": 624.0},
        source="NVIDIA A100 data sheet, 40 GB SXM",
    ),
    Gpu(
        names=("NVIDIA RTX PRO 6000 Blackwell Server Edition",),
        memory_gib=95.6,
        compute_capability="12.0",
        bandwidth_gb_per_s=1792.0,  # the Server Edition's data sheet says 1597
        tflops={"fp16": 467.8, "fp8": 935.6, "int8": 935.6},
        source="NVIDIA RTX PRO 6000 Blackwell Workstation Edition data sheet",
    ),
    Gpu(
        names=("NVIDIA B200",),
        memory_gib=178.4,
        compute_capability="10.0",
        bandwidth_gb_per_s=7700.0,
        tflops={"fp16": 2250.0, "fp8": 4500.0, "int8": 4500.0},
        source="NVIDIA HGX B200 data sheet",
    ),
)


@cache
def card(name: str) -> Gpu:
    for gpu in _OTHERS:
        if gpu.is_called(name):
            return gpu
    try:
        return space_for(name).gpu
    except UsageError as error:
        raise UsageError(
            f"the benchmark's data has a card that nobody described, {name}: add it to cards.py"
        ) from error
