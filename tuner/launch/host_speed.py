"""vLLM's interpreter in; how fast this host is in it, measured for about a second (standalone/ruler.py), out.

It does not know what is fast, nor what follows from it.
"""

import json
import subprocess
from math import isfinite
from pathlib import Path
from statistics import quantiles

from tuner.errors import EngineError
from tuner.launch.interpreter import engine_environment
from tuner.types import HostSpeed

_RULER = Path(__file__).parent / "standalone" / "ruler.py"
#: It takes 1 to 1.5 s on a free host, and three times as long beside three others on its core.
DEADLINE_S = 30.0


def measure_host(python: Path, deadline_s: float = DEADLINE_S) -> HostSpeed:
    """Of each kind of work the fastest turn: others on the processor, or a clock that is still low, only make turns slower.
    Raises EngineError."""
    try:
        done = subprocess.run(
            [str(python), "-I", "-S", str(_RULER)],
            env=engine_environment({}),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=deadline_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise EngineError(f"{python} did not measure this host within {deadline_s:g} s") from None
    except OSError as error:
        raise EngineError(f"{python} cannot be run to measure this host: {error.strerror}") from error
    if done.returncode:
        said = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        raise EngineError(
            f"{python} could not measure this host: {said[-1] if said else f'exit code {done.returncode}'}"
        )
    try:
        return _speed(json.loads(done.stdout))
    except (ValueError, TypeError, KeyError, AttributeError):
        raise EngineError(f"{python} measured this host and did not say how fast it is: {done.stdout[:80]!r}") from None


def _speed(told: dict[str, list[float]]) -> HostSpeed:
    """Raises ValueError, TypeError, KeyError or AttributeError for what the ruler does not write."""
    turns = {kind: [float(turn_s) for turn_s in told[kind]] for kind in ("python", "text", "memory", "wake")}
    if not all(isfinite(turn_s) and turn_s > 0 for kind in turns.values() for turn_s in kind):
        raise ValueError
    slower = (quantiles(turns[kind], n=10, method="inclusive")[-1] / min(turns[kind]) for kind in ("python", "text"))
    return HostSpeed(
        python_s=min(turns["python"]),
        text_s=min(turns["text"]),
        memory_s=min(turns["memory"]),
        wake_s=min(turns["wake"]),
        spread=max(slower),
        python_version=str(told["python_version"]),
    )
