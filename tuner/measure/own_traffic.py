"""A live server's /metrics in; whether it can be watched, and its own traffic over a window as a load's numbers, out. Pure.

Nobody put a load on it: there is no client whose view could be compared with the server's. What vLLM counts and times itself
stands for the load; what only a client sees (the time of a token with all that is behind EngineCore, gaps between chunks) is
None.
"""

import re
from collections.abc import Sequence

from tuner.errors import RunError
from tuner.measure.page_faults import counted
from tuner.measure.server_page import AWAKE, COUNTERS, E2EL, ENDED, TTFT
from tuner.measure.server_window import Totals, difference, mean_of
from tuner.measure.timeline import Gauges
from tuner.types import Distribution, LoadMetrics

_MODEL = re.compile(r'^vllm:num_requests_running\{[^}]*model_name="((?:[^"\\]|\\.)*)"', re.MULTILINE)
#: A server that was idle for this share of a window at its end is said to have stopped.
_STOPPED = 0.25


def check_page(text: str, url: str) -> None:
    """Raises RunError, in one sentence, where this is no page of a vLLM that tells something."""
    found = counted(text, url)
    if found.get(AWAKE) == 0.0:
        raise RunError(f"the engine behind {url} sleeps, so that there is nothing to see: wake it up (POST /wake_up)")


def models_of(text: str) -> list[str]:
    """The names of the models that a page is about."""
    return sorted(set(_MODEL.findall(text)))


def own_load(before: Totals, after: Totals, elapsed_s: float) -> LoadMetrics:
    """Of the requests that ended meanwhile."""
    rates = {
        name: None if (count := difference(before, after, counter)) is None else count / elapsed_s
        for name, counter in (
            ("out", COUNTERS["generation_tokens"]),
            ("in", COUNTERS["prompt_tokens"]),
            ("ended", ENDED),
        )
    }
    ended, out = difference(before, after, ENDED), rates["out"]
    return LoadMetrics(
        window_s=elapsed_s,
        completed=None if ended is None else round(ended),
        request_throughput=rates["ended"],
        output_throughput=out,
        total_token_throughput=None if out is None or rates["in"] is None else out + rates["in"],
        ttft_s=_mean_only(mean_of(before, after, TTFT)),
        e2el_s=_mean_only(mean_of(before, after, E2EL)),
    )


def remarks(found: LoadMetrics, gauges: Sequence[Gauges], models: Sequence[str]) -> list[str]:
    """What is to be known of a window before it is believed."""
    told = []
    if len(models) > 1:
        told.append(f"the numbers are those of {len(models)} models together ({', '.join(models[:5])})")
    if (quiet_s := _quiet_s(gauges)) is not None and found.window_s and quiet_s >= _STOPPED * found.window_s:
        told.append(
            f"the traffic stopped {quiet_s:.0f} s before the end: means are over the idle time, too; watch it again while"
            " it is used"
        )
    return told


def _quiet_s(gauges: Sequence[Gauges]) -> float | None:
    """For how long at the end nothing ran or waited; None where nothing did at all, or nobody can tell."""
    known = [(one.time_s, one.running + (one.waiting or 0.0)) for one in gauges if one.running is not None]
    last = next((time_s for time_s, requests in reversed(known) if requests > 0), None)
    return None if last is None else known[-1][0] - last


def _mean_only(mean_s: float | None) -> Distribution | None:
    return None if mean_s is None else Distribution(mean=mean_s)
