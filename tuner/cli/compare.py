"""`tuner compare`: two servers or settings, measured in turn, and whether there is a difference."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import typer

from tuner.bench.comparison import Comparison, Side, interleaved
from tuner.bench.sides import Conditions, sides_of
from tuner.cli.bench import fresh_salt
from tuner.cli.commands import SERVERS
from tuner.cli.console import check_writable, errors, results, say, write_json
from tuner.cli.keys import say_withheld
from tuner.cli.live import progress
from tuner.cli.measurements import compared_table, mark_sentences, verdict_sentence
from tuner.cli.tables import prose, show
from tuner.decide.deciding import OTHER_LENGTHS, check_decides
from tuner.decide.objective import Objective, parse_objective, the_only
from tuner.decide.slo import check_limits, parse_slos
from tuner.errors import RunError, UsageError
from tuner.export.bench_json import Asked, comparison_json
from tuner.interrupts import heed_signals, interrupted_code
from tuner.study.checks import measured_workload
from tuner.study.options import Options
from tuner.types import Mark
from tuner.workload.presets import file_notes, workload_yaml
from tuner.workload.told import load_text

#: What `--answers` may be: only answers of the length that was asked for are compared, or whatever comes.
ANSWERS = ("as-asked", "as-they-come")


def run(
    names: tuple[str, str],
    options: Options,
    repeats: int,
    *,
    model: str | None,
    find_rate: bool,
    seed: int | None,
    gpus: list[int] | None,
    send_key: bool,
    answers: str,
    json: str | None,
) -> None:
    """Measure both in turn, and show whether there is a difference."""
    heed_signals()
    if repeats < 1:
        raise UsageError(f"--repeats is {repeats} and must be at least 1")
    if answers not in ANSWERS:
        raise UsageError(f"--answers is {answers!r}: choose one of {', '.join(ANSWERS)}")
    name = the_only(options.objective, "`tuner compare`")
    if name == "cost":
        raise UsageError("--objective cost: `tuner compare` knows no prices: compare the throughputs")
    goal = parse_objective(name)
    used = measured_workload(options, seed=seed, find_rate=find_rate)
    asked = Asked(workload=used, yaml=workload_yaml(used), slos=parse_slos(options.slo))
    check_limits(goal, asked.slos)
    check_decides(used, goal)
    if json is not None and json != "-":
        check_writable("--json", Path(json))
    servers = Options(**{name: getattr(options, name) for name in SERVERS})
    conditions = Conditions(
        workload=used,
        slos=tuple(asked.slos),
        objective=goal,
        model=model,
        send_key=send_key,
        gpus=gpus,
        options=servers,
    )
    say_withheld([name for name in names if "://" in name], send_key=send_key)
    as_asked = answers == ANSWERS[0]
    _measure(names, conditions, repeats, asked, goal, json, as_asked=as_asked)


def _measure(
    names: tuple[str, str],
    conditions: Conditions,
    repeats: int,
    asked: Asked,
    objective: Objective,
    json: str | None,
    *,
    as_asked: bool,
) -> None:
    """Whatever ends it, what was measured is shown."""
    sides: list[Side] = []
    found = Comparison()
    try:
        with progress() as live:
            sides = sides_of(names, replace(conditions, underway=live.underway), live.tell)
            for known in interleaved(sides[0], sides[1], repeats, fresh_salt(), live.tell):
                found = known
                live.ended(len(found.a) + len(found.b), 2 * repeats)
                if as_asked:
                    _check_answers(found)
    except KeyboardInterrupt:
        errors.print(f"Interrupted after {found.pairs} of {repeats} pairs; no server that tuner started is left.")
        raise typer.Exit(interrupted_code()) from None
    finally:
        if found.a or found.b:
            _show(sides, found, asked, objective, json)
    if any(Mark.CLIENT_BOUND in measured.marks for measured in (*found.a, *found.b)):
        raise typer.Exit(1)


def _check_answers(found: Comparison) -> None:
    """Raises RunError where a side did not do the work that was asked for: the other may have done more, or less."""
    for role, measured in (("A", found.a), ("B", found.b)):
        share = measured[-1].load.answer_share if measured else None
        if share is not None and Mark.OTHER_LENGTHS in measured[-1].marks and abs(share - 1) > OTHER_LENGTHS:
            raise RunError(
                f"{role}'s answers are {share:.0%} as long as what was asked for, so the sides may not do the same work:"
                " take a server that knows ignore_eos, or compare them as they come (--answers as-they-come)"
            )


def _show(sides: Sequence[Side], found: Comparison, asked: Asked, objective: Objective, json: str | None) -> None:
    a, b = sides
    paired = found.paired(objective)
    console = errors if json == "-" else results
    say(console, f"A: {a.name}, model {a.model}\nB: {b.name}, model {b.model}")
    say(console, f"workload {asked.workload.name}, {load_text(asked.workload)}\n")
    for note in file_notes(asked.workload):
        say(console, note)
    show(console, compared_table(found, objective, paired))
    console.print()
    for sentence in mark_sentences([*found.a, *found.b], asked.workload):
        prose(console, sentence)
    prose(console, verdict_sentence(found, paired, objective))
    text = comparison_json(
        found.a,
        found.b,
        asked,
        names=(a.name, b.name),
        models=(a.model, b.model),
        objective=objective,
        paired=paired,
        at=datetime.now(),
    )
    write_json(json, text)
