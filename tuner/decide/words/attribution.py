"""What each changed setting of a winner brings in; the same in words out. Pure."""

from tuner.decide.attribution import Attribution, Brings, Worth, least_visible
from tuner.decide.words.answer import launches_text
from tuner.decide.words.recommended import engines_text
from tuner.decide.words.rows import ROWS
from tuner.space.engines import ENGINES
from tuner.types import Trial, Value
from tuner.types.settings import flag

HEADERS = ("setting", "what it brings", "launches without it")


def attribution_title(told: Attribution) -> str:
    """Above the table of them."""
    return (
        f"What each setting of trial {told.of} brings in {ROWS[told.metric].lower}, launched without it"
        f" ({launches_text(told.launches)} of trial {told.of} itself)"
    )


def attribution_rows(told: Attribution, winner: Trial) -> list[tuple[str, str, str]]:
    """A row a setting, in the order in which they were launched."""
    return [
        (_setting(one, winner), worth_words(one), str(one.launches) if one.launches else "-") for one in told.worths
    ]


def worth_words(one: Worth) -> str:
    """`brings +12.0 % [5.0, 20.0]`."""
    return f"{_brings(one)}{_also(one)}"


def _brings(one: Worth) -> str:
    if one.gain is None or one.low is None or one.high is None:
        why = f": {one.why}" if one.why else ""
        return f"{_WORDS.get(one.brings, one.brings.value)}{why}"
    interval = f"[{100 * one.low:+.1f}, {100 * one.high:+.1f}]"
    if one.brings is Brings.GAIN:
        return f"brings {100 * one.gain:+.1f} % {interval}"
    if one.brings is Brings.LOSS:
        return f"costs {-100 * one.gain:.1f} % {interval}"
    return f"brings nothing that could be seen (less than {100 * (least_visible(one) or 0):.1f} %)"


_WORDS = {
    Brings.SAME: "changes nothing: vLLM makes the same without it",
    Brings.NEEDED: "is needed: without it the launch ends as",
    Brings.REFUSED: "cannot be reset alone",
    Brings.UNKNOWN: "not launched without it often enough",
}


def _also(one: Worth) -> str:
    return f", with {', '.join(one.also)} as vLLM then chooses" if one.also else ""


def _setting(one: Worth, winner: Trial) -> str:
    return ", ".join(_passed(name, winner.params[name]) if name in winner.params else name for name in one.reset)


def _passed(name: str, value: Value) -> str:
    return engines_text(value) if name == ENGINES else " ".join(flag(name, value))


def trimmed_sentence(told: Attribution) -> str | None:
    """What became of the winner without what brings nothing, where it is not what is recommended."""
    if not told.left_out or told.is_recommended:
        return None
    names = ", ".join(told.left_out)
    if told.trimmed is None:
        return f"{names} could be left out, which was not launched: more --explain verifies it"
    return (
        f"trial {told.trimmed} is trial {told.of} without {names}: in {launches_text(told.trimmed_launches)} it was not"
        " shown to hold what that does, so it is not recommended"
    )
