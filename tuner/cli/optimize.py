"""`tuner optimize`: the main job."""

from contextlib import nullcontext
from dataclasses import asdict, replace
from pathlib import Path

import typer
from rich.table import Table

from tuner.cli import mixed
from tuner.cli.console import errors, say
from tuner.cli.refusals import is_debug
from tuner.cli.result import print_result
from tuner.cli.tables import show
from tuner.cli.watch import TerminalWatch
from tuner.export.unreal import unreal_sentence
from tuner.interrupts import heed_signals, interrupted_code
from tuner.load.generate import MAX_WINDOW_FACTOR
from tuner.measure.gpu import utilization
from tuner.record.store import Store
from tuner.study.checks import check
from tuner.study.engines import set_up
from tuner.study.events import EventLog
from tuner.study.loop import run_study
from tuner.study.mixed import card_models, studies_on
from tuner.study.options import Options
from tuner.study.setup import Setup
from tuner.study.watch import Both, Watch


def run(options: Options, events: Path | None = None) -> None:
    """Tune; whatever ends it, what is finished is kept. What happens is also written to `events`, for who started this."""
    heed_signals()
    try:
        cards = card_models(options, lambda text: say(errors, text))
        if len(cards) > 1:
            mixed.check_events(events)
            mixed.run(studies_on(options, cards))
            return
        with EventLog(events) if events else nullcontext() as log:
            _measure(replace(options, gpu=cards[0]), log)
    except KeyboardInterrupt:
        errors.print(
            "Interrupted: the server is stopped and every finished trial is kept. Run the same command to go on."
        )
        raise typer.Exit(interrupted_code()) from None


def _measure(options: Options, log: EventLog | None) -> None:
    check(options)
    planned = set_up(options, lambda text: say(errors, text))
    store = Store.open(options.storage)
    try:
        with store.patience.waiting(lambda text: say(errors, text)):
            with planned as (setup, engine):
                _print_settings(replace(options, storage=store.name), setup)
                unreal, debug = setup.fingerprint.unreal, is_debug()
                with TerminalWatch(errors, setup.objectives, setup.launches, unreal, debug) as watch:
                    found = run_study(setup, store, engine, _told(watch, log, setup))
            if log is not None:
                log.end("finished")
            print_result(store, setup.study, found, options.storage)
        if found.chosen is None:
            raise typer.Exit(1)
    finally:
        store.close()


def _told(watch: TerminalWatch, log: EventLog | None, setup: Setup) -> Watch:
    if log is None:
        return watch
    log.busy = lambda: utilization([gpu.uuid for gpu in setup.gpus])
    return Both(watch, log)


def _print_settings(options: Options, setup: Setup) -> None:
    """Every setting that has a value, with the one that is used, defaults included."""
    longest = setup.space.fixed.get("max_model_len")
    used = replace(
        options,
        gpu=setup.space.name,
        groups=", ".join(setup.space.groups) or None,
        model=setup.launcher.model,
        study=setup.study,
        users=setup.workload.users,
        request_rate=setup.workload.request_rate,
        warmup=setup.workload.warmup_s,
        window=setup.workload.window_s,
        max_window=setup.workload.max_window_s or MAX_WINDOW_FACTOR * setup.workload.window_s,
        precision=setup.workload.precision,
        vllm_python=str(setup.launcher.python),
        max_model_len=int(longest) if longest is not None else None,
        cache_dir=setup.caches.folder,
        baseline=tuple(hand.said for hand in setup.baselines),
    )
    sentence = unreal_sentence(setup.fingerprint)
    if sentence is not None:
        used = replace(used, start="plain", cache_dir=None)
    table = Table(box=None, show_header=False, pad_edge=False, title=sentence, title_justify="left")
    for name, value in asdict(used).items():
        shown = ", ".join(value) if isinstance(value, tuple) else value
        if not (shown is None or shown is False or shown == ""):
            table.add_row(name.replace("_", "-"), str(shown))
    version = setup.fingerprint.engine_version
    known = (
        f"vLLM {version}, {setup.fingerprint.gpu or 'CPU'}"
        if sentence is None
        else f"{version}, {setup.fingerprint.host}"
    )
    table.add_row("engine version", known)
    show(errors, table)
