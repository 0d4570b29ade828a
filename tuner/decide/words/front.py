"""A decision of several objectives in; the answer in words, and a point's standing, out. Pure."""

from collections.abc import Iterator
from math import isinf

from tuner.decide.objective import Objective
from tuner.decide.pareto import Front, FrontPoint, Told
from tuner.decide.verdict import Answer, Decision, Verdict
from tuner.decide.words.answer import also, launches_text, others, reason
from tuner.decide.words.numbers import INSTEAD_OF_NONE, number


def front_text(found: Decision, front: Front, unreal: str | None = None) -> str:
    """The answer, in words; `unreal` is said first where nothing was run."""
    text = _answer(found, front)
    return f"{unreal}: {text}" if unreal else text


def point_status(point: FrontPoint, front: Front, *, is_chosen: bool) -> str:
    """`knee, 3 launches`."""
    words = ["recommended"] if is_chosen else []
    words += ["knee"] if point.trial.number == front.knee else []
    words.append(launches_text(point.launches) if point.is_verified else "not verified")
    return ", ".join(words)


def told_text(objective: Objective, told: Told) -> str:
    """`15,145.7 (14,000.0 to 16,300.0)`: the value with its 95 % interval, without the unit."""
    low, high = (number(objective.metric, end, unit=False) for end in (told.low, told.high))
    return f"{number(objective.metric, told.value, unit=False)} ({low} to {high})"


def change_of(objective: Objective, gain: float) -> float:
    """Of the number itself: a gain in a latency is a smaller one."""
    return gain if objective.maximize or gain <= -1 else 1 / (1 + gain) - 1


def _answer(found: Decision, front: Front) -> str:
    v = found.verdict
    keep = "Keep vLLM's defaults" if found.chosen is not None else "Nothing to recommend"
    looked = f"trial {v.trial} looked best in the search"
    is_leader = found.chosen is not None and found.chosen.number == v.trial
    match v.answer:
        case Answer.BETTER:
            return f"Deploy trial {v.trial}, the knee of the front: {_gained(v, front)}.{also(v)}"
        case Answer.TRADE if is_leader:
            return f"Trial {v.trial} is the knee of the front, and a trade-off: {_gained(v, front)}.{also(v)}"
        case Answer.TRADE:
            return f"{keep}, the knee of the front: trial {v.trial} is a trade-off: {_gained(v, front)}.{also(v)}"
        case Answer.ALONE:
            times = launches_text(v.launches)
            return f"Deploy trial {v.trial}, the knee of the front: it was verified on its own, in {times}, because {v.why}."
        case Answer.NOT_TOLD_APART | Answer.WORSE:
            return f"{keep}: {looked}, but in no objective it is better than they are: {_gained(v, front)}.{also(v)}"
        case Answer.CRASHED | Answer.MISSES | Answer.HARMED:
            return f"{keep}: {looked}, but launched again it {reason(v)}{others(found)}"
        case Answer.NOT_VERIFIED:
            return f"Trial {v.trial} is the knee of what was measured, and is not verified: {v.why}."
        case _:
            return f"{keep}: {v.why}."


def _gained(v: Verdict, front: Front) -> str:
    """`launched again, its throughput is 30.1 % higher (95 % interval ...) and its ttft_p99 12.0 % lower`."""
    point = front.point(v.trial) if v.trial is not None else None
    if point is None:
        return f"it is dominated ({launches_text(v.launches)} against {v.defaults} of the defaults)"
    told = " and ".join(_words(front, point))
    return f"launched again{f', {told}' if told else ''} ({launches_text(v.launches)} against {v.defaults} of the defaults)"


def _words(front: Front, point: FrontPoint) -> Iterator[str]:
    for objective, told in zip(front.objectives, point.told, strict=True):
        if told.gain is None:
            continue
        change, is_known = change_of(objective, told.gain), told.is_better or told.is_worse
        if isinf(change):
            yield f"its {objective.name} is {number(objective.metric, told.value)} {INSTEAD_OF_NONE}"
            continue
        word = "higher" if change > 0 else "lower"
        much = f"{abs(change):.1%} {word}" if is_known else f"the same within noise ({change:+.1%})"
        yield f"its {objective.name} is {much}"
