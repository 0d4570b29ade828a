"""`tuner diagnose`: what holds a server back, with the evidence, what would move it, and with --prove whether it does."""

from dataclasses import replace
from datetime import datetime
from pathlib import Path

import typer
from rich.console import Console

from tuner.bench.comparison import Comparison, interleaved
from tuner.bench.diagnosing import Seen, diagnose_load, diagnose_traffic
from tuner.bench.proving import Proof, proof, proved
from tuner.bench.sides import Conditions
from tuner.cli.bench import fresh_salt
from tuner.cli.commands import SERVERS
from tuner.cli.console import check_writable, errors, results, write_json
from tuner.cli.diagnosed import about, show_seen
from tuner.cli.keys import say_withheld
from tuner.cli.live import Live, progress
from tuner.cli.measurements import compared_table
from tuner.cli.tables import prose, show
from tuner.decide.objective import Objective, parse_objective, the_only
from tuner.errors import UsageError
from tuner.export.diagnosis_json import diagnosis_json
from tuner.interrupts import heed_signals, interrupted_code
from tuner.study.checks import check, engine_arguments, measured_workload
from tuner.study.options import DEFAULT_MODEL, Options

#: How long a server's own traffic is watched, and may be at most.
WINDOW_S, _LONGEST_S = 30.0, 3600.0
#: What of the options is of servers that are launched.
_LAUNCH = (*SERVERS, "engine_arg", "max_model_len", "space")


def run(
    url: str | None,
    options: Options,
    *,
    load: str | None,
    prove: bool,
    repeats: int,
    model: str | None,
    gpus: list[int] | None,
    send_key: bool,
    json: str | None,
) -> None:
    """Say what limits it, and try the remedy if that is asked for. What is found does not change the exit code."""
    heed_signals()
    _check(url, options, load, prove=prove, repeats=repeats)
    if json is not None and json != "-":
        check_writable("--json", Path(json))
    console = errors if json == "-" else results
    conditions = _conditions(options, load, model, gpus, send_key=send_key) if load or prove else None
    salt = fresh_salt()
    try:
        with progress() as live:
            conditions = replace(conditions, underway=live.underway) if conditions else None
            seen = _seen(url, options, conditions if load else None, gpus, salt, live) if url else None
            if conditions is not None and prove:
                _prove(options, conditions, seen, repeats, salt + 1, live, console, json)
                return
    except KeyboardInterrupt:
        errors.print("Interrupted: nothing was diagnosed; no server that tuner started is left.")
        raise typer.Exit(interrupted_code()) from None
    assert seen is not None
    show_seen(console, seen)
    write_json(json, diagnosis_json(seen.diagnosis, seen.measured, about(seen), at=datetime.now()))


def window_of(options: Options) -> float:
    """Seconds to watch a server's own traffic. Raises UsageError."""
    window_s = WINDOW_S if options.window is None else options.window
    if not 1.0 <= window_s <= _LONGEST_S:
        raise UsageError(f"--window is {window_s:g} and must be 1 to {_LONGEST_S:g} seconds")
    return window_s


def _check(url: str | None, options: Options, load: str | None, *, prove: bool, repeats: int) -> None:
    """Raises UsageError for what cannot be meant together."""
    if url is None and not prove:
        raise UsageError("name the URL of a server, or have one launched with --prove")
    if load is None and not prove and (options.users is not None or options.request_rate is not None):
        raise UsageError("--users and --request-rate are those of a load: name its workload with --load")
    if repeats < 1:
        raise UsageError(f"--repeats is {repeats} and must be at least 1")


def _conditions(
    options: Options, load: str | None, model: str | None, gpus: list[int] | None, *, send_key: bool
) -> Conditions:
    """Raises UsageError."""
    used = measured_workload(replace(options, workload=load or options.workload), seed=None, find_rate=False)
    launch = Options(**{name: getattr(options, name) for name in _LAUNCH}, model=model or DEFAULT_MODEL)
    goal = parse_objective(the_only(options.objective, "`tuner diagnose`"))
    return Conditions(workload=used, slos=(), objective=goal, model=model, send_key=send_key, gpus=gpus, options=launch)


def _seen(
    url: str, options: Options, conditions: Conditions | None, gpus: list[int] | None, salt: int, live: Live
) -> Seen:
    """Of a running server, under the conditions' load if there are any."""
    settings = dict(engine_arguments(options))
    if conditions is None:
        return diagnose_traffic(url, window_of(options), gpus, settings, live.tell)
    say_withheld([url], send_key=conditions.send_key)
    return diagnose_load(url, conditions, settings, salt, live.tell)


def _prove(
    options: Options,
    conditions: Conditions,
    running: Seen | None,
    repeats: int,
    salt: int,
    live: Live,
    console: Console,
    json: str | None,
) -> None:
    """Launch the present settings and the remedy in turn. Whatever ends it, what was measured is shown."""
    goal = conditions.objective
    assert goal is not None
    check(conditions.options)
    tried = proof(conditions.options, conditions, running, salt, live.tell)
    compared = Comparison()
    try:
        for compared in interleaved(tried.present, tried.remedied, repeats, salt + 1, live.tell):
            live.ended(len(compared.a) + len(compared.b), 2 * repeats)
    finally:
        _show_proof(tried, compared, goal, console, json)


def _show_proof(tried: Proof, compared: Comparison, goal: Objective, console: Console, json: str | None) -> None:
    show_seen(console, tried.seen)
    paired = compared.paired(goal)
    if compared.a or compared.b:
        console.print()
        prose(console, f"A: the present settings; B: the same with {tried.remedy.name} {tried.after}")
        show(console, compared_table(compared, goal, paired))
    sentence = proved(tried, paired, goal)
    console.print()
    prose(console, sentence)
    told = {
        "setting": tried.remedy.name,
        "before": tried.before,
        "after": tried.after,
        "predicted_gain": tried.remedy.gain,
        "objective": goal.name,
        "effect": paired.effect if paired else None,
        "low": paired.low if paired else None,
        "high": paired.high if paired else None,
        "p_value": paired.p_value if paired else None,
        "pairs": compared.pairs,
        "sentence": sentence,
    }
    found = tried.seen
    write_json(
        json, diagnosis_json(found.diagnosis, found.measured, {**about(found), "proof": told}, at=datetime.now())
    )
