"""`tuner watch`: whether a production server's traffic is still what its config was tuned for, and what then."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import typer

from tuner.cli.console import check_writable, errors, results, say, write_json
from tuner.cli.retune_json import look_json
from tuner.cli.tables import prose
from tuner.cli.workload import parse_duration
from tuner.decide.drift import Margins
from tuner.errors import RunError, UsageError, choose
from tuner.interrupts import heed_signals
from tuner.measure.production import metrics_url
from tuner.record.proposals import State
from tuner.record.store import Store
from tuner.retune.differences import diff_lines, workload_changes
from tuner.retune.hours import Hours, parse_hours
from tuner.retune.monitor import Asked, Look, looks
from tuner.retune.proposals import is_unfinished, listed
from tuner.retune.studies import Wanted, draft, tend, wanted
from tuner.retune.tuned import Tuned, tuned_for

#: What `tuner watch --once` exits with when the traffic has drifted.
DRIFTED = 3
_THEN = ("say", "queue")


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """The options of the command, as they are typed."""

    study: str
    storage: str
    window: str
    for_: str | None
    during: str | None
    margin: float
    then: str
    hours: str | None
    gpu: str | None
    model: str | None
    trials: int
    once: bool
    json: str | None


def run(urls: Sequence[str], given: Given) -> None:
    """Watch until the time is over, until the first drift with --once, or until Ctrl-C."""
    heed_signals()
    addresses = tuple(dict.fromkeys(metrics_url(url) for url in urls))
    asked = _asked(given)
    if given.then not in _THEN:
        raise UsageError(f"unknown --then {given.then!r}{choose(given.then, _THEN)}")
    if given.json is not None and given.json != "-":
        check_writable("--json", Path(given.json))
    hours = parse_hours("--hours", given.hours) if given.hours else None
    if given.then == "say" and (hours or given.gpu or given.model):
        raise UsageError("--hours, --gpu and --model are those of a study that is queued: give --then queue, too")
    if given.trials < 1:
        raise UsageError(f"--trials is {given.trials} and must be at least 1")
    Store.open(given.storage, read_only=True).close()  # what is not there is not made
    store = Store.open(given.storage, read_only=given.then == "say")
    try:
        tuned = tuned_for(store, given.study)
        _say_unfinished(store)
        plan = wanted(tuned, given.trials, hours, given.gpu, given.model) if given.then == "queue" else None
        _watch(store, tuned, addresses, given, asked, plan)
    finally:
        store.close()


def _asked(given: Given) -> Asked:
    if not 1 < given.margin <= 100:
        raise UsageError(
            f"--margin is {given.margin:g} and must be above 1: 1.2 means that a fifth more or less matters"
        )
    during: Hours | None = parse_hours("--during", given.during) if given.during else None
    window_s = parse_duration(given.window, "--window")
    duration_s = None if given.for_ is None else parse_duration(given.for_)
    if duration_s is not None and duration_s < window_s:
        raise UsageError(f"--for {given.for_} is shorter than a window of {given.window}: nothing would be seen")
    return Asked(window_s=window_s, duration_s=duration_s, during=during, margins=Margins(ratio=given.margin))


def _watch(store: Store, tuned: Tuned, urls: tuple[str, ...], given: Given, asked: Asked, plan: Wanted | None) -> None:
    console = errors if given.json == "-" else results
    servers = urls[0] if len(urls) == 1 else f"{len(urls)} replicas"
    say(errors, f"{servers}: compared with what study {given.study} was tuned for, in windows of {given.window}")
    last: Look | None = None

    def tell(text: str) -> None:
        say(errors, text)

    _tend(store, tuned, plan)
    for look in looks(urls, tuned, asked, tell):
        last = look
        _tend(store, tuned, plan)
        if not look.drifts:
            say(errors, _line(look))
            continue
        prose(console, f"The traffic has drifted: {'; '.join(look.sentences)}.")
        if look.workload is not None and look.expected is not None:
            for line in diff_lines(workload_changes(tuned.workload, tuned.expected, look.workload, look.expected)):
                say(console, f"  {line}")
        number = _then(store, tuned, urls, look, plan)
        _tend(store, tuned, plan)
        write_json(given.json, look_json(look, given.study, urls, number))
        if given.once:
            raise typer.Exit(DRIFTED)
    if last is not None and not last.drifts:
        prose(console, f"No drift was found in {last.windows} windows of {given.window}.")
        write_json(given.json, look_json(last, given.study, urls, None))


def _then(store: Store, tuned: Tuned, urls: tuple[str, ...], look: Look, plan: Wanted | None) -> int | None:
    if plan is None or look.workload is None or look.expected is None:
        if plan is not None:
            say(errors, "nobody uses the server any more: there is nothing to tune for")
        return None
    try:
        proposal = draft(store, tuned, urls, "; ".join(look.sentences), look.workload, look.expected, plan)
    except RunError as error:
        say(errors, str(error))
        return None
    say(errors, f"proposal {proposal.number}: study {proposal.study_after} is wanted for the new traffic")
    return proposal.number


def _tend(store: Store, tuned: Tuned, plan: Wanted | None) -> None:
    """A database that is locked for a moment does not end a watch of weeks."""
    if plan is None:
        return
    try:
        tend(store, tuned, plan, datetime.now(), lambda text: say(errors, text))
    except RunError as error:
        say(errors, f"{error}: tried again after the next window")


def _say_unfinished(store: Store) -> None:
    for left in listed(store, State.CANARY):
        if is_unfinished(left):
            say(
                errors,
                f"the tuner that ran the canary of proposal {left.number} on {left.canary_url} was killed, and the new config"
                f" is still there: `tuner approve {left.number} --revert-cmd CMD` takes it back, or take it back by hand and"
                f" run `tuner reject {left.number}`",
            )


def _line(look: Look) -> str:
    window = look.window
    if window is None:
        return "window left out: too little of it was seen, or its hours are others"
    parts = [] if window.rate is None else [f"{window.rate:.3g} requests a second"]
    parts += [f"{window.inputs.mean:.0f} tokens in"] if window.inputs is not None else []
    parts += [f"{window.outputs.mean:.0f} out"] if window.outputs is not None else []
    return f"window {look.windows}: {', '.join(parts) or 'nothing'}; {look.evidence:.0%} of the evidence for a drift"
