"""One measurement, or two sides of a comparison, as tables and sentences. Units are milliseconds and percent here only."""

from collections.abc import Mapping, Sequence
from statistics import median

from rich.markup import escape
from rich.table import Table

from tuner.bench.comparison import Comparison
from tuner.cli.answer import change_text
from tuner.decide.confidence import LEAST_PAIRS, Difference, Paired
from tuner.decide.deciding import OTHER_LENGTHS
from tuner.decide.gain import LEAST_GAIN
from tuner.decide.objective import Objective, without_the_one_gpu
from tuner.decide.slo import Slo
from tuner.decide.words.rows import LATENCIES, REST, ROWS, STATISTICS, THROUGHPUT, Row
from tuner.measure.marks import BUNCHED, BUNCHED_FIRST
from tuner.types import ClientMetrics, LoadMetrics, Mark, Measured, RateFound, Workload

_COMPARED = (
    *THROUGHPUT,
    *(f"{name}_{statistic}_s" for name in LATENCIES for statistic in ("p50", "p99")),
    *("gpus", "failed", "startup_s", "kv_cache_tokens", "server_preemptions", "server_cpu_cores"),
    *("server_acceptance_length", "server_acceptance_rate"),
    *(name for name in REST if name.startswith("gpu_")),
)


def measurement_tables(measured: Measured) -> list[Table]:
    """Every metric with its unit: throughputs with the 95% interval, latencies in a row each, then the rest."""
    found = without_the_one_gpu([measured.metrics()])[0]
    half, value = measured.load.output_throughput_ci95, measured.load.output_throughput
    interval = f"± {half:,.1f} ({half / value:.1%}), 95% interval" if half and value else ""
    latencies = Table(box=None, header_style="bold", pad_edge=False)
    latencies.add_column("ms")
    for statistic in STATISTICS:
        latencies.add_column(statistic, justify="right")
    for name, (label, _) in LATENCIES.items():
        keys = [f"{name}_{statistic}_s" for statistic in STATISTICS]
        if any(key in found for key in keys):
            latencies.add_row(label, *(_shown(ROWS[key], found.get(key)) for key in keys))
    beside = {"output_throughput": interval, "request_rate": _rate_interval(measured.rate) if measured.rate else ""}
    tried = [_tried_table(measured.rate)] if measured.rate else []
    return [_plain_table(THROUGHPUT, found, beside), latencies, *tried, _plain_table(REST, found)]


def rate_sentence(rate: RateFound, measured: Measured, slos: Sequence[Slo]) -> str:
    """The answer to --find-rate."""
    found = measured.load.request_rate
    if found is None or any(slo.violation(measured.load) > 0 for slo in slos):
        return f"{len(rate.tried)} rates were tried, and none met every SLO."
    return f"The server takes {found:,.2f} requests/s within the SLOs: {_rate_interval(rate)}."


def _rate_interval(rate: RateFound) -> str:
    """Where the highest rate that meets the SLOs lies."""
    if rate.low is not None and rate.high is not None:
        return f"the highest that meets the SLOs: {rate.low:,.2f} to {rate.high:,.2f}, 90% interval"
    if rate.low is not None:
        return "the highest that was tried: the limit of the server was not reached"
    return "the lowest that was tried"


def _tried_table(rate: RateFound) -> Table:
    """Every rate, in the order of trying, with whether it met the SLOs and why not."""
    names = list(dict.fromkeys(name for tried in rate.tried for name in tried.seen))
    table = Table(box=None, header_style="bold", pad_edge=False)
    for header in ("req/s tried", "requests", *(f"{ROWS[name].label} {ROWS[name].unit}" for name in names)):
        table.add_column(header, justify="right")
    table.add_column("SLOs")
    for tried in rate.tried:
        latencies = (_shown(ROWS[name], tried.seen.get(name)) for name in names)
        why = f"missed: {tried.failure}" if tried.failure else "missed"
        table.add_row(
            f"{tried.request_rate:,.2f}", f"{tried.requests:,}", *latencies, "met" if tried.met else escape(why)
        )
    return table


def slo_sentences(measured: Measured, slos: Sequence[Slo]) -> list[str]:
    """Each limit, and whether it is met."""
    found = measured.metrics()
    return [
        f"SLO {slo.name} of at most {slo.limit_s * 1e3:,.6g} ms: {_shown(ROWS[slo.metric], found.get(slo.metric))} ms, "
        + ("met" if slo.violation(measured.load) <= 0 else "missed")
        + _ends(slo.metric, measured.load)
        for slo in slos
    ]


