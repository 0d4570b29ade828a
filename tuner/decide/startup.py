"""The launches of a study in, what the start of the next one will cost out. Pure.

The first start of a compile key compiles its model and warms its kernels up; later ones find both (61 s and 18 s on an H100).
"""

from collections.abc import Sequence
from statistics import median

from tuner.types import Measured, Trial

#: The API server and EngineCore each import vLLM; a worker may, too.
_IMPORTS = 3


def predicted_startup_s(trials: Sequence[Trial], compile_key: str | None) -> float | None:
    """Seconds until a server of this key is ready, trials in the order of their launches: the median of its later launches,
    else that of its first one; of a key that was never launched that of the first launches of others. None without any
    launch."""
    first: dict[str | None, float] = {}
    later: dict[str | None, list[float]] = {}
    for trial in trials:
        if isinstance(trial.outcome, Measured) and (startup_s := trial.outcome.startup_s) is not None:
            if trial.compile_key in first:
                later.setdefault(trial.compile_key, []).append(startup_s)
            else:
                first[trial.compile_key] = startup_s
    if compile_key in later:
        return median(later[compile_key])
    if compile_key in first:
        return first[compile_key]
    compiled = [startup_s for key, startup_s in first.items() if key is not None]
    return median(compiled or first.values()) if first else None


def predicted_trial_s(trials: Sequence[Trial], compile_key: str | None, *, is_known: bool = True) -> float:
    """What a trial of this key may take: the longest of all but its start, and that; at least as long as the longest failure.
    Where the key is not known (`is_known`), as long as the longest start. 0 without any launch."""
    startup_s = predicted_startup_s(trials, compile_key) if is_known else None
    longest = 0.0
    for trial in trials:
        took_s = (trial.ended_at - trial.started_at).total_seconds()
        if startup_s is not None and isinstance(trial.outcome, Measured) and trial.outcome.startup_s is not None:
            took_s = max(0.0, took_s - trial.outcome.startup_s) + startup_s
        longest = max(longest, took_s)
    return longest


def plain_launch_s(trial: Trial, trials: Sequence[Trial], again: Sequence[float], import_s: float) -> float:
    """What a plain launch of it may take: as long as the longest of those that were made of it, `again`, in seconds. Without
    any, what trials of as many engines took, with the imports that a warm start saves: `import_s` seconds each, for every
    engine that starts at once (two on an H200 started in 139 s, which warm ones did in 45 s). 0 without any launch."""
    if again:
        return max(again)
    engines = trial.command.engines_per_gpu
    alike = [one for one in trials if one.command.engines_per_gpu == engines]
    return with_imports(predicted_trial_s(alike, trial.compile_key), import_s, engines)


def with_imports(trial_s: float, import_s: float, engines: int = 1) -> float:
    """A trial of this length, were it launched plainly; 0 stays 0, for nothing is known then."""
    return trial_s + engines * _IMPORTS * import_s if trial_s else 0.0
