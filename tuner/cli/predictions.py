"""An advice of `tuner plan` as tables and sentences. Units are milliseconds, percent and GiB here only."""

from collections.abc import Mapping, Sequence
from math import isfinite

from rich.markup import escape
from rich.table import Table

from tuner.decide.objective import Objective, without_the_one_gpu
from tuner.decide.slo import Slo
from tuner.decide.words.numbers import estimate_text
from tuner.decide.words.rows import ROWS, Row
from tuner.predict.advise.advice import Advice, Answer, Candidate, Price, price
from tuner.predict.advise.case import Case
from tuner.predict.advise.knobs import Knob
from tuner.predict.advise.limits import Bottleneck, first_sentence
from tuner.predict.advise.search import Change
from tuner.predict.error import ModelError
from tuner.predict.evidence import Evidence
from tuner.predict.memory import Memory
from tuner.predict.uncertainty import estimates
from tuner.space.parameters import shown
from tuner.types import Estimate, Failed, FailureKind, Measured, Value

_GIB = 1 / 2**30
_MEMORY: Mapping[str, Row] = {
    "total_bytes": Row("Memory of a GPU", "GiB", _GIB, 2),
    "budget_bytes": Row("of that for vLLM", "GiB", _GIB, 2),
    "weights_bytes": Row("Weights", "GiB", _GIB, 2),
    "activations_bytes": Row("Activations", "GiB", _GIB, 2),
    "graphs_bytes": Row("CUDA graphs", "GiB", _GIB, 2),
    "other_bytes": Row("Other", "GiB", _GIB, 2),
    "kv_cache_bytes": Row("KV cache", "GiB", _GIB, 2),
    "kv_cache_tokens": Row("KV cache", "tok", 1, 0),
}
_STATE: Mapping[str, Row] = {
    "running_mean": Row("Running", "requests"),
    "waiting_mean": Row("Waiting", "requests"),
    "kv_cache_usage_mean": Row("KV cache used", "%", 100, 0),
    "preemptions": Row("Preemptions", "", 1, 0),
    "gpu_busy": Row("GPU works", "%", 100, 0),
    "host_busy": Row("EngineCore works", "%", 100, 0),
    "front_busy": Row("API servers work", "%", 100, 0),
}
_PRICE: Mapping[str, Row] = {
    "per_million_output_tokens": Row("Price of 1M output tokens", "", 1, 4),
    "per_million_tokens": Row("Price of 1M tokens", "", 1, 4),
}
#: What is shown of the load.
_LOAD = (
    *("gpus", "output_throughput", "output_throughput_per_gpu", "total_token_throughput"),
    *("request_throughput", "request_throughput_per_gpu", "request_rate", "goodput"),
    *(f"{latency}_{statistic}_s" for latency in ("ttft", "tpot", "e2el") for statistic in ("p50", "p99")),
)
#: What moves a bottleneck that no setting moves.
_OTHER_KNOBS = {
    Bottleneck.LOAD: "more users or a higher request rate would show the limit",
    Bottleneck.HOST: "a faster processor would move it, no single setting does much",
}


def region_table(advice: Advice) -> Table:
    """For each parameter what was searched and what starts."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for header in ("parameter", "searched", "starts", "why not all"):
        table.add_column(header)
    for span in advice.region.spans:
        starts = _values(span.starts) or "none" if span.failed else "all"
        if span.may_start != span.starts:
            starts += f" (maybe {_values(span.may_start)})"
        table.add_row(span.name, _values(span.searched), starts, escape(_reason(span.failed)))
    return table


def _reason(failed: Failed | None) -> str:
    if failed is None:
        return ""
    return first_sentence(failed.message) if failed.kind is FailureKind.REJECTED else failed.kind.value


def region_sentence(advice: Advice, case: Case) -> str:
    maybe = f", {advice.region.maybe:.0%} maybe" if advice.region.maybe else ""
    others = "vLLM's defaults" if advice.region.base == advice.defaults.params else "the best settings below"
    return (
        f"{advice.region.share:.0%} of the search space {case.space.name} starts{maybe} ({advice.region.points} points drawn)."
        f" Of each parameter, with the others as in {others}:"
    )


def memory_table(advice: Advice) -> Table:
    """How the memory is split, of the defaults and of the best."""
    return _beside(advice, _MEMORY, [_memory(candidate.memory) for candidate in _candidates(advice)])


def load_table(advice: Advice, price_per_gpu_hour: float | None) -> Table:
    """What users would see, how busy each part would be, and what a million tokens would cost."""
    rows = {**{name: ROWS[name] for name in _LOAD}, **_STATE, **_PRICE}
    found = [_numbers(candidate, price_per_gpu_hour) for candidate in _candidates(advice)]
    return _beside(advice, rows, without_the_one_gpu(found))


def interval_table(advice: Advice, case: Case) -> Table:
    """Of the numbers that decide, between which two 95 of 100 measurements would lie."""
    usual = ("output_throughput", "ttft_p50_s", "tpot_p50_s", "e2el_p50_s")
    names = dict.fromkeys((*usual, case.objective.metric, *(slo.metric for slo in case.slos)))
    found = [estimates(_numbers(candidate, None), advice.known) for candidate in _candidates(advice)]
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("95 % interval")
    for header in ("defaults", "best")[: len(found)]:
        table.add_column(header, justify="right")
    table.add_column("")
    for name in names:
        if any(name in numbers for numbers in found):
            row = ROWS[name]
            table.add_row(row.label, *(interval_text(row, numbers.get(name)) for numbers in found), row.unit)
    return table


def interval_text(row: Row, found: Estimate | None) -> str:
    """`22,400 (18,000 to 28,000)`, in the row's unit."""
    return "-" if found is None else estimate_text(found, row.factor)


