"""The verdict, and before and after, in; the first two sections of a report out. Pure."""

from collections.abc import Sequence

from tuner.decide.before_after import Compared
from tuner.decide.objective import Objective, metrics_of
from tuner.decide.words.numbers import change_of_metric, change_words, is_good, number, spread_text
from tuner.decide.words.recommended import changed_settings
from tuner.decide.words.rows import ROWS
from tuner.report.content import Again, Report
from tuner.report.document import Block, Code, Details, Paragraph, Section, Table, Tone
from tuner.types import Failed


def verdict_section(report: Report) -> Section:
    """The answer, what is to be known of it, and the command; then the flags one by one."""
    blocks: list[Block] = [Paragraph(report.answer, Tone.ANSWER)]
    blocks += [Paragraph(_sentence(text), Tone.CAUTION) for text in report.cautions]
    if report.state != "ended":
        blocks.append(Paragraph(_STATES[report.state], Tone.CAUTION))
    chosen = report.found.chosen
    if report.command is not None and chosen is not None:
        named = "vLLM's defaults" if chosen.is_default else f"trial {chosen.number}"
        blocks.append(Code(f"What to run: {named}", report.command))
    if changed := changed_settings(report.found):
        rows = [[one.how, one.before.removeprefix("default ") or "not known"] for one in changed]
        caption = "The settings that differ from vLLM's defaults"
        blocks.append(Table(caption=caption, headers=["flag", "vLLM's default"], rows=rows, codes=frozenset({0, 1})))
    elif chosen is not None:
        blocks.append(Paragraph("No flag is needed: what is kept is what vLLM does by itself."))
    return Section("verdict", "Verdict", blocks)


_STATES = {
    "running": "The study is running: this is how it stood when the report was made.",
    "not finished": "The study is not finished: this is what is known so far, and the same command goes on with it.",
}


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:].rstrip('.')}."


def compared_section(report: Report) -> Section:
    """Means with the spread over the launches; and each launch of the verification."""
    found, blocks = report.compared, list[Block]()
    if found is None:
        blocks.append(Paragraph(_why_not_compared(report)))
    else:
        told = (
            "The spread after ± is half of what the launches of the same settings span."
            if found.is_again
            else "Each side was launched once, so how far launches differ is not known here: no claim is made of it."
        )
        blocks.append(Paragraph(told))
        blocks.append(
            Table(
                caption=found.title,
                headers=[
                    "",
                    "defaults",
                    *(f"hand settings (trial {one.trial})" for one in found.hand),
                    found.after,
                    "change",
                ],
                rows=[_compared_row(one) for one in found.metrics],
                numbers=frozenset(range(1, 4 + len(found.hand))),
            )
        )
        blocks += [Paragraph(f"The hand settings of trial {one.trial}: {one.flags}") for one in found.hand if one.flags]
    if report.again:
        blocks.append(Details("Each launch of the verification", [_again_table(report)]))
    return Section("before-and-after", "Before and after", blocks)


def _why_not_compared(report: Report) -> str:
    defaults = report.found.defaults
    if defaults is None:
        return "Nothing can be compared yet: vLLM's defaults have not been measured."
    if isinstance(defaults.outcome, Failed):
        return f"Nothing can be compared: vLLM's defaults failed ({defaults.outcome.kind.value}: {defaults.outcome.message})."
    return "Nothing can be compared: beside vLLM's defaults no trial was measured wholly."


def _compared_row(one: Compared) -> list[str]:
    row, change = ROWS[one.metric], change_of_metric(one.metric, one.before, one.after)
    told = "-" if change is None else change_words(row, change)
    if change is not None and row.unit not in ("%", "ms"):
        told += {True: ", better", False: ", worse", None: ""}[is_good(row, change)]
    return [row.label, *(spread_text(one.metric, values) for values in (one.before, *one.hand, one.after)), told]


def _again_table(report: Report) -> Table:
    metrics = list(dict.fromkeys(objective.metric for objective in report.objectives))
    defaults = report.found.defaults.number if report.found.defaults else None
    names = [f"{ROWS[metric].label} {ROWS[metric].unit}".strip() for metric in metrics]
    return Table(
        caption="Each launch of the verification, in the order in which they ran",
        headers=["round", "trial", *names, "what came of it"],
        rows=[_again_row(one, report.objectives, metrics, is_default=one.trial == defaults) for one in report.again],
        numbers=frozenset({0, *range(2, 2 + len(metrics))}),
    )


def _again_row(one: Again, objectives: Sequence[Objective], metrics: Sequence[str], *, is_default: bool) -> list[str]:
    named = f"{one.trial} (vLLM's defaults)" if is_default else str(one.trial)
    if isinstance(one.outcome, Failed):
        return [str(one.round), named, *("-" for _ in metrics), f"{one.outcome.kind.value}: {one.outcome.message}"]
    found = metrics_of(one.outcome, objectives)
    marks = ", ".join(mark.value for mark in one.outcome.marks)
    cells = (number(metric, found.get(metric), unit=False) for metric in metrics)
    return [str(one.round), named, *cells, f"measured{f', {marks}' if marks else ''}"]
