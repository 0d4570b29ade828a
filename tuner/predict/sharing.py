"""A model's shape and settings in; the part of the model that one rank of a server holds, as a shape of its own, out. Pure.

Tensor parallelism divides matrices and is in the formulas of weights and steps. Here is what a whole layer, or a whole copy, is
a part of: a pipeline's stage has some of the layers and the embedding or the head (vLLM's distributed/utils.py, get_pp_indices,
gives no stage more than one layer above the others); copies of a mixture of experts share the experts, as if by tensor
parallelism (vLLM's docs/serving/data_parallel_deployment.md).
"""

from dataclasses import replace
from math import ceil

from tuner.predict.decoder import Experts, Shape
from tuner.predict.settings import Settings


def of_a_rank(shape: Shape, settings: Settings) -> Shape:
    """The fullest rank's: the model itself where there are no stages and no copies that share."""
    return of_a_stage(of_a_copy(shape, settings.data_parallel_size), settings.pipeline_parallel_size)


def sharing_copies(shape: Shape, settings: Settings) -> int:
    """How many copies of the model share its experts."""
    return 1 if shape.experts is None else settings.data_parallel_size


def of_a_stage(shape: Shape, stages: int) -> Shape:
    """The fullest stage, with one of the two tables of the vocabulary."""
    if stages == 1:
        return shape
    layers = ceil(shape.layers / stages)
    kept = replace(
        shape,
        layers=layers,
        window_layers=_part(shape.window_layers, layers, shape.layers),
        experts=None if shape.experts is None else _experts(shape.experts, layers, shape.layers),
        tied=True,
    )
    return _with_files(kept, shape)


def of_a_copy(shape: Shape, copies: int) -> Shape:
    """One of so many copies: the model itself, but for its part of the experts."""
    if shape.experts is None or copies == 1:
        return shape
    experts = replace(shape.experts, intermediate=ceil(shape.experts.intermediate / copies))
    return _with_files(replace(shape, experts=experts), shape)


def _experts(experts: Experts, layers: int, of: int) -> Experts:
    return replace(experts, layers=_part(experts.layers, layers, of))


def _part(count: int, layers: int, of: int) -> int:
    """Of `count` layers of a kind those that are among `layers` of all."""
    return min(layers, ceil(count * layers / of))


def _with_files(kept: Shape, whole: Shape) -> Shape:
    """The files' size counts for the part that is kept."""
    if whole.stored_bytes is None:
        return kept
    return replace(kept, stored_bytes=round(whole.stored_bytes * kept.parameters / whole.parameters))
