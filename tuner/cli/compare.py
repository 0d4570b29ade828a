"""`tuner compare`: two servers or settings, measured in turn, and whether there is a difference."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import typer

from tuner.bench.comparison import Comparison, Side, interleaved
from tuner.bench.sides import Conditions, sides_of
from tuner.cli.bench import api_key, fresh_salt
from tuner.cli.commands import SERVERS
from tuner.cli.console import check_writable, errors, heed_signals, results, say, write_json
from tuner.cli.live import progress
from tuner.cli.measurements import compared_table, load_text, mark_sentences, verdict_sentence
from tuner.cli.tables import prose, show
from tuner.decide.deciding import check_decides
from tuner.decide.objective import Objective, parse_objective
from tuner.decide.slo import check_limits, parse_slo
from tuner.errors import UsageError
from tuner.export.bench_json import Asked, comparison_json
from tuner.study.checks import measured_workload
from tuner.study.options import Options
from tuner.types import Mark
from tuner.workload.presets import workload_yaml


def run(
    names: tuple[str, str],
    options: Options,
    repeats: int,
    *,
    model: str | None,
    find_rate: bool,
    seed: int | None,
    gpus: list[int] | None,
    json: str | None,
) -> None:
    """Measure both in turn, and show whether there is a difference."""
    heed_signals()
    if repeats < 1:
        raise UsageError(f"--repeats is {repeats} and must be at least 1")
    goal = parse_objective(options.objective)
    used = measured_workload(options, seed=seed, find_rate=find_rate)
    asked = Asked(workload=used, yaml=workload_yaml(used), slos=tuple(parse_slo(text) for text in options.slo))
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
        api_key=api_key(),
        gpus=gpus,
        options=servers,
    )
    _measure(names, conditions, repeats, asked, goal, json)


def _measure(
    names: tuple[str, str], conditions: Conditions, repeats: int, asked: Asked, objective: Objective, json: str | None
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
    except KeyboardInterrupt:
        errors.print(f"Interrupted after {found.pairs} of {repeats} pairs; no server that tuner started is left.")
        raise typer.Exit(130) from None
    finally:
        if found.a or found.b:
            _show(sides, found, asked, objective, json)
    if any(Mark.CLIENT_BOUND in measured.marks for measured in (*found.a, *found.b)):
        raise typer.Exit(1)


def _show(sides: Sequence[Side], found: Comparison, asked: Asked, objective: Objective, json: str | None) -> None:
    a, b = sides
    paired = found.paired(objective)
    console = errors if json == "-" else results
    say(console, f"A: {a.name}, model {a.model}\nB: {b.name}, model {b.model}")
    say(console, f"workload {asked.workload.name}, {load_text(asked.workload)}\n")
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
