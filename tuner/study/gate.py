"""The gate of every launch, of the search and of the verification: is its failure the settings' doing?

In: an outcome. Out: the outcome as it is kept; or RunError where it is nobody's settings' doing, so that it is not kept, and
the same command goes on from there. A failure that nobody knows is decided by evidence: a start of vLLM's defaults, once for
each cause in a run.
"""

import re
import threading
from dataclasses import replace

from tuner.decide.rank import defaults_of
from tuner.errors import RunError
from tuner.record.store import Store
from tuner.study.launches import run_recorded
from tuner.study.setup import Setup
from tuner.study.watch import Watch
from tuner.types import Failed, FailureKind, Outcome

_RUN_AGAIN = "run the same command again once that is mended: this launch is not counted"
#: What differs between two failures for the same cause.
_CHANGES = re.compile(r"0x[0-9a-f]+|\d[\d.,]*")


class Gate:
    """Of one run: it remembers how the defaults did."""

    def __init__(self, setup: Setup, store: Store, watch: Watch) -> None:
        self._setup, self._store, self._watch = setup, store, watch
        self._defaults: dict[str, Outcome] = {}
        self._lock = threading.Lock()

    def judged(self, outcome: Outcome, setup: Setup | None = None, *, is_default: bool) -> Outcome:
        """The outcome with the kind that the evidence gives it. `setup` is that of the slot that had the launch. What the
        defaults themselves fail by while they start is nobody's settings' doing."""
        if not isinstance(outcome, Failed) or not outcome.kind.is_in_doubt:
            return outcome
        if is_default:
            is_unknown = outcome.kind is FailureKind.CRASHED and outcome.starting
            return replace(outcome, kind=FailureKind.DEFAULTS_FAIL) if is_unknown else outcome
        if outcome.kind is FailureKind.CRASHED and not outcome.starting:
            return self._beside_the_stored_defaults(outcome)
        with self._lock:
            return _beside(outcome, self._defaults_now(outcome, setup or self._setup))

    def _beside_the_stored_defaults(self, failed: Failed) -> Failed:
        """A death under load says something of its settings unless the defaults died of the same."""
        defaults = defaults_of(self._store.trials(self._setup.study)) if failed.log_tail else None
        stored = defaults.outcome if defaults else None
        if isinstance(stored, Failed) and stored.kind is failed.kind and _cause(stored) == _cause(failed):
            return replace(failed, kind=FailureKind.DEFAULTS_FAIL)
        return failed

    def _defaults_now(self, failed: Failed, setup: Setup) -> Outcome:
        cause = _cause(failed)
        if cause not in self._defaults:
            self._watch.note(f"the defaults are started, to see whether they fail alike: {failed.message}")
            label = f"-beside-{len(self._defaults) + 1}"
            command = setup.launcher.command({})
            self._defaults[cause] = run_recorded(
                setup, self._store, self._watch, 0, command, {}, label=label, is_short=True
            )
        return self._defaults[cause]


def refuse_what_is_not_of_the_settings(outcome: Outcome, what: str) -> None:
    """An outcome that is nobody's settings' doing is not kept as theirs. Raises RunError, with its sentence; the same command
    goes on from there."""
    if isinstance(outcome, Failed) and not outcome.kind.is_of_the_settings:
        raise RunError(f"{what}: {outcome.kind.value}: {outcome.message}; {_RUN_AGAIN}")


def _beside(failed: Failed, defaults: Outcome) -> Failed:
    """Whose doing a failure is, given how the defaults do on the same host now."""
    if isinstance(defaults, Failed) and not defaults.kind.is_of_the_settings and not defaults.kind.is_in_doubt:
        return replace(defaults, message=f"vLLM's defaults do not start either: {defaults.message}")
    if isinstance(defaults, Failed) and defaults.kind.is_in_doubt:
        kind = (
            FailureKind.HOST_MEMORY
            if FailureKind.HOST_MEMORY in (failed.kind, defaults.kind)
            else FailureKind.DEFAULTS_FAIL
        )
        return replace(
            failed, kind=kind, message=f"{failed.message}; vLLM's defaults do not start either: {defaults.message}"
        )
    if failed.kind is FailureKind.HOST_MEMORY:
        return replace(failed, kind=FailureKind.OUT_OF_MEMORY, message=f"{failed.message}; vLLM's defaults start on it")
    return failed


def _cause(failed: Failed) -> str:
    return _CHANGES.sub("#", failed.message)