def memory_sentence(name: str, candidate: Candidate, case: Case) -> str:
    """How many requests the KV cache holds, in words."""
    memory = candidate.memory
    if memory is None or candidate.prediction is None:
        assert candidate.failed is not None
        return f"{name}: would not start ({candidate.failed.kind.value})"
    start = ""
    if memory.at_worst is not None:
        kind, margin = memory.at_worst.kind.value, memory.margin_bytes * _GIB
        start = f"; it may not start ({kind}): the memory is predicted to {margin:.1f} GiB"
    mean, longest = (memory.concurrency(tokens) for tokens in (case.mean_tokens, case.longest_tokens))
    admitted = candidate.prediction.settings.max_num_seqs
    most = f"; max_num_seqs admits {admitted:,}" if admitted < mean else ""
    return (
        f"{name}: {memory.kv_cache_tokens:,} tokens of KV cache: {mean:,.0f} requests of this workload at once"
        f" (mean {case.mean_tokens:,.0f} tokens), {longest:,.0f} of its longest ({case.longest_tokens:,}){most}{start}"
    )


def limit_sentence(name: str, candidate: Candidate, objective: Objective) -> str:
    limit = candidate.limit
    moved = _OTHER_KNOBS.get(limit.bottleneck, "no single setting of the search space moves it")
    if limit.knobs:
        moved = f"to move it: {', '.join(_knob(knob, objective) for knob in limit.knobs)}"
    return f"{name}: limited by {limit.bottleneck.value}: {limit.evidence}; {moved}"


def _knob(knob: Knob, objective: Objective) -> str:
    gain = f" ({_gain(knob.gain, objective)})" if knob.gain is not None else ""
    return f"{knob.name}={shown(knob.value)}{gain}"


def answer_sentence(advice: Advice, case: Case) -> str:
    best, name, gain = advice.best, case.objective.name, _gain(advice.gain, case.objective)
    if advice.answer is Answer.NOTHING:
        nearest = best or advice.defaults
        missed = ", ".join(f"{slo} by {by:,.0%}" for slo, by in nearest.violations.items() if by > 0)
        return f"Nothing is predicted to meet every SLO: the nearest settings miss {missed}."
    if best is None:
        return "Keep vLLM's defaults: nothing is predicted to be better."
    if advice.answer is Answer.DEFAULTS:
        return (
            f"Keep vLLM's defaults: of the best settings {name} {gain} is predicted, and up to"
            f" {advice.least_gain:.0%} may be the model's error."
        )
    settings = " ".join(f"{change.name}={shown(change.value)}" for change in advice.changes)
    if advice.defaults.prediction is None:
        return f"Begin with {settings}: vLLM's defaults are predicted not to start."
    if any(by > 0 for by in advice.defaults.violations.values()):
        return f"Begin with {settings}: vLLM's defaults are predicted to miss an SLO."
    told = _objective_text(best, advice, case)
    return f"Begin with {settings}: predicted {name} {gain} against vLLM's defaults{told}."


def _objective_text(candidate: Candidate, advice: Advice, case: Case) -> str:
    """`, 22,400 tok/s (18,000 to 28,000)`."""
    metric = case.objective.metric
    found = estimates(_numbers(candidate, None), advice.known).get(metric)
    return f", {estimate_text(found, ROWS[metric].factor, ROWS[metric].unit)}" if found else ""


