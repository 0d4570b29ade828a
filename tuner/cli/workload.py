"""`tuner workload from-metrics`: the workload that imitates a live server's traffic."""

import re
from pathlib import Path

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from tuner.bench.keys import key_for
from tuner.cli.console import check_writable, errors, write_file
from tuner.errors import UsageError
from tuner.interrupts import heed_signals
from tuner.measure.imitation import imitation
from tuner.measure.production import metrics_url, scrapes
from tuner.measure.traffic import Scrape, Traffic, traffic
from tuner.workload.presets import workload_yaml

_APIS = ("chat", "completions")
_UNITS_S = {"s": 1, "m": 60, "h": 3600}
_LONGEST_S = 7 * 24 * 3600


def from_metrics(url: str, watched: str, output: Path | None, api: str) -> None:
    """Watch for a time such as 10m, and write the workload to a file or the screen."""
    if api not in _APIS:
        raise UsageError(f"unknown --api {api!r}: choose one of {', '.join(_APIS)}")
    address, duration_s = metrics_url(url), parse_duration(watched)
    if output is not None:
        check_writable("--output", output)
    found = traffic(_watch(address, duration_s))
    text = workload_yaml(imitation(found, api, output.stem if output else "production"), comment_on(found, address))
    if output is None:
        typer.echo(text, nl=False)
        return
    write_file("--output", output, text)
    errors.print(f"{output}: {_summary(found)}", highlight=False, soft_wrap=True, markup=False)


def parse_duration(text: str, flag: str = "--for") -> float:
    """Seconds in e.g. 90s, 10m, 1.5h. Raises UsageError; a week is the longest."""
    match = re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?)([smh])", text.strip(), re.ASCII)
    duration_s = float(match[1]) * _UNITS_S[match[2]] if match else 0.0
    if not 0 < duration_s <= _LONGEST_S:
        raise UsageError(f"{flag} {text!r} is no duration above 0 and of at most 168h: give one such as 90s, 10m or 2h")
    return duration_s


def comment_on(found: Traffic, address: str) -> str:
    """What was seen, and what of it is a guess or is not imitated, a line each."""
    lines = [f"Imitates the traffic of {address}:", f"{_summary(found)}."]
    if found.running_mean is not None and found.waiting_mean is not None:
        lines.append(f"On average {found.running_mean:.1f} requests were running and {found.waiting_mean:.1f} waiting.")
    if found.saturated:
        lines.append(
            "The server was saturated (more waiting than running): request_rate is what it could serve, and users"
        )
        lines.append("may have wanted more.")
    if found.burstiness is None:
        lines.append("Too few requests to tell the burstiness of the arrivals: taken as 1 (Poisson).")
    longest = found.input_tokens.high + found.output_tokens.high
    lines.append(f"Prompts and answers are drawn independently: the longest have {longest:,} tokens together.")
    if found.prefix_hit_rate is not None:
        lines += _prefix_comment(found, found.prefix_hit_rate)
    return "\n".join(lines)


def _prefix_comment(found: Traffic, hit_rate: float) -> list[str]:
    if (prefix := found.shared_prefix) is None:
        return [f"Prefix-cache hit rate {hit_rate:.0%}: not imitated, prompts share no prefix."]
    return [
        f"Prefix-cache hit rate {hit_rate:.0%}: imitated by one prefix that all prompts share, which gives about",
        f"{prefix.tokens / found.input_mean:.0%}. That is a guess: how many prefixes there are, and how long, is not known.",
    ]


def _summary(found: Traffic) -> str:
    return (
        f"{found.requests:,} requests finished in {found.duration_s:.0f} s, {found.request_rate:.3g} arrived a second, "
        f"on average {found.input_mean:.0f} tokens in and {found.output_mean:.0f} out"
    )


def _watch(address: str, duration_s: float) -> list[Scrape]:
    """At least two readings. Ctrl-C ends it with what was seen so far; before the second reading it ends the command."""
    seen: list[Scrape] = []
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    heed_signals()
    try:
        with Progress(*columns, console=errors, transient=True) as progress:
            task = progress.add_task(address, total=duration_s)
            for scrape in scrapes(address, duration_s, key_for(address, send=False)):
                seen.append(scrape)
                progress.update(task, completed=scrape.time_s - seen[0].time_s, description=_now(seen))
    except KeyboardInterrupt:
        if len(seen) < 2:
            raise
        seconds = seen[-1].time_s - seen[0].time_s
        errors.print(f"stopped: what was seen in {seconds:.0f} s is used", highlight=False)
    return seen


def _now(seen: list[Scrape]) -> str:
    last = seen[-1]
    parts = [f"{last.finished - seen[0].finished:,.0f} requests finished"]
    parts += [f"{last.running:.0f} running"] if last.running is not None else []
    parts += [f"{last.waiting:.0f} waiting"] if last.waiting is not None else []
    return ", ".join(parts)
