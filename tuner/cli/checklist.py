"""`tuner doctor --model`: the deployment checklist, a line each with its evidence."""

from dataclasses import asdict, dataclass
from typing import Any

import typer
from rich.console import Console

from tuner import interrupts
from tuner.bench.checklist_facts import facts
from tuner.bench.looking import look
from tuner.cli.console import errors, plain, say
from tuner.cli.keys import key_of
from tuner.cli.tables import prose
from tuner.interrupts import heed_signals, interrupted_code
from tuner.predict.advise.checklist import Level, Line
from tuner.predict.advise.checklist_server import checklist
from tuner.study.options import Options


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """The lines; `model` is the user's word, `served` what a server serves; None without."""

    lines: tuple[Line, ...]
    model: str | None
    served: str | None

    @property
    def is_wrong(self) -> bool:
        return any(line.level is Level.WRONG for line in self.lines)

    def show(self, console: Console) -> None:
        """A line each, always in the same order."""
        say(console, f"Checklist of {self.model or self.served}:")
        if self.model and self.served and _last(self.model) != _last(self.served):
            prose(
                console,
                plain(f"the server serves {self.served}; what is predicted is of {self.model}, as --model says"),
            )
        for line in self.lines:
            remedy = f": {line.remedy}" if line.remedy else ""
            prose(console, plain(f"{line.level.value:9} {line.name}: {line.evidence}{remedy}"), indent=" " * 10)

    def json(self) -> list[dict[str, Any]]:
        """For machines; no remedy is null."""
        return [{**asdict(line), "remedy": line.remedy or None} for line in self.lines]


def checked(options: Options, model: str | None, url: str | None, *, send_key: bool) -> Checked:
    """Raises UsageError, and RunError where no server answers at the URL."""
    if url is None:
        return Checked(lines=tuple(checklist(facts(options, model, None))), model=model, served=None)
    heed_signals()
    try:
        seen = interrupts.run(look(url, model=model, key=key_of(url, None, send_key=send_key), tell=_tell))
    except KeyboardInterrupt:
        errors.print("Interrupted.")
        raise typer.Exit(interrupted_code()) from None
    return Checked(lines=tuple(checklist(facts(options, model, seen))), model=model, served=seen.model)


def _last(model: str) -> str:
    return model.rstrip("/").rpartition("/")[2]


def _tell(text: str) -> None:
    say(errors, f"{text} ...")