def change_sentence(change: Change, advice: Advice, objective: Objective) -> str:
    """One of the best settings, and what it brings."""
    brings = f": {objective.name} {_gain(change.gain, objective)}"
    if change.without:
        brings = f"; without it: {first_sentence(change.without)}"
    elif advice.answer is Answer.NOTHING:  # what it brings is less latency, not more of the objective
        brings = ""
    rests_on = advice.bases[change.name]
    known = f"guessed: {rests_on.why}" if rests_on.evidence is Evidence.GUESSED else rests_on.evidence.value
    return f"  {change.name}={shown(change.value)} (default {shown(change.default)}){brings} ({known})"


def slo_sentence(slo: Slo, advice: Advice) -> str:
    """A limit, and what is predicted for it."""
    told = []
    for name, candidate in zip(("defaults", "best"), _candidates(advice), strict=False):
        if candidate.prediction is not None:
            found = _numbers(candidate, None).get(slo.metric)
            met = "met" if slo.violation(candidate.prediction.load) <= 0 else "missed"
            told.append(f"{name} {_cell(ROWS[slo.metric], found)} ms, {met}")
    return f"SLO {slo.name} of at most {slo.limit_s * 1e3:,.6g} ms: {'; '.join(told) or 'nothing starts'}"


def error_sentence(error: ModelError, card: str) -> str:
    """How good the predictions are, in one line."""
    names = {
        "output_throughput": "throughput",
        "ttft": "TTFT",
        "tpot": "TPOT",
        "e2el": "E2E latency",
        "kv_cache_tokens": "KV cache",
    }
    parts = [
        f"{what} {value:.{0 if value >= 0.01 else 1}%}"
        for name, what in names.items()
        if (value := getattr(error, name)) is not None
    ]
    if error.rank_correlation is not None:
        parts.append(f"rank correlation {error.rank_correlation:.2f}")
    if not parts:
        return "Error of these predictions: not measured."
    launches = f"{error.launches:,} launches on " if error.launches else ""
    elsewhere = "" if card in error.gpus else f"; not measured on {card}"
    return f"Error of these predictions (median of {launches}{', '.join(error.gpus)}{elsewhere}): {', '.join(parts)}."


def _candidates(advice: Advice) -> list[Candidate]:
    return [advice.defaults, *([advice.best] if advice.best else [])]


def _beside(advice: Advice, rows: Mapping[str, Row], found: Sequence[Mapping[str, float]]) -> Table:
    """A row a number, of the defaults, of the best, and the change."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("")
    for header in ("defaults", *(("best",) if len(found) > 1 else ())):
        table.add_column(header, justify="right")
    table.add_column("")
    if len(found) > 1:
        table.add_column("change", justify="right")
    for name, row in rows.items():
        numbers = [one.get(name) for one in found]
        if any(number is not None for number in numbers):
            cells = [_cell(row, number) for number in numbers]
            change = [_change(row, *numbers)] if len(found) > 1 else []
            table.add_row(row.label, *cells, row.unit, *change)
    return table


def _numbers(candidate: Candidate, price_per_gpu_hour: float | None) -> dict[str, float]:
    found = candidate.prediction
    if found is None:
        return {}
    load = Measured(load=found.load, server=None, gpu=None, server_cpu_cores=None, startup_s=None).metrics()
    cost: Price | None = price(found, price_per_gpu_hour) if price_per_gpu_hour is not None else None
    money = {name: getattr(cost, name) for name in _PRICE} if cost else {}
    return {**load, **{name: getattr(found, name) for name in _STATE}, **money}


def _memory(memory: Memory | None) -> dict[str, float]:
    return {} if memory is None else {name: getattr(memory, name) for name in _MEMORY}


def _cell(row: Row, value: float | None) -> str:
    return "-" if value is None else f"{value * row.factor:,.{row.decimals}f}"


def _change(row: Row, before: float | None, after: float | None) -> str:
    if before is None or after is None or (not before and row.unit != "%"):
        return ""
    by, unit = after / before - 1 if before else 0.0, "%"
    if row.unit == "%":  # a change of a share, in percent of it, would be taken for points
        by, unit = after - before, " points"
    word = "" if row.unit != "ms" else " slower" if by > 0 else " faster"
    return f"{by * 100:+.0f}{unit}{word}" if abs(by) >= 0.005 else ""


def _gain(gain: float | None, objective: Objective) -> str:
    """As the change of the objective: a gain in latency is a smaller one."""
    if gain is None:
        return "no comparable"
    return f"{gain if objective.maximize else 1 / (1 + gain) - 1:+.1%}" if isfinite(gain) else "more than no"


def _values(values: Sequence[Value]) -> str:
    numbers = [value for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
    if len(numbers) == len(values) == 2:
        return f"{numbers[0]:g}..{numbers[1]:g}"
    return ", ".join(shown(value) for value in values)
