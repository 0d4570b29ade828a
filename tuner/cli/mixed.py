"""`tuner optimize` on several card models of a Ray cluster at once: a study on each, their lines on stderr, one table of all on
stdout."""

import os
import sys
from collections.abc import Mapping, Sequence, Set

import typer

from tuner.cli.console import errors, results, say
from tuner.cli.history import standing, studies_table
from tuner.cli.refusals import is_debug
from tuner.cli.result import next_step
from tuner.cli.tables import show
from tuner.errors import UsageError
from tuner.interrupts import interrupted_code
from tuner.record.store import Store
from tuner.study.coordinators import run_all
from tuner.study.flags import environment, flags
from tuner.study.mixed import reach
from tuner.study.options import Options

_BETWEEN = " | "


def run(studies: Sequence[Options]) -> None:
    """Tune on each card; one that fails leaves the others alone. Raises Exit with 1 if any did, and with that of the signal."""
    store, running = Store.open(studies[0].storage), {one.gpu for one in studies}

    def ended(card: str, code: int) -> None:
        running.discard(card)
        _tell_end(card, code, running)

    try:
        reach(studies[0])
        for one in studies:
            say(errors, f"{one.gpu}: study {one.study}")
        codes = run_all(
            {one.gpu: [sys.executable, "-m", "tuner", "optimize", *flags(one)] for one in studies},
            {one.gpu: _environment(one) for one in studies},
            lambda card, text: say(errors, f"{card}{_BETWEEN}{text}"),
            ended,
        )
        _print_result(store, studies, codes)
    except KeyboardInterrupt:
        errors.print(
            "Interrupted: all servers are stopped and every finished trial is kept. Run the same command to go on."
        )
        raise typer.Exit(interrupted_code()) from None
    finally:
        store.close()
    if any(codes.values()):
        raise typer.Exit(1)


def check_events(events: object) -> None:
    """Raises UsageError: events are of one study."""
    if events is not None:
        raise UsageError("--events with several cards: the events are those of one study: run one study a card")


def _environment(one: Options) -> dict[str, str]:
    """Lines are folded where a terminal shows them."""
    handed = environment(one, os.environ)
    if errors.is_terminal:
        handed["COLUMNS"] = str(max(errors.width - len(f"{one.gpu}{_BETWEEN}"), 40))
    return {**handed, "TUNER_DEBUG": "1"} if is_debug() else handed


def _tell_end(card: str, code: int, left: Set[str]) -> None:
    """One that did not end well, and who is still at work."""
    if code:
        how = f"signal {code - 128}" if code > 128 else f"exit code {code}"
        others = f"; {', '.join(sorted(left))} {'goes' if len(left) == 1 else 'go'} on" if left else ""
        say(errors, f"{card}: the study ended by {how}{others}")


def _print_result(store: Store, studies: Sequence[Options], codes: Mapping[str, int]) -> None:
    """A row a study that was begun; which was not, or failed, in a sentence."""
    begun = {record.name: record for record in store.studies()}
    told = [standing(store, begun[one.study]) for one in studies if one.study in begun]
    show(results, studies_table(told))
    failed = [one.gpu for one in studies if codes[one.gpu]]
    if failed:
        say(results, f"Not finished: {', '.join(failed)}. Run the same command to go on.")
    for one in told:
        if one.found.chosen:
            say(results, f"Export it: {next_step(studies[0].storage, 'export', one.record.name)}")
