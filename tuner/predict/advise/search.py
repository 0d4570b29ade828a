"""A case and points of its space in; the settings that are predicted to be best, and what each of them brings, out.

All points are simulated shortly with the same requests, the best of them at length; from a few, one parameter after another
is moved; and of the best everything is set back to vLLM's default that costs next to nothing. It decides nothing: the best may
be no better than the defaults.
"""

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from tuner.decide.gain import LEAST_GAIN
from tuner.predict.advise.case import Case, Tell
from tuner.predict.advise.region import thrifty, values
from tuner.predict.arguments import EXECUTOR
from tuner.predict.margin import Verdict
from tuner.predict.prediction import Prediction
from tuner.space.engines import ENGINES
from tuner.space.gpus import UNSET
from tuner.space.parameters import Int, Parameter
from tuner.types import Failed, Params, Value

#: Requests that the short simulations of all points have together, and half as many those of all moves: some seconds of a core.
_REQUESTS = 60_000
#: Of one: at least so many, and one of each user; and so many times that where a percentile near 100 is to be told. With fewer
#: points nothing is found, more are not drawn.
_SHORT, _SHORT_FOR_TAILS = 120, 2
_FEWEST, _MOST = 24, 300
#: Rates that are simulated for one point with `find_rate`, about.
_RATES = 8
#: Points that are simulated at length, those of them from which parameters are moved, and to how many values each.
_KEPT = 8
_STARTS = 3
_VALUES = 6
#: Parameters of which the best of one depends on the other: moved together. One does what the other does, or both must be
#: raised, as EngineCore and the API servers are about equally busy.
_TOGETHER = (("stream_interval", "api_server_count"), ("api_server_count", ENGINES), ("api_server_count", EXECUTOR))

