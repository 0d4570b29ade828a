"""A search space with engines that share a GPU in; what of it can be searched with this model out, or why it cannot.

Engines start at once, so each must be told its memory beforehand: without a model of the memory none can share. It starts
nothing, and asks no vLLM.
"""

from tuner.errors import UsageError
from tuner.launch.mps import CONTROL
from tuner.launch.shared_gpu import SharedGpu
from tuner.predict.settings import LATEST, Version, why_not_sharing
from tuner.predict.shape import Shape, read_shape
from tuner.space.engines import ENGINES, engines_of
from tuner.space.search_space import SearchSpace
from tuner.study.checks import baselines, model_named, quantized_models
from tuner.study.options import Options

_OWN_BYTES = "kv_cache_memory_bytes"


def engines_space(space: SearchSpace, options: Options, version: Version = LATEST) -> SearchSpace:
    """The space, without sharing where that cannot be. Raises UsageError where nothing else is asked for."""
    engines = engines_of(space.fixed)
    if (ENGINES not in space.parameters and engines == 1) or (why := why_not_shared(space, options, version)) is None:
        return space
    if engines > 1 or {*space.parameters} == {ENGINES}:
        raise UsageError(f"{ENGINES}: {why}: leave it out")
    return space.without({ENGINES})


def shared_gpu(space: SearchSpace, options: Options) -> SharedGpu | None:
    """What engines that share a GPU have of it; None where none do, or it is for the user to say."""
    if _OWN_BYTES in space.fixed or not may_share(space, options):
        return None
    try:
        shape, quantized = _shapes(options)
    except UsageError:
        if ENGINES in {*space.parameters, *space.fixed}:
            raise
        return None  # said of the hand settings
    return SharedGpu(shape=shape, gpu=space.gpu, quantized=quantized)


def over_mps(space: SearchSpace, options: Options) -> bool:
    """Whether engines that share a GPU have NVIDIA's multi-process service beneath them, where a host has it."""
    return options.mps == "auto" and bool(space.gpu.names)


def may_share(space: SearchSpace, options: Options) -> bool:
    """Whether some launch may have engines that share a GPU."""
    return ENGINES in {*space.parameters, *space.fixed} or any(ENGINES in hand.params for hand in baselines(options))


def how_shared(space: SearchSpace, options: Options, *, mps: bool) -> str | None:
    """A sentence of how engines share a GPU, where some may; with `mps` over NVIDIA's multi-process service."""
    if not (may_share(space, options) and over_mps(space, options)):
        return None
    if mps:
        return "engines that share a GPU run at once on it, over NVIDIA's multi-process service"
    return (
        f"engines that share a GPU take turns on it: {CONTROL}, which comes with the driver, is not on the PATH there"
    )


def why_not_shared(space: SearchSpace, options: Options, version: Version) -> str | None:
    """Why engines of this model cannot share such a GPU."""
    if space.gpu.memory_gib is None and _OWN_BYTES not in space.fixed:
        return f"nobody can tell how much memory each engine may take on {space.name}; {_OWN_BYTES} would say it"
    try:
        shape, quantized = _shapes(options)
    except UsageError as error:
        return None if _OWN_BYTES in space.fixed else str(error)
    return next((why for one in (shape, *quantized.values()) if (why := why_not_sharing(one, version))), None)


def _shapes(options: Options) -> tuple[Shape, dict[str, Shape]]:
    """The model's, and by quantization those of its checkpoints. Raises UsageError."""
    quantized = {name: read_shape(model_named(path)) for name, path in quantized_models(options).items()}
    return read_shape(model_named(options.model)), quantized
