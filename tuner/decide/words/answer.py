"""A study's decision in; the answer in words out. Pure.

A reader who knows no statistics reads the first sentence; what stands in brackets is for one who does.
"""

from math import isinf
from statistics import fmean

from tuner.decide.gain import USEFUL_GAINS, Gain
from tuner.decide.objective import Objective
from tuner.decide.verdict import Answer, Decision, Missed, Verdict
from tuner.decide.words.numbers import INSTEAD_OF_NONE, number
from tuner.decide.words.quality import harm_text


def answer_text(found: Decision, objective: Objective, unreal: str | None = None) -> str:
    """The answer, in words; `unreal` is said first where nothing was run."""
    text = _SENTENCES[found.verdict.answer](found, found.verdict, objective) + _of_the_defaults(found)
    return f"{unreal}: {text}" if unreal else text


def _better(found: Decision, v: Verdict, objective: Objective) -> str:
    assert v.gain is not None
    told = f"launched again, {_gained(found, v.gain, objective)} ({_launches(v)})"
    return f"Trial {v.trial} is better than vLLM's defaults: {told}.{also(v)}"


def _alone(found: Decision, v: Verdict, objective: Objective) -> str:
    return f"Deploy trial {v.trial}: it was verified on its own, in {launches_text(v.launches)}, because {v.why}."


def _not_told_apart(found: Decision, v: Verdict, objective: Objective) -> str:
    assert v.gain is not None
    seen = f": a gain of less than {v.gain.least_seen:.0%} would not have been seen" if v.gain.least_seen else ""
    return (
        f"Keep vLLM's defaults: trial {v.trial} looked best in the search, but launched again the two cannot be told apart"
        f"{seen}{_to_see_more(v, v.gain)} ({_launches(v)}).{also(v)}"
    )


def _to_see_more(v: Verdict, gain: Gain) -> str:
    """What to do where the smallest gain that would have been seen is of no use, and more launches were not allowed."""
    if v.enough is not None:
        return f", and the same command with --verify {v.enough.launches} would see one of {v.enough.gain:.0%}"
    if v.is_cut_short and (gain.least_seen or 0) > USEFUL_GAINS[-1]:
        return ", and more --verify alone would not help: measure longer (--window)"
    return ""


def _worse(found: Decision, v: Verdict, objective: Objective) -> str:
    assert v.gain is not None
    return (
        f"Keep vLLM's defaults: trial {v.trial} looked best in the search, but launched again, "
        f"{_gained(found, v.gain, objective)} ({_launches(v)}).{also(v)}"
    )


def _dropped_out(found: Decision, v: Verdict, objective: Objective) -> str:
    looked = f"trial {v.trial} looked best in the search, but launched again it {reason(v)}"
    return f"{_instead(found)}: {looked}{others(found)}{_FEW if v.is_cut_short else ''}"


def reason(v: Verdict) -> str:
    """What a setting did that is not recommended for it."""
    if v.answer is Answer.HARMED and v.harm is not None:
        return harm_text(v.harm)
    if v.failure is not None:
        return f"ended as {v.failure.kind.value} in launch {v.launches}: {v.failure.message}"
    return "; ".join(_missed(one) for one in v.missed) or "stayed too near its limit to be relied on"


_FEW = " More launches may show that it can: the same command with more --verify."


def _not_verified(found: Decision, v: Verdict, objective: Objective) -> str:
    return f"Trial {v.trial} is the best that was measured, and is not verified: {v.why}."


def _nothing_better(found: Decision, v: Verdict, objective: Objective) -> str:
    return f"{_instead(found)}: {v.why}."


_SENTENCES = {
    Answer.BETTER: _better,
    Answer.ALONE: _alone,
    Answer.NOT_TOLD_APART: _not_told_apart,
    Answer.WORSE: _worse,
    Answer.CRASHED: _dropped_out,
    Answer.MISSES: _dropped_out,
    Answer.HARMED: _dropped_out,
    Answer.NOT_VERIFIED: _not_verified,
    Answer.NOTHING_BETTER: _nothing_better,
}


def _instead(found: Decision) -> str:
    return "Nothing to recommend" if found.chosen is None else "Keep vLLM's defaults"


def _of_the_defaults(found: Decision) -> str:
    """What speaks against them where no setting is deployed in their place."""
    v = found.verdict
    if v.answer in (Answer.BETTER, Answer.ALONE, Answer.TRADE) or not v.defaults_missed:
        return ""
    return f" The defaults {'; '.join(_missed(one) for one in v.defaults_missed)}."


def others(found: Decision) -> str:
    """How many further settings of the shortlist went the same way."""
    others = len([side for side in found.finalists if side.outcomes]) - 1
    return f"; so did the next {others} of the search's best." if others > 0 else "."


def _gained(found: Decision, gain: Gain, objective: Objective) -> str:
    """In words, not by a sign: a latency is lower or higher, all else more or less."""
    if objective.maximize and isinf(gain.gain):
        own = next((side.values(objective) for side in found.finalists if side.trial.number == found.verdict.trial), ())
        return f"its {objective.name} is {number(objective.metric, fmean(own) if own else None)} {INSTEAD_OF_NONE}"
    value = abs(gain.gain)
    words = ("higher", "lower") if objective.maximize else ("lower (faster)", "higher (slower)")
    if not objective.maximize and gain.gain > -1:  # of the latency itself, as users see it
        value = abs(1 / (1 + gain.gain) - 1)
    spread = ""
    if gain.low is not None and gain.high is not None and objective.maximize:
        spread = f" (95 % interval {gain.low:+.1%} to {gain.high:+.1%})"
    return f"its {objective.name} is {value:.1%} {words[0] if gain.gain >= 0 else words[1]}{spread}"


def _missed(one: Missed) -> str:
    worst, limit = one.worst_s * 1e3, one.limit_s * 1e3
    times = f"{one.times} of {launches_text(one.launches)}"
    return f"missed {one.slo} in {times}, at the worst with {worst:,.0f} ms of {limit:,.0f} ms"


def _launches(v: Verdict) -> str:
    noise = "" if v.gain is None or v.gain.noise is None else f", which differ by {v.gain.noise:.1%} among themselves"
    return f"{launches_text(v.launches)} against {v.defaults} of the defaults{noise}"


def launches_text(launches: int) -> str:
    """`3 launches`."""
    return "1 launch" if launches == 1 else f"{launches} launches"


def also(v: Verdict) -> str:
    """What is to be known beside the answer, as a sentence."""
    return f" {v.why[0].upper()}{v.why[1:]}." if v.why else ""
