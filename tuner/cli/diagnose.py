"""`tuner diagnose`: what holds a running server back, with the evidence, and what would move it."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import typer

from tuner.bench.diagnosing import Seen, diagnose_load, diagnose_traffic
from tuner.bench.sides import Conditions
from tuner.cli.bench import fresh_salt, say_withheld
from tuner.cli.console import check_writable, errors, heed_signals, interrupted_code, results, say, write_json
from tuner.cli.live import progress
from tuner.cli.measurements import mark_sentences
from tuner.cli.tables import prose
from tuner.diagnose.words import sentences
from tuner.errors import UsageError
from tuner.export.diagnosis_json import diagnosis_json
from tuner.study.checks import engine_arguments, measured_workload
from tuner.study.options import Options
from tuner.types import Measured
from tuner.workload.told import load_text

#: How long a server's own traffic is watched, and may be at most.
WINDOW_S, _LONGEST_S = 30.0, 3600.0


def run(
    url: str,
    options: Options,
    *,
    load: str | None,
    model: str | None,
    gpus: list[int] | None,
    send_key: bool,
    json: str | None,
) -> None:
    """Watch it, or put a load on it, and say what limits it. What is found does not change the exit code."""
    heed_signals()
    if load is None and (options.users is not None or options.request_rate is not None):
        raise UsageError("--users and --request-rate are those of a load: name its workload with --load")
    if json is not None and json != "-":
        check_writable("--json", Path(json))
    settings = dict(engine_arguments(options))
    try:
        with progress() as live:
            if load is None:
                seen = diagnose_traffic(url, window_of(options), gpus, settings, live.tell)
            else:
                used = measured_workload(replace(options, workload=load), seed=None, find_rate=False)
                conditions = Conditions(workload=used, slos=(), model=model, send_key=send_key, gpus=gpus)
                say_withheld([url], send_key=send_key)
                conditions = replace(conditions, underway=live.underway)
                seen = diagnose_load(url, conditions, settings, fresh_salt(), live.tell)
    except KeyboardInterrupt:
        errors.print("Interrupted: nothing was diagnosed.")
        raise typer.Exit(interrupted_code()) from None
    console = errors if json == "-" else results
    say(console, f"{seen.base_url}, model {', '.join(seen.models) or 'unknown'}, {_what(seen)}")
    for sentence in told(seen):
        prose(console, sentence, indent="  ")
    write_json(json, diagnosis_json(seen.diagnosis, seen.measured, vars_of(seen), at=datetime.now()))


def window_of(options: Options) -> float:
    """Seconds to watch. Raises UsageError."""
    window_s = WINDOW_S if options.window is None else options.window
    if not 1.0 <= window_s <= _LONGEST_S:
        raise UsageError(f"--window is {window_s:g} and must be 1 to {_LONGEST_S:g} seconds")
    return window_s


def told(seen: Seen) -> Iterator[str]:
    """The diagnosis, the numbers beside it, and what is to be known before it is believed."""
    yield from sentences(seen.diagnosis)
    yield f"seen: {', '.join(numbers(seen.measured))}"
    if seen.workload is not None:
        yield from mark_sentences([seen.measured], seen.workload)
    for remark in seen.remarks:
        yield f"to be known: {remark}"


def numbers(found: Measured) -> Iterator[str]:
    """Those that say most, as far as they are known."""
    server, cores, gpu, load = found.server, found.cores, found.gpu, found.load
    known: list[tuple[str, float | None]] = [
        ("{:,.0f} output tokens/s", load.output_throughput),
        ("{:,.1f} running", server.running_mean if server else None),
        ("{:,.1f} waiting", server.waiting_mean if server else None),
        ("KV cache {:.0%} full at most", server.kv_cache_usage_max if server else None),
        ("{:,.0f} engine steps", server.steps if server else None),
        ("{:,.1f} tokens a step", server.step_tokens_mean if server else None),
        ("{:.3f} s queued", server.queue_time_mean_s if server else None),
        ("GPU {:.0%}", gpu.utilization if gpu else None),
        ("SMs {:.0%}", gpu.sm_activity if gpu else None),
        ("EngineCore {:.2f} cores", cores.engine_core if cores else None),
        ("API server {:.2f} cores", cores.api_server_max if cores else None),
        ("machine {:.0%} busy", cores.host_busy if cores else None),
    ]
    yield from (text.format(value) for text, value in known if value is not None)


def _what(seen: Seen) -> str:
    if seen.workload is None:
        return f"its own traffic for {seen.measured.load.window_s or 0.0:.0f} s"
    return f"workload {seen.workload.name}, {load_text(seen.workload)}"


def vars_of(seen: Seen) -> dict[str, object]:
    """What the JSON says beside diagnosis and measurement."""
    return {
        "server": seen.base_url,
        "models": list(seen.models),
        "workload": seen.workload.name if seen.workload else None,
        "settings": dict(seen.settings),
        "remarks": list(seen.remarks),
    }
