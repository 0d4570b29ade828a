"""What a prediction of memory is made of in; by how many bytes it may be off, and the verdict that follows, out. Pure.

Chosen so that the KV caches of public starts (H100, L40S, L4, T4, RTX 5090; vLLM 0.10 to 0.28) and of our own on H200s all lie
inside it. It knows no budgets.
"""

from enum import StrEnum

from tuner.predict.settings import Settings
from tuner.predict.shape import Shape
from tuner.space.gpus import UNSET, Gpu

_GIB = 2**30
#: Compute capabilities of the cards whose constants were measured.
_MEASURED = frozenset({(9, 0)})
#: What CUDA holds, what the driver keeps of the card, what loading leaves over: on a measured card, on another, and where a
#: log of this very card and model was read.
_BASE, _BASE_ELSEWHERE, _BASE_CALIBRATED = 0.15 * _GIB, 0.4 * _GIB, 0.1 * _GIB
#: Shares of the weights: of 16 bits; quantized, which kernels pad and repack; of a model whose layers are a guess.
_WEIGHTS, _QUANTIZED, _GUESSED = 0.005, 0.02, 0.1
#: Shares of activations and of CUDA graphs; a mixture of experts has workspaces that differ from kernel to kernel.
_ACTIVATIONS, _ACTIVATIONS_EXPERTS, _GRAPHS = 0.05, 0.15, 0.25
#: At worst so much of the activations' memory is in pieces that nothing else can use when the sampler is warmed up.
FRAGMENTED = 0.25


class Verdict(StrEnum):
    """Whether a server starts. MAYBE: it does or does not by less than the prediction may be off."""

    STARTS = "starts"
    MAYBE = "maybe"
    FAILS = "does not start"


def margin_bytes(
    shape: Shape,
    gpu: Gpu,
    settings: Settings,
    *,
    weights: float,
    activations: float,
    graphs: float,
    calibrated: bool,
) -> int:
    """Bytes of one GPU by which the sum of all terms may be off either way."""
    wide = _ACTIVATIONS if shape.experts is None else _ACTIVATIONS_EXPERTS
    moving = wide * activations + _GRAPHS * graphs
    if calibrated:
        return round(_BASE_CALIBRATED + moving / 2)
    base = _BASE if gpu.capability in _MEASURED else _BASE_ELSEWHERE
    stored = settings.quantization == UNSET and shape.checkpoint_quantization is None
    share = _WEIGHTS if stored else _QUANTIZED
    return round(base + max(share, _GUESSED if shape.is_guess else 0.0) * weights + moving)
