"""`tuner bench`: a trial's measurement, of any OpenAI-compatible server that runs."""

import time
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import typer

from tuner import interrupts
from tuner.bench.sides import Conditions, url_side
from tuner.cli.console import check_writable, errors, results, say, write_json
from tuner.cli.keys import say_withheld
from tuner.cli.live import progress
from tuner.cli.measurements import mark_sentences, measurement_tables, rate_sentence, slo_sentences
from tuner.cli.tables import prose, show
from tuner.decide.slo import parse_slos
from tuner.export.bench_json import Asked, bench_json
from tuner.interrupts import heed_signals, interrupted_code
from tuner.study.checks import measured_workload
from tuner.study.options import Options
from tuner.types import Mark
from tuner.workload.presets import file_notes, workload_yaml
from tuner.workload.told import load_text


def run(
    url: str,
    options: Options,
    *,
    model: str | None,
    find_rate: bool,
    seed: int | None,
    gpus: list[int] | None,
    send_key: bool,
    json: str | None,
) -> None:
    """Measure a server, show what was measured, and write it."""
    heed_signals()
    used = measured_workload(options, seed=seed, find_rate=find_rate)
    asked = Asked(workload=used, yaml=workload_yaml(used), slos=parse_slos(options.slo))
    if json is not None and json != "-":
        check_writable("--json", Path(json))
    conditions = Conditions(workload=used, slos=tuple(asked.slos), model=model, send_key=send_key, gpus=gpus)
    say_withheld([url], send_key=send_key)
    console = errors if json == "-" else results
    for note in file_notes(used):
        say(console, note)
    try:
        with progress() as live:
            side = url_side(url, replace(conditions, underway=live.underway))
            measured = interrupts.run(side.measure(fresh_salt(), live.tell))
    except KeyboardInterrupt:
        errors.print("Interrupted: nothing was measured.")
        raise typer.Exit(interrupted_code()) from None
    say(console, f"{side.name}, model {side.model}, workload {used.name}, {load_text(used)}")
    for table in measurement_tables(measured):
        console.print()
        show(console, table)
    console.print()
    if measured.rate is not None:
        prose(console, rate_sentence(measured.rate, measured, asked.slos))
    for sentence in [*slo_sentences(measured, asked.slos), *mark_sentences([measured], used)]:
        prose(console, sentence)
    missed = any(slo.violation(measured.load) > 0 for slo in asked.slos)
    if used.find_rate and missed:
        prose(console, "no request rate was found that meets every SLO: this is the lowest that was tried")
    write_json(json, bench_json(measured, asked, server=side.name, model=side.model, at=datetime.now()))
    if missed or Mark.CLIENT_BOUND in measured.marks:
        raise typer.Exit(1)


def fresh_salt() -> int:
    """A number that no earlier command used on a server whose prefix cache may remember it."""
    return int(time.time())
