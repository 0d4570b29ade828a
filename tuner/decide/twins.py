"""What an engine makes of a proposal, and the trials of its study, in; the trial that it would only repeat, out. Pure.

Two settings are one where the engine resolves them alike, and where a server's start has shown that one becomes the other. In
doubt they are two: a launch is lost then, where a wrong twin would hide settings.
"""

from collections.abc import Iterator, Sequence

from tuner.types import Command, Measured, Params, Resolved, Trial, Twin, Value
from tuner.types.resolved import MAY_CHANGE

#: Sizes: what a start was seen to make of the other settings holds whatever these are, because it follows from the model, the
#: card and those (config/compilation.py and platforms/interface.py of vLLM).
_SIZES = frozenset(
    (
        *("max_num_seqs", "max_num_batched_tokens", "gpu_memory_utilization", "kv_cache_memory_bytes"),
        *("long_prefill_token_threshold", "stream_interval", "api_server_count"),
        *("max_cudagraph_capture_size", "compilation_config.max_cudagraph_capture_size"),
    )
)

_Values = tuple[Value | None, ...]


def twin_of(resolved: Resolved, command: Command, trials: Sequence[Trial]) -> Twin | None:
    """The first of `trials` that was launched and that `command` would repeat. What failed by its settings counts: it would
    fail again."""
    launched = [trial for trial in trials if trial.attempts]
    alike = [trial for trial in launched if trial.digest == resolved.digest]
    asked = _values(resolved.settings)
    for trial in alike:
        if _values(trial.resolved) == asked:
            return Twin(equals=trial.number, why="vLLM makes the same of both")
    change = _becomes(resolved, command, launched)
    wanted = {asked, _values({**resolved.settings, **change})}
    for trial in alike:
        if any(_values(settings) in wanted for settings in (trial.resolved, *_as_started(trial))):
            return Twin(equals=trial.number, why=_why(resolved.settings, trial, change))
    return None


def became_text(before: Params, effective: Params) -> str:
    """`cudagraph_mode FULL became FULL_AND_PIECEWISE`, of each setting that a start changed."""
    was = {name: f" {before[name]}" if name in before else "" for name in effective}
    return ", ".join(f"{name}{was[name]} became {value}" for name, value in effective.items())


def _becomes(resolved: Resolved, command: Command, launched: Sequence[Trial]) -> Params:
    """What the starts of other trials have shown this one's settings to become."""
    found: dict[str, Value] = {}
    for trial in launched:
        if trial.effective and _context(trial.command) == _context(command):
            found |= {
                name: value
                for name, value in trial.effective.items()
                if name in MAY_CHANGE and trial.resolved.get(name) == resolved.settings.get(name)
            }
    return found


def _as_started(trial: Trial) -> Iterator[Params]:
    """The settings that its server had in the end. A block size that vLLM chose is then like one that was asked for."""
    if trial.effective:
        yield {**trial.resolved, **trial.effective}
    if isinstance(trial.outcome, Measured) and trial.resolved.get("user_specified_block_size") is False:
        yield {**trial.resolved, **trial.effective, "user_specified_block_size": True}


def _values(settings: Params) -> _Values:
    return tuple(settings.get(name) for name in MAY_CHANGE)


def _context(command: Command) -> frozenset[tuple[str, str]]:
    """All that was asked for but sizes, with the model."""
    asked = {name: str(value) for name, value in command.settings.items() if name not in _SIZES}
    return frozenset({**asked, "model": command.model}.items())


def _why(settings: Params, trial: Trial, change: Params) -> str:
    """What became what, in either of the two."""
    if change:
        return became_text(settings, change)
    told = {name: value for name, value in trial.effective.items() if trial.resolved.get(name) != settings.get(name)}
    return became_text(trial.resolved, told) or "the block size is the one that vLLM chose there"
