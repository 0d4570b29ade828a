"""What failed, where it ran, how it was measured and how far the model was off, in; the last sections of a report out. Pure."""

from collections.abc import Sequence
from itertools import groupby

from tuner.decide.rank import score, stopped_early
from tuner.decide.slo import parse_slo
from tuner.decide.words.numbers import estimate_text, number
from tuner.decide.words.rows import ROWS
from tuner.decide.words.settings import settings
from tuner.report.content import Method, Report
from tuner.report.document import Block, Code, Details, Paragraph, Section, Table, Tone
from tuner.types import Failed, Fingerprint, Mark, Measured, Trial

#: Of a log so many characters, its end.
_LOG = 1_500


def failed_section(report: Report) -> Section:
    """Trials by the kind of their failure, with the sentence of each, and the end of one log of a kind."""
    failed = [(t, t.outcome) for t in report.trials if isinstance(t.outcome, Failed)]
    if not failed:
        return Section("failed", "Failed trials", [Paragraph("No trial failed.")])
    many = "1 trial" if len(failed) == 1 else f"{len(failed):,} trials"
    blocks: list[Block] = [Paragraph(f"{many} failed. What fails is never ranked, and the sampler learns to avoid it.")]
    defaults = report.found.defaults.params if report.found.defaults else None
    blocks.append(
        Table(
            caption="Each trial that failed",
            headers=["trial", "why", "what it said", "settings"],
            rows=[[str(t.number), _kind(f), f.message, _settings(t, defaults)] for t, f in failed],
            numbers=frozenset({0}),
            codes=frozenset({3}),
        )
    )
    logs = [(trial, failure) for trial, failure in failed if failure.log_tail.strip()]
    for _, group in groupby(sorted(logs, key=lambda one: (one[1].kind.value, one[0].number)), lambda one: one[1].kind):
        trial, failure = next(group)
        tail = Code(f"The end of the log of trial {trial.number}", failure.log_tail.strip()[-_LOG:])
        blocks.append(Details(f"The end of the log of trial {trial.number} ({failure.kind.value})", [tail]))
    return Section("failed", "Failed trials", blocks)


def _kind(failed: Failed) -> str:
    return failed.kind.value + ("" if failed.kind.is_of_the_settings else ", to be run again")


def _settings(trial: Trial, defaults: object) -> str:
    if trial.is_default:
        return "vLLM's defaults"
    return settings(trial.params, defaults if isinstance(defaults, dict) else None) or "those of the defaults"


def environment_section(report: Report) -> Section:
    """What must be equal for two studies to be comparable."""
    found = report.fingerprint
    rows = [
        ["GPU", found.gpu or "none"],
        ["GPUs", str(found.gpu_count) if found.gpu_count else "none was used"],
        ["driver", found.driver or "-"],
        ["engine", found.engine_version if found.unreal else f"vLLM {found.engine_version}"],
        ["model", found.model],
        ["model's revision", found.model_revision or "not known"],
        ["workload", f"{report.workload} (hash {found.workload_hash})"],
        ["host", found.host],
        ["host's speed", _speed(found)],
        *([["engines that share a GPU", "run at once, over NVIDIA MPS"]] if found.mps else []),
        ["search space", report.gpu],
        ["tuner", report.tuner_version],
    ]
    return Section(
        "environment",
        "Environment",
        [Table(caption="Where this was measured", headers=["what", "as it was"], rows=rows)],
    )


def _speed(found: Fingerprint) -> str:
    speed = found.host_speed
    if speed is None:
        return "not measured"
    return (
        f"Python {speed.python_s * 1e3:.2f} ms, text {speed.text_s * 1e3:.2f} ms a turn (Python {speed.python_version})"
    )


