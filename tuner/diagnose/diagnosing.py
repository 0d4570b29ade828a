"""Evidence in, diagnosis out, by the rules of docs/diagnosis.md. Pure.

It does not know where the numbers are from, and says nothing from a number that is not known: a condition is true, false or
unknown, and a rule speaks where all of its conditions are true.
"""

import operator
from collections.abc import Callable, Iterator, Mapping, Sequence

from tuner.diagnose.causes import Cause
from tuner.diagnose.diagnosis import Diagnosis, Finding, Remedy
from tuner.diagnose.evidence import Evidence
from tuner.diagnose.table import Advice, Comparison, Condition, Rule, Sign, Table, the_table
from tuner.types import Params, Value

#: Settings to the relative gain that is predicted for them over those at hand; None where they do not start or nobody knows.
PredictGain = Callable[[Params], float | None]
#: Thresholds by their names, of the card and the model at hand.
CardThresholds = Mapping[str, float]

#: How far a count is moved at once: as docs/diagnosis.md says.
RAISED, LOWERED = 4, 2
_HOW: Mapping[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    "<": operator.lt,
    ">": operator.gt,
}
#: What is missing where nothing can be told: numbers by whoever tells them.
_TOLD_BY: Mapping[str, tuple[str, ...]] = {
    "what vLLM's /metrics tell (requests running and waiting, KV-cache usage)": ("running_mean", "waiting_mean"),
    "the GPU's activity (NVML)": ("gpu_utilization", "sm_activity"),
    "busy cores of the server's processes": ("server_cores", "engine_core_cores", "api_server_cores_max"),
    "how many users or requests a second were asked for": ("users", "request_rate_per_s"),
    "the settings as the server resolved them": ("max_num_seqs",),
}


def diagnose(
    seen: Evidence,
    settings: Params,
    *,
    card: CardThresholds | None = None,
    predict: PredictGain | None = None,
    table: Table | None = None,
) -> Diagnosis:
    """What holds the server back, the surest first.

    `settings` are those that the server resolved, `card` replaces thresholds of the table by those of the card, `predict` is
    asked for the gain of each remedy whose value is known. Raises RunError where the table is missing or malformed."""
    asked = _Asked(table or the_table(), seen, card or {})
    by_cause: dict[Cause, list[Rule]] = {}
    for rule in asked.table.rules:
        if asked.all_of(rule.when):
            by_cause.setdefault(rule.cause, []).append(rule)
    found = [_finding(asked, cause, rules, settings, predict) for cause, rules in by_cause.items()]
    return Diagnosis(findings=tuple(sorted(found, key=lambda one: -one.strength)) or (_insufficient(asked),))


class _Asked:
    """The table's conditions, over one evidence."""

    def __init__(self, table: Table, seen: Evidence, card: CardThresholds) -> None:
        self.table, self.seen = table, seen
        self._thresholds = {**table.thresholds, **card}

    def all_of(self, conditions: Sequence[Condition]) -> bool | None:
        """Kleene's: False if any is false, else None if any is not known."""
        told = [self._holds(condition) for condition in conditions]
        return False if False in told else None if None in told else True

    def _holds(self, condition: Condition) -> bool | None:
        if isinstance(condition, Comparison):
            value = getattr(self.seen, condition.field)
            return None if value is None else _HOW[condition.how](value, self._thresholds[condition.threshold])
        told = [self.all_of(sign.when) for sign in self.table.signs[condition.sign]]
        there = True if True in told else None if None in told else False
        return there if there is None else there is not condition.absent

    def signs_of(self, rule: Rule) -> Iterator[Sign]:
        """Those that the rule has looked for and found."""
        for condition in rule.when:
            if not isinstance(condition, Comparison) and not condition.absent:
                yield from (sign for sign in self.table.signs[condition.sign] if self.all_of(sign.when))

    def told(self, template: str) -> str:
        return template.format_map(_Numbers(self.seen))


class _Number:
    """A number in a sentence, also where it is not known."""

    def __init__(self, value: float | None) -> None:
        self._value = value

    def __format__(self, how: str) -> str:
        return "an unknown number" if self._value is None else format(self._value, how)


class _Numbers(dict[str, _Number]):
    def __init__(self, seen: Evidence) -> None:
        super().__init__()
        self._seen = seen

    def __missing__(self, name: str) -> _Number:
        return _Number(getattr(self._seen, name))


def _finding(
    asked: _Asked, cause: Cause, rules: Sequence[Rule], settings: Params, predict: PredictGain | None
) -> Finding:
    ranked = sorted(rules, key=lambda rule: -rule.strength)
    told: dict[str, None] = {}
    for rule in ranked:
        told |= dict.fromkeys(asked.told(sign.evidence) for sign in asked.signs_of(rule))
        told |= {asked.told(rule.evidence): None}
    return Finding(
        cause=cause,
        strength=ranked[0].strength,
        evidence=tuple(told),
        rivals=asked.table.rivals.get(cause, ()),
        remedies=remedies_of(cause, settings, rules=ranked, predict=predict, table=asked.table),
        words=asked.table.words.get(cause, ""),
    )


def remedies_of(
    cause: Cause,
    settings: Params,
    *,
    rules: Sequence[Rule] = (),
    predict: PredictGain | None = None,
    table: Table | None = None,
) -> tuple[Remedy, ...]:
    """Those of the rules (a rule "NAME, WHERE" has NAME's), then those of the cause; each setting once, and none that the
    server has already. What is predicted to lose comes last. Raises RunError as `diagnose` does."""
    known = (table or the_table()).remedies
    found: dict[str, Remedy] = {}
    named = (name for rule in rules for name in (rule.name, rule.name.partition(",")[0]))
    for name in (*named, cause.value):
        for advice in known.get(name, ()):
            if advice.name not in found and (remedy := _remedy(advice, settings, predict)) is not None:
                found[advice.name] = remedy
    return tuple(sorted(found.values(), key=lambda one: one.gain is not None and one.gain <= 0.0))


def _remedy(advice: Advice, settings: Params, predict: PredictGain | None) -> Remedy | None:
    """None where the server has it already."""
    value = next_value(advice, settings.get(advice.name))
    if value is None and (advice.value is not None and advice.name in settings):
        return None
    gain = None if predict is None or value is None else predict({**settings, advice.name: value})
    return Remedy(name=advice.name, direction=advice.direction, value=value, gain=gain, why=advice.why)


def next_value(advice: Advice, current: Value | None) -> Value | None:
    """The value to try next; None where that is not known, and where the setting is as far as it should go."""
    most = advice.value
    if advice.direction == "set":
        return None if most is None or (current is not None and advice.is_met_by(current)) else most
    if isinstance(current, bool) or not isinstance(current, int | float) or not isinstance(most, int | float):
        return None
    if advice.direction == "raise":
        moved: float = most if advice.at_once else min(current * RAISED, most)
        return moved if moved > current else None
    moved = most if advice.at_once else max(current // LOWERED, most)
    return moved if moved < current else None


def _insufficient(asked: _Asked) -> Finding:
    """With what is missing, as far as rules asked for it."""
    seen = asked.seen
    missing = [what for what, names in _TOLD_BY.items() if all(getattr(seen, name) is None for name in names)]
    told = tuple(f"not known: {what}" for what in missing) or ("no rule of docs/diagnosis.md fits these numbers",)
    words = asked.table.words.get(Cause.INSUFFICIENT, "")
    return Finding(cause=Cause.INSUFFICIENT, strength=0.0, evidence=told, words=words)
