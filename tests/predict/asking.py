"""Questions to `tuner plan` that its tests share: models, cards, loads."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from predict import shapes
from tuner.decide.objective import parse_objective
from tuner.decide.slo import parse_slo
from tuner.predict.advise.case import Case
from tuner.predict.shape import Shape
from tuner.space.files import load_space
from tuner.space.search_space import ALL
from tuner.types import Workload
from tuner.workload.presets import PRESETS

SMALL = replace(shapes.SMALL, max_positions=131072)
LLAMA_8B = replace(
    SMALL, layers=32, hidden=4096, heads=32, kv_heads=8, intermediate=14336, vocab=128256, max_positions=32768
)
LLAMA_70B = replace(LLAMA_8B, layers=80, hidden=8192, heads=64, intermediate=28672)
CHAT = PRESETS["chat"]


def case(
    gpu: str = "t4",
    shape: Shape = SMALL,
    workload: Workload = CHAT,
    objective: str = "throughput",
    slos: Sequence[str] = (),
    **fixed: Any,
) -> Case:
    return Case(
        space=load_space(gpu).with_groups([ALL]).with_quantized_models({}).with_fixed(fixed),
        shape=shape,
        workload=workload,
        objective=parse_objective(objective),
        slos=tuple(map(parse_slo, slos)),
    )


def users(count: int, workload: Workload = CHAT) -> Workload:
    return replace(workload, users=count, request_rate=None)