def method_section(report: Report) -> Section:
    """The workload, the window, and what is claimed at which level."""
    method = report.method
    slos = ", ".join(f"{slo.name} of at most {slo.limit_s * 1e3:,.6g} ms" for slo in map(parse_slo, method.slos))
    rows = [
        ["objective", ", ".join(f"{one.name} ({_way(one.maximize)})" for one in report.objectives)],
        ["SLOs", slos or "none"],
        ["load", method.load],
        ["warm-up", _seconds("until throughput is stationary, at least", method.warmup_s)],
        ["window", _window(method)],
        ["precision", f"± {method.precision:.1%} of throughput" if method.precision is not None else "not kept"],
        ["sampler", method.sampler or "not kept"],
        ["servers of the search", _STARTS.get(method.start or "", "not kept")],
        ["verification", _verification(report, method)],
        ["level of the test", _level(report, method)],
    ]
    blocks: list[Block] = [
        Table(caption="The load, the window, and the test", headers=["what", "how"], rows=rows),
        *(Paragraph(text, Tone.CAUTION) for text in _marked(report.trials)),
    ]
    if method.workload:
        blocks.append(Details("The workload", [Code("The workload, as a file for --workload", method.workload)]))
    return Section("method", "How it was measured", blocks)


_STARTS = {"warm": "forked from one that has vLLM imported", "plain": "vllm serve"}


def _way(maximize: bool) -> str:
    return "more is better" if maximize else "less is better"


def _seconds(words: str, value: float | None) -> str:
    return f"{words} {value:g} s" if value is not None else "not kept"


def _window(method: Method) -> str:
    if method.window_s is None or method.max_window_s is None:
        return "not kept"
    return f"until what decides is known to the precision, {method.window_s:g} s to {method.max_window_s:g} s"


def _verification(report: Report, method: Method) -> str:
    if method.rounds is None:
        return "none: no trial was launched again"
    rounds = max((one.round for one in report.again), default=0)
    begun = "1 round" if rounds == 1 else f"{rounds} rounds"
    return f"{begun} of at most {method.rounds}: each side launched again in turn, by the very command that is exported"


def _level(report: Report, method: Method) -> str:
    verdict = report.found.verdict
    said = f"at most {method.level:.0%} of wrong claims over all looks of a study (Welch's t test over launches)"
    return said if verdict.level is None else f"{said}; the last look was tested at {verdict.level:.2%}"


def _marked(trials: Sequence[Trial]) -> list[str]:
    """What is to be known of measurements; that one was stopped early stands in the table of trials."""
    told = []
    for mark in Mark:
        found = [str(t.number) for t in trials if isinstance(t.outcome, Measured) and mark in t.outcome.marks]
        if found and mark is not Mark.STOPPED_EARLY:
            shown = ", ".join(found[:10]) + (f" and {len(found) - 10} more" if len(found) > 10 else "")
            told.append(f"Marked “{mark.value}”: trial {shown}. docs/metrics.md says what that means.")
    return told


def model_section(report: Report) -> Section:
    """What had been predicted beside what was measured."""
    objective = report.objectives[0]
    rows = []
    for trial in report.trials:
        foretold = trial.predicted.metrics.get(objective.metric) if trial.predicted else None
        value = score(trial, objective)
        if foretold is not None and value is not None and not stopped_early(trial):
            factor = ROWS[objective.metric].factor
            inside = "inside" if foretold.low <= value <= foretold.high else "outside"
            off = f"{foretold.value / value - 1:+.0%}" if value else "-"
            cells = [estimate_text(foretold, factor), number(objective.metric, value, unit=False), off, inside]
            rows.append([str(trial.number), *cells])
    if report.agreement_sentence is None or not rows:
        return Section("model", "How far the model was off", [Paragraph("Nothing was both predicted and measured.")])
    named = f"{ROWS[objective.metric].label} {ROWS[objective.metric].unit}".strip()
    table = Table(
        caption=f"{named}: predicted before the launch, with the 95 % interval, and measured",
        headers=["trial", "predicted", "measured", "off by", "of the interval"],
        rows=rows,
        numbers=frozenset({0, 1, 2, 3}),
    )
    blocks: list[Block] = [Paragraph(report.agreement_sentence), Details("Each trial that was predicted", [table])]
    return Section("model", "How far the model was off", blocks)