_Rating = tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What differs from vLLM's defaults in the best settings; `default` is UNSET where these have no such parameter. `gain` is
    what it brings in the objective, relative to the same settings with the default instead; None where that would not start
    (`without` says why) or has no prediction."""

    name: str
    default: Value
    value: Value
    gain: float | None
    without: str | None = None


class Search:
    """The predictions of one case, each made once."""

    def __init__(self, case: Case, defaults: Params, tell: Tell) -> None:
        self._case, self._defaults, self._tell = case, defaults, tell
        self._known: dict[tuple[object, ...], Prediction | Failed] = {}
        tail = any("_p9" in metric for metric in (case.objective.metric, *(slo.metric for slo in case.constraints)))
        self._sure = True  # only settings that start for certain are looked at
        self._short = (_SHORT_FOR_TAILS if tail else 1) * max(_SHORT, case.workload.users or 0)

    def best(self, drawn: Sequence[Params]) -> Params | None:
        """The settings that are predicted to be best; None if none starts."""
        points = self._begin(drawn)
        if not points:  # near the border of the memory nothing is ruled out
            self._sure = False
            points = self._begin(drawn)
        if not points:
            return None
        short = self._rated("screening", points, lambda point: self._rating(point, self._short))
        kept = self._rated("comparing the best", short[:_KEPT], self._rating)
        moved = (self._moved(start) for start in kept[: self._starts()])
        best = min([kept[0], *moved], key=self._rating)
        orders = (list(best), list(best)[::-1])
        return min(
            (self._simpler(best, order) for order in orders),
            key=lambda one: (len(self._changed(one)), self._rating(one)),
        )

    def predict(self, params: Params, requests: int | None = None) -> Prediction | Failed:
        key = (requests, *params.items())
        if key not in self._known:
            self._known[key] = self._case.predict(params, requests)
        return self._known[key]

    def changes(self, best: Params) -> tuple[Change, ...]:
        """What of the best settings differs from the defaults, and what each brings."""
        return tuple(self._change(best, name) for name in self._changed(best))

    def _begin(self, drawn: Sequence[Params]) -> list[Params]:
        """What is looked at first: as many as can be afforded; where none starts, those that take the least memory."""
        points = self._starting([{}, *self._case.space.enqueue, *drawn])[: self._affordable()]
        return points or self._starting(thrifty(self._case.space))

    def _starting(self, points: Iterable[Params]) -> list[Params]:
        """Those that keep the rules and start (or may, where nothing is sure to), each once, with the defaults for the rest."""
        full = (self._case.active({**self._defaults, **point}) for point in points)
        unique = {tuple(point.items()): point for point in full}
        return [point for point in unique.values() if self._is_possible(point)]

    def _affordable(self) -> int:
        """Points that are simulated shortly."""
        return int(min(_MOST, max(_FEWEST, _REQUESTS / self._each)))

    def _starts(self) -> int:
        """Points from which parameters are moved: settings help one another, and one start may miss the best of them."""
        moves = _VALUES * len(self._case.space.parameters)
        return int(min(_STARTS, max(1, _REQUESTS / 2 / (moves * self._each))))

    @property
    def _each(self) -> float:
        """Requests of a short simulation, the warm-up's among them."""
        rates = _RATES if self._case.workload.find_rate else 1
        return rates * (self._short + 1.5 * (self._case.workload.users or 0))

    def _rated(self, what: str, points: Sequence[Params], rating: Callable[[Params], _Rating]) -> list[Params]:
        """Best first."""
        found = []
        for done, point in enumerate(points):
            self._tell(what, done, len(points))
            found.append((rating(point), done, point))
        return [point for *_, point in sorted(found, key=lambda entry: entry[:2])]

    def _rating(self, params: Params, requests: int | None = None) -> _Rating:
        """Smaller is better: as `tuner.decide.rank` has it, first by how much the SLOs are missed, then by the objective."""
        found = self.predict(params, requests)
        if isinstance(found, Failed):
            return float("inf"), 0.0
        value = self._case.value(found)
        return self._case.missed(found), -value if self._case.objective.maximize else value

    def _moved(self, best: Params) -> Params:
        """Each parameter in turn at its best value, the others as they are."""
        groups = self._groups()
        for done, names in enumerate(groups):
            self._tell("moving one parameter after another", done, len(groups))
            if all(name in best for name in names):
                tried = (
                    self._with(best, zip(names, tried, strict=True))
                    for tried in itertools.product(*map(self._tried, names))
                )
                possible = [best, *(point for point in tried if self._is_possible(point))]
                best = min(possible, key=lambda point: self._rating(point, self._short))
        return best

    def _groups(self) -> list[tuple[str, ...]]:
        searched = self._case.space.parameters
        together = [names for names in _TOGETHER if all(name in searched for name in names)]
        return [*together, *((name,) for name in searched if not any(name in names for names in together))]

    def _tried(self, name: str) -> list[Value]:
        found = values(self._case.space.parameters[name], _VALUES)
        return found + [
            default for default in [self._defaults.get(name)] if default is not None and default not in found
        ]

    def _simpler(self, best: Params, order: list[str]) -> Params:
        """Without the changes that do not bring the least gain each, and with round numbers where those are as good."""
        for name in order * 2:  # what could not be left out at first may be, without others
            self._tell("leaving out what brings nothing", order.index(name), len(order))
            for value in (self._defaults.get(name), *_round(self._case.space.parameters[name], best.get(name))):
                simpler = self._with(best, [(name, value)])
                if simpler != best and self._is_possible(simpler) and self._is_as_good(simpler, best):
                    best = simpler
                    break
        return best

    def _is_as_good(self, params: Params, best: Params) -> bool:
        (missed, value), (best_missed, best_value) = self._rating(params), self._rating(best)
        return missed <= best_missed and value <= best_value + LEAST_GAIN * abs(best_value)

    def _changed(self, params: Params) -> list[str]:
        return [name for name in params if params[name] != self._defaults.get(name)]

    def _change(self, best: Params, name: str) -> Change:
        default, value = self._defaults.get(name), best[name]
        before = self._with(best, [(name, default)])
        without, found = self.predict(before), self.predict(best)
        gain = None
        if isinstance(without, Prediction) and isinstance(found, Prediction):
            gain = self._case.objective.gain(self._case.value(found), self._case.value(without))
        why = without.message if isinstance(without, Failed) else None
        if isinstance(without, Prediction) and self._case.missed(without) and not self._rating(best)[0]:
            why = "the SLOs are missed"
        return Change(name=name, default=UNSET if default is None else default, value=value, gain=gain, without=why)

    def _with(self, params: Params, values: Iterable[tuple[str, Value | None]]) -> Params:
        """With these values; without a parameter that has no default."""
        changed = {**self._defaults, **params, **dict(values)}
        return self._case.active({name: value for name, value in changed.items() if value is not None})

    def _is_possible(self, params: Mapping[str, Value]) -> bool:
        if self._case.breaks_rule(params):
            return False
        verdict = self._case.verdict(params)
        return verdict is Verdict.STARTS or (verdict is Verdict.MAYBE and not self._sure)


def _round(parameter: Parameter, value: Value | None) -> list[Value]:
    """The powers of two around a whole number, if it is none and they are in its range."""
    if not isinstance(parameter, Int) or not isinstance(value, int) or parameter.step or value.bit_count() == 1:
        return []
    below = 1 << (value.bit_length() - 1)
    return [power for power in (below, 2 * below) if parameter.low <= power <= parameter.high]
