"""What happens in a study, as it happens, on a terminal."""

import time
from collections.abc import Sequence

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from tuner.cli.display import objective_value
from tuner.cli.live import left_text, underway_text
from tuner.decide.objective import Objective
from tuner.decide.rank import defaults_of
from tuner.decide.words.settings import at_best_text, settings, status
from tuner.types import Failed, Params, Proposal, Trial, Twin, Underway

#: The first trial has run so long before it tells how long all may take.
_GUESS_S = 5.0


class TerminalWatch:
    """Progress on stderr: a live line on a terminal, one line per event elsewhere. Use as a context manager."""

    def __init__(
        self,
        console: Console,
        objectives: Sequence[Objective],
        trials: int,
        unreal: str | None = None,
        debug: bool = False,
    ) -> None:
        """`unreal` is said in every line where nothing is run; details only with `debug`."""
        self._debug = debug
        self._label = f"{unreal} " if unreal else ""
        self._console, self._objectives, self._trials = console, objectives, trials
        self._best: Trial | None = None
        self._defaults: Params | None = None
        self._finished = 0
        self._durations: list[float] = []
        self._began_s = time.monotonic()
        self._begun: dict[int, float] = {}
        self._what = ""
        self._phase, self._launches = "", 0
        # narrow enough for 80 columns: what is cut at the end is the least that matters
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=4 if unreal else 8),
            TimeElapsedColumn(),
            TextColumn("{task.fields[more]}", markup=False),
        )
        self._progress = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
        self._task: TaskID = self._progress.add_task("starting", total=trials, more="")

    def __enter__(self) -> "TerminalWatch":
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def study_continues(self, finished: Sequence[Trial], best: Trial | None) -> None:
        self._finished, self._best = sum(trial.attempts > 0 for trial in finished), best
        before = defaults_of(finished)
        self._defaults = before.params if before else None
        self._progress.update(self._task, completed=self._finished)
        self._print(f"{self._finished} of {self._trials} trials are finished already")

    def trial_begins(self, proposal: Proposal, of: int) -> None:
        self._began_s = self._begun[proposal.number] = time.monotonic()
        self._what = f"trial {proposal.number} ({self._finished + len(self._begun)}/{of})"
        if proposal.is_default:
            self._defaults = proposal.params
            self._print(f"trial {proposal.number}: vLLM defaults: {settings(proposal.params)}")
        elif proposal.baseline is not None:
            self._print(f"trial {proposal.number}: hand settings: {proposal.baseline}")
        else:
            self._print(f"trial {proposal.number}: {settings(proposal.params, self._defaults)}")

    def phase(self, name: str, trial: int | None = None) -> None:
        self._phase = name
        best = f"best {objective_value(self._objectives, self._best)}" if self._best else ""
        self._show(name, best, trial)

    def underway(self, state: Underway, trial: int | None = None) -> None:
        self._show(self._phase if len(self._begun) < 2 else "", underway_text(state), trial)

    def _show(self, phase: str, more: str, trial: int | None) -> None:
        what = self._what
        if len(self._begun) > 1 and trial is not None:
            what = f"{len(self._begun)} trials run, trial {trial}"
        text = f"{self._label}{what} {phase}".strip()
        self._progress.update(self._task, description=text, more=", ".join(filter(None, (more, self._eta()))))

    def trial_ended(self, trial: Trial, best: Trial | None) -> None:
        before, self._best = objective_value(self._objectives, self._best), best
        took_s, at_once = time.monotonic() - self._begun.pop(trial.number, self._began_s), 1 + len(self._begun)
        if trial.attempts:
            self._finished += 1
            self._durations.append(took_s / at_once)
        self._progress.update(self._task, completed=self._finished)
        if isinstance(trial.outcome, Failed):
            self._print(f"trial {trial.number}: {trial.outcome.kind.value}: {trial.outcome.message}")
        elif isinstance(trial.outcome, Twin):
            self._print(f"trial {trial.number}: {status(trial)}, so it is not launched: {trial.outcome.why}")
        else:
            value = at_best_text(self._objectives[0], trial) or objective_value(self._objectives, trial)
            is_best = best is not None and best.number == trial.number and value != before
            word = "best" if len(self._objectives) == 1 else "the knee"
            mark = f", {word} so far" if is_best else ""
            self._print(f"trial {trial.number}: {status(trial)}, {value}, {took_s:.0f} s{mark}")

    def verification_begins(self, role: str, launch: int, of: int) -> None:
        self._began_s = time.monotonic()
        self._what, self._launches = f"verifying {launch}/{of}", 2 * (of - launch) + 1
        self._print(f"launching {role} again, {launch} of at most {of}")

    def note(self, text: str) -> None:
        self._print(text)

    def detail(self, text: str) -> None:
        if self._debug:
            self._print(text)

    def _eta(self) -> str:
        """From the trials that ended; in the first one from how long it has been running."""
        left = self._launches or self._trials - self._finished
        if left <= 0:
            return ""
        past_s = time.monotonic() - self._began_s
        if not self._durations:
            return (
                f"{self._trials} trials to go" if past_s < _GUESS_S else left_text(max(left, 1) * past_s, "at least ")
            )
        each_s = sum(self._durations) / len(self._durations)
        return left_text(max(0.0, left * each_s - min(past_s, each_s)), "at most " if self._launches else "~")

    def _print(self, text: str) -> None:
        self._console.print(f"{self._label}{text}", markup=False, highlight=False, soft_wrap=True)
