"""A server's window and its diagnosis in; sentences, and what the JSON says beside them, out."""

from collections.abc import Iterator

from rich.console import Console

from tuner.bench.diagnosing import Seen
from tuner.cli.console import say
from tuner.cli.measurements import mark_sentences
from tuner.cli.tables import prose
from tuner.diagnose.words import sentences
from tuner.types import Measured
from tuner.workload.told import load_text


def show_seen(console: Console, seen: Seen) -> None:
    """Print what was seen where, and the diagnosis."""
    say(console, f"{seen.base_url}, model {', '.join(seen.models) or 'unknown'}, {_what(seen)}")
    for sentence in told(seen):
        prose(console, sentence, indent="  ")


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


def about(seen: Seen) -> dict[str, object]:
    """What the JSON says beside diagnosis and measurement."""
    return {
        "server": seen.base_url,
        "models": list(seen.models),
        "workload": seen.workload.name if seen.workload else None,
        "settings": dict(seen.settings),
        "remarks": list(seen.remarks),
    }


def _what(seen: Seen) -> str:
    if seen.workload is None:
        return f"its own traffic for {seen.measured.load.window_s or 0.0:.0f} s"
    return f"workload {seen.workload.name}, {load_text(seen.workload)}"
