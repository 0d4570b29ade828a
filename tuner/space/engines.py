"""Settings in; how many engines share each GPU, out. Pure.

vLLM has no argument for it: what it is given instead is in tuner/launch/shared_gpu.py.
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
