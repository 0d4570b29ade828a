"""Settings in; how many engines share each GPU, and how many serve behind a port, out. Pure.

vLLM has no argument for the first: what it is given instead is in tuner/launch/shared_gpu.py.
"""

from tuner.errors import UsageError
from tuner.types import Params, Value

ENGINES = "engines_per_gpu"


def engines_of(params: Params) -> int:
    """One where nothing is said. Raises UsageError for what is no number of engines."""
    value = params.get(ENGINES, 1)
    if (why := not_engines(value)) is not None:
        raise UsageError(f"{ENGINES} {value}: {why}")
    return int(value)


def not_engines(value: Value) -> str | None:
    """Why it cannot be so many."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        return "expected how many engines share each GPU, a whole number from 1"
    return None


def engines_behind(params: Params) -> int:
    """Data-parallel engines that the port of a server gives its requests to, each with max_num_seqs of its own: where a load
    balancer of another kind is before the ports, only its own one, or those of its node."""
    if params.get("data_parallel_external_lb") is True:
        return 1
    size = params.get("data_parallel_size")
    if params.get("data_parallel_hybrid_lb") is True:
        size = params.get("data_parallel_size_local", size)
    return size if isinstance(size, int) and size > 0 else 1
