"""What happens in a study, as it happens, on a terminal."""

import time
from collections.abc import Sequence

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from tuner.cli.display import objective_value, settings, status
from tuner.decide.objective import Objective
from tuner.decide.rank import defaults_of
from tuner.types import Failed, Params, Proposal, Trial


class TerminalWatch:
    """Progress on stderr: a live line on a terminal, one line per event elsewhere. Use as a context manager."""

    def __init__(self, console: Console, objective: Objective, trials: int, unreal: str | None = None) -> None:
        """`unreal` is said in every line where nothing is run."""
        self._label = f"{unreal} " if unreal else ""
        self._console, self._objective, self._trials = console, objective, trials
        self._best: Trial | None = None
        self._defaults: Params | None = None
        self._finished = 0
        self._durations: list[float] = []
        self._began_s = time.monotonic()
        self._what = ""
        columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            TimeElapsedColumn(),
            TextColumn("{task.fields[more]}"),
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
        self._began_s = time.monotonic()
        self._what = f"trial {proposal.number} ({self._finished + 1}/{of})"
        if proposal.is_default:
            self._defaults = proposal.params
            self._print(f"trial {proposal.number}: vLLM defaults: {settings(proposal.params)}")
        else:
            self._print(f"trial {proposal.number}: {settings(proposal.params, self._defaults)}")

    def phase(self, name: str) -> None:
        best = f"best {objective_value(self._objective, self._best)}" if self._best else ""
        self._progress.update(
            self._task, description=f"{self._label}{self._what} {name}".strip(), more=f"{best} {self._eta()}".strip()
        )

    def trial_ended(self, trial: Trial, best: Trial | None) -> None:
        self._best = best
        if trial.attempts:
            self._finished += 1
            self._durations.append(time.monotonic() - self._began_s)
        self._progress.update(self._task, completed=self._finished)
        if isinstance(trial.outcome, Failed):
            self._print(f"trial {trial.number}: {trial.outcome.kind.value}: {trial.outcome.message}")
        else:
            mark = ", best so far" if best is not None and best.number == trial.number else ""
            took = f"{time.monotonic() - self._began_s:.0f} s"
            self._print(
                f"trial {trial.number}: {status(trial)}, {objective_value(self._objective, trial)}, {took}{mark}"
            )

    def verification_begins(self, role: str, round: int, of: int) -> None:
        self._what = f"verifying (round {round})"
        self._print(f"launching {role} again, round {round}, at most {of}")

    def note(self, text: str) -> None:
        self._print(text)

    def _eta(self) -> str:
        left = self._trials - self._finished
        if not self._durations or left <= 0:
            return ""
        minutes = left * sum(self._durations) / len(self._durations) / 60
        return f"about {minutes:.0f} min left" if minutes >= 1 else "less than a minute left"

    def _print(self, text: str) -> None:
        self._console.print(f"{self._label}{text}", markup=False, highlight=False, soft_wrap=True)