def _ends(metric: str, load: LoadMetrics) -> str:
    """The 95 % interval of a latency, where it is known."""
    if not load.ci95 or metric not in load.ci95:
        return ""
    low, high = (f"{value * ROWS[metric].factor:,.{ROWS[metric].decimals}f}" for value in load.ci95[metric])
    return f" (95% interval {low} to {high} {ROWS[metric].unit})"


def compared_table(found: Comparison, objective: Objective | None = None, paired: Paired | None = None) -> Table:
    """The median of each metric over a side's measurements, and the change from A's to B's: that of the objective as the test
    over pairs has it, so that there is one number for it."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for header in ("", "A", "B", "", "change"):
        table.add_column(header, justify="right" if header in ("A", "B", "change") else "left")
    a, b = without_the_one_gpu([_medians(side) for side in (found.a, found.b)])
    for name in _COMPARED:
        if name in a or name in b:
            row, before, after = ROWS[name], a.get(name), b.get(name)
            tested = objective is not None and paired is not None and name == objective.metric
            change = change_text(row, paired.effect) if tested and paired else _change(row, before, after)
            table.add_row(row.label, _shown(row, before), _shown(row, after), row.unit, change)
    return table


def mark_sentences(measurements: Sequence[Measured], workload: Workload) -> list[str]:
    """Each mark once, as a sentence that says what is not to be believed; of several measurements also how many have it."""
    told = []
    for mark in Mark:
        marked = [measured for measured in measurements if mark in measured.marks]
        if marked:
            many = f" in {len(marked)} of {len(measurements)} measurements" if len(measurements) > 1 else ""
            told.append(f"{mark.value}{many}: {_sentence(mark, marked[-1], workload)}")
    return told


def verdict_sentence(found: Comparison, paired: Paired | None, objective: Objective) -> str:
    """What the test says of B against A, or why it says nothing."""
    label = ROWS[objective.metric].label
    name = label if label[1].isupper() else label.lower()
    if not found.pairs:
        return "no verdict: no pair was measured"
    if paired is None:
        return f"no verdict: {name} is missing or 0 in some measurement"
    pairs = "1 pair" if paired.pairs == 1 else f"{paired.pairs} pairs"
    if paired.low is None or paired.high is None or not paired.can_decide:
        return (
            f"no verdict: {name} {paired.effect:+.1%} in {pairs}, and the test needs at least {LEAST_PAIRS} (--repeats)"
        )
    numbers = f"95% interval {paired.low:+.1%} to {paired.high:+.1%}, p {paired.p_value:.2g}, {pairs}"
    verdict = paired.verdict(objective.maximize)
    if verdict is not Difference.NONE:
        by = f"{abs(paired.effect):.1%} {'higher' if paired.effect > 0 else 'lower'}"
        return f"B is {verdict.value}: its {name} is {by} ({numbers})"
    if paired.verdict(objective.maximize, least=0.0) is not Difference.NONE:
        return f"no difference in {name} that matters: {paired.effect:+.1%} is below {LEAST_GAIN:.0%} ({numbers})"
    seen = max(LEAST_GAIN, abs(paired.low), abs(paired.high))
    return (
        f"no difference in {name} ({paired.effect:+.1%}; {numbers}): the test cannot tell them apart; "
        f"a difference of at least {seen:.1%} would have been seen"
    )


def _plain_table(rows: Mapping[str, Row], found: Mapping[str, float], beside: Mapping[str, str] | None = None) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column()
    table.add_column(justify="right")
    for name, row in rows.items():
        if name in found:
            table.add_row(row.label, _shown(row, found[name]), row.unit, (beside or {}).get(name, ""))
    return table


def _shown(row: Row, value: float | None) -> str:
    return "-" if value is None else f"{value * row.factor:,.{row.decimals}f}"


def _medians(measurements: Sequence[Measured]) -> dict[str, float]:
    found = [measured.metrics() for measured in measurements]
    return {name: median(m[name] for m in found if name in m) for name in ROWS if any(name in m for m in found)}


def _change(row: Row, before: float | None, after: float | None) -> str:
    if not before or after is None:
        return "-"
    if row.unit == "%":  # a change of a share, in percent of it, would be taken for points
        return f"{row.factor * (after - before):+.0f} points"
    return change_text(row, after / before - 1)


def _sentence(mark: Mark, measured: Measured, workload: Workload) -> str:
    load, client, gpu, server = measured.load, measured.client, measured.gpu, measured.server
    match mark:
        case Mark.CLIENT_BOUND:
            why = f" ({_client_state(client)})" if client else ""
            return f"the load generator was the limit{why}: the server may do better"
        case Mark.UNSTEADY:
            after = f" after {measured.warmup_s:.0f} s" if measured.warmup_s is not None else ""
            return f"throughput had not become stationary{after}: a longer --warmup may change the numbers"
        case Mark.IMPRECISE:
            unknown = measured.unknown or ("output_throughput",)
            said = "; ".join(_width(metric, load, workload.precision) for metric in unknown)
            return f"{said}: see --max-window"
        case Mark.THROTTLED:
            reasons = ", ".join(gpu.throttle_reasons) if gpu and gpu.throttle_reasons else "reason unknown"
            share = f" in {gpu.throttled:.0%} of the window" if gpu and gpu.throttled is not None else ""
            return f"the GPU's clocks were held down{share} ({reasons}): it does better when it can"
        case Mark.GPU_SHARED:
            return "another process used the GPU's memory meanwhile: the server does better alone"
        case Mark.PREFIX_CACHE:
            hits = (
                server.prefix_cache_hits / server.prefix_cache_queries
                if server and server.prefix_cache_hits is not None and server.prefix_cache_queries
                else None
            )
            share = f"{hits:.0%} of the prompt tokens" if hits is not None else "more of the prompts"
            return f"{share} came from the prefix cache, more than the workload implies: fresh prompts are slower"
        case Mark.SATURATED:
            return "requests arrived faster than they were served: the longer it lasts, the higher the latencies"
        case Mark.OTHER_LENGTHS:
            return (
                f"{_lengths_sentence(load)}: compare it only with what did the same work, and see docs/metrics.md for"
                " servers that do not know ignore_eos"
            )
        case Mark.BUNCHED:
            return f"{_bunched_sentence(load)}: TPOT and ITL are those of what stands between, not the server's"
        case Mark.HIDDEN_TOKENS:
            return (
                "the server counts tokens that it did not send (reasoning?): TPOT and tokens a chunk are not what came"
            )
        case Mark.COUNTED:
            return "the server told no usage: tokens are those of the text, as its tokenizer counts them"
        case Mark.RANDOM_TEXT:
            return (
                "the server speculates, and the prompts are random words: its drafts are accepted otherwise than on your"
                " users' text: measure it with a dataset"
            )
        case Mark.STOPPED_EARLY:
            return "the window ended when the best so far could not be reached: the value is worse, it is not known how much"
        case Mark.REPLAYED_ACCEPTANCE:
            return (
                "vLLM accepted as many drafts as the workload says, whatever they were: the answers are not the model's, and"
                " the speed is that of your text only as far as that acceptance is"
            )
        case Mark.NEIGHBOURS:
            return (
                "other launches of the study were under load on the same host, before it was known that they do not disturb"
                " it: it may do better alone, as the verification launches it"
            )


def _lengths_sentence(load: LoadMetrics) -> str:
    shares = {"answers": load.answer_share, "prompts": load.prompt_share}
    other = [
        f"{what} are {share:.1%} as long as what was {'asked for' if what == 'answers' else 'sent'}"
        for what, share in shares.items()
        if share is not None and abs(share - 1) > OTHER_LENGTHS
    ]
    return " and ".join(other) or "prompts or answers have other lengths than what was asked for"


def _bunched_sentence(load: LoadMetrics) -> str:
    """A proxy that holds the stream back, mostly."""
    if (load.first_chunk_tokens or 0.0) >= BUNCHED_FIRST and (load.bunched or 0.0) < BUNCHED:
        return f"first chunks hold about {load.first_chunk_tokens:.0f} tokens"
    share = f"{load.bunched:.0%} of the" if load.bunched is not None else "many"
    return f"{share} chunks came together with the one before, as from a proxy that buffers"


def _width(metric: str, load: LoadMetrics, precision: float) -> str:
    """How well a metric is known that is not known well enough."""
    if metric == "output_throughput":
        half, value = load.output_throughput_ci95, load.output_throughput
        if half is None or not value or half <= precision * value:
            return "too few requests ended in the window for an interval of throughput"
        return f"the 95% interval of throughput is ± {half / value:.1%}, asked was ± {precision:.1%}"
    label = ROWS[metric].label if metric in ROWS else metric
    if not load.ci95 or metric not in load.ci95:
        return f"too few requests for an interval of {label}"
    return f"{label} is not known well enough to decide{_ends(metric, load)}"


def _client_state(client: ClientMetrics) -> str:
    late_s = client.delay_mean_s + client.lag_mean_s
    said = f"a worker busy for {client.cpu:.0%} of a core, chunks read {late_s * 1e3:.1f} ms late"
    sent = client.send_delay_mean_s
    return said if sent is None else f"{said}, requests sent {sent * 1e3:.1f} ms late"
