"""What each setting was worth in; a drawing and a table of it, and a sentence of what cannot be told, out. Pure."""

from collections.abc import Mapping, Sequence

from tuner.decide.attribution import Attribution
from tuner.decide.words.attribution import HEADERS, attribution_rows, attribution_title, trimmed_sentence
from tuner.decide.words.rows import ROWS
from tuner.report.content import Report
from tuner.report.document import Block, Figure, Gallery, Paragraph, Section, Table, Tone
from tuner.report.plot import WIDTH, Scale, figure, frame, text
from tuner.types import Credit, Importance, Importances, Trial, Value

_SHOWN, _ROW = 12, 30.0


def worth_section(report: Report) -> Section:
    """What was launched first, then what the search says of each objective."""
    blocks = _launched(report.attribution, report.by_number) if report.attribution is not None else list[Block]()
    for found in report.importances:
        blocks += _blocks(report, found)
    return Section("settings", "What each setting was worth", blocks)


def _launched(told: Attribution, trials: Mapping[int, Trial]) -> list[Block]:
    """What was not guessed."""
    winner = trials[told.of]
    blocks: list[Block] = [
        Paragraph(
            f"Launched: trial {told.of} without each of its settings, in turn with itself. What is told is by how much it is"
            " better with the setting, with a 95 % interval from launches that differ in that alone."
        ),
        Table(
            caption=attribution_title(told),
            headers=list(HEADERS),
            rows=[list(row) for row in attribution_rows(told, winner)],
            numbers=frozenset({2}),
            codes=frozenset({0}),
        ),
    ]
    if sentence := trimmed_sentence(told):
        blocks.append(Paragraph(f"{sentence[0].upper()}{sentence[1:]}.", Tone.CAUTION))
    blocks.append(Paragraph("Not launched, but read from the trials of the search:"))
    return blocks


def _blocks(report: Report, found: Importances) -> list[Block]:
    known = [one for one in found.settings if one.credit in (Credit.EFFECT, Credit.NOTHING)]
    blocks: list[Block] = [Paragraph(_intro(report, found, len(known)))]
    if known:
        blocks.append(Gallery([_figure(found, known[:_SHOWN])], is_told=True))
    if told := _untold(found):
        blocks.append(Paragraph(told, Tone.CAUTION))
    if found.settings:
        blocks.append(_table(found))
    return blocks


def _intro(report: Report, found: Importances, known: int) -> str:
    label = ROWS[found.metric].lower
    if not found.settings:
        return f"Nothing can be said of any setting's effect on {label}: no trial was measured wholly."
    trials = f"{found.trials} of the {found.measured:,}" if found.trials < found.measured else f"{found.trials}"
    said = (
        f"By how much {label} is better at the best value of a setting than at its worst, the other settings as they were in "
        f"the trials: the main effects of the surrogate of the search, fitted to {trials} trials that were measured wholly."
    )
    if not known:
        return f"{said} No setting can be credited with anything: see below why."
    from_model = ", which the simulation itself made" if report.unreal == "SIMULATED" else ""
    return (
        f"{said} It is what these trials say{from_model}, each launched once; the verdict above does not depend on it."
    )


def _untold(found: Importances) -> str:
    """What would be a guess."""
    aliased = [one for one in found.settings if one.credit is Credit.ALIASED]
    unknown = [one.name for one in found.settings if one.credit is Credit.UNKNOWN]
    told = []
    groups = dict.fromkeys(frozenset((one.name, *one.aliases)) for one in aliased)
    if groups:
        names = "; ".join(" with ".join(sorted(group)) for group in groups)
        told.append(f"Changed together in these trials, so that nobody can tell which of them did it: {names}.")
    if unknown:
        told.append(f"Too few trials to tell, a number would be a guess: {', '.join(unknown)}.")
    return " ".join(told)


def _figure(found: Importances, shown: Sequence[Importance]) -> Figure:
    """A bar a setting with its interval; what has no effect has only the interval."""
    label, top = ROWS[found.metric].lower, 8.0
    ends = [end * 100 for one in shown for end in (one.low or 0.0, one.high or 0.0)]
    height = top + _ROW * len(shown) + 40
    place = frame(
        [min(0.0, *ends), max(0.1, *ends)],
        [0.0, 1.0],
        x_label="% better at its best value than at its worst",
        y_label="",
        x_text=lambda value: f"{value:g}",
        height=height,
    )
    bottom = top + _ROW * len(shown)
    scale = place.x
    parts = []
    for value in scale.ticks(6):
        parts.append(f'<path class="grid" d="M{scale(value):.1f} {top:.1f}V{bottom:.1f}"/>')
        parts.append(text(scale(value), bottom + 13, f"{value:g}", "middle"))
    parts.append(f'<path class="axis" d="M{scale(0):.1f} {top:.1f}V{bottom:.1f}"/>')
    for row, one in enumerate(shown):
        parts += _bar(one, scale, top + _ROW * row)
    parts.append(text((scale.begin + scale.end) / 2, bottom + 29, place.x_label, "middle"))
    title = f"What each setting was worth in {label}"
    return figure(f"worth-{found.metric.replace('_', '-')}", title, _description(shown), parts, height)


def _bar(one: Importance, scale: Scale, y: float) -> list[str]:
    assert one.effect is not None
    assert one.low is not None
    assert one.high is not None
    at, low, high = scale(one.effect * 100), scale(one.low * 100), scale(one.high * 100)
    middle = y + 20
    found = [text(min(WIDTH - 8, scale(0) + 3), y + 11, one.name)]
    if one.credit is Credit.EFFECT:
        found.append(f'<path class="bar" d="M{scale(0):.1f} {y + 15:.1f}H{at:.1f}v10H{scale(0):.1f}z"/>')
    found.append(f'<path class="whisker" d="M{low:.1f} {middle:.1f}H{high:.1f}m0-4v8M{low:.1f} {middle - 4:.1f}v8"/>')
    return found


def _description(shown: Sequence[Importance]) -> str:
    return "; ".join(f"{one.name}: {_effect(one)} (95 % interval {_interval(one)})" for one in shown) + "."


def _table(found: Importances) -> Table:
    rows = [
        [one.name, _credit(one), _effect(one), _interval(one), _shown(one.best), _shown(one.worst), str(one.alone)]
        for one in found.settings
    ]
    return Table(
        caption=f"Each setting's effect on {ROWS[found.metric].lower}, with its 95 % interval",
        headers=[
            "setting",
            "what is known",
            "effect",
            "95 % interval",
            "best at",
            "worst at",
            "pairs that differ in it alone",
        ],
        rows=rows,
        numbers=frozenset({2, 3, 6}),
        codes=frozenset({0, 4, 5}),
    )


def _credit(one: Importance) -> str:
    if one.credit is Credit.ALIASED:
        return f"not told apart from {', '.join(one.aliases)}"
    return one.credit.value


def _effect(one: Importance) -> str:
    if one.effect is None:
        return "-"
    if one.credit is Credit.NOTHING:
        return f"less than {max(one.high or 0.0, 0.0):.1%}"
    return f"{one.effect:+.1%}"


def _interval(one: Importance) -> str:
    return "-" if one.low is None or one.high is None else f"{one.low:+.1%} to {one.high:+.1%}"


def _shown(value: Value | None) -> str:
    if value is None:
        return "-"
    return f"{value:g}" if isinstance(value, float) else str(value)
