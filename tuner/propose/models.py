"""What was launched in; a surrogate of the objective and one of each latency that has an SLO out. Pure.

Each learns what is measured beside what is expected. Whether the expectation of the objective is believed is decided here, by
which of two surrogates, with it and without, makes what was measured more probable (their evidence). What runs is believed to
bring just what is expected of it (the kriging believer: Ginsbourger, Le Riche & Carraro 2010, "Kriging is well-suited to
parallelize optimization"): a lie that is the same for all points would be learned as what the expectation is off by.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median

import numpy as np
from numpy.typing import NDArray

from tuner.propose.acquisition import below
from tuner.propose.encoding import Matrix
from tuner.propose.history import Seen
from tuner.propose.prior import Earlier
from tuner.propose.surrogate import Data, Surrogate, Vector
from tuner.propose.view import Looking, View
from tuner.types import Params

#: By how much points are thought to differ from what is expected of them, and from each other without any expectation; by how
#: much latencies do.
_RESIDUAL, _SPREAD, _SLO_RESIDUAL = 0.2, 0.3, 0.3
#: From so many measurements on the expectation is put to the test. It is dropped where they are so many times (a logarithm)
#: more probable without it.
_TESTED, _DROPPED = 4, 1.4
_FEASIBLE = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class _Values:
    """What one surrogate is to learn, (points,) each."""

    y: Vector
    error: Vector
    bound: NDArray[np.bool_]
    trend: Vector | None
    signal: float
    believed: bool = True


@dataclass(frozen=True, slots=True)
class _Fitted:
    """A surrogate, and what was taken from its values before."""

    surrogate: Surrogate
    center: float

    def predict(self, x: Matrix, trend: Vector | None) -> tuple[Vector, Vector]:
        mean, deviation = self.surrogate.predict(x, trend if self.surrogate.has_trend else None)
        return mean + self.center, deviation

    def believing(self, running: View, trend: Vector | None, error: float) -> "_Fitted":
        made = self.surrogate.believing(running.x, trend if self.surrogate.has_trend else None, error)
        return _Fitted(made, self.center)


@dataclass(frozen=True, slots=True, kw_only=True)
class Models:
    """`known` are the points that were measured, `running` those that run; `believed` is whether the surrogates follow what is
    expected."""

    objective: _Fitted
    slos: Mapping[str, _Fitted]
    known: View
    running: View
    exact: NDArray[np.bool_]
    believed: bool

    def predict(self, view: View) -> tuple[Vector, Vector]:
        """Mean and standard deviation of the objective's logarithm, the larger the better."""
        return self.objective.predict(view.x, view.trend)

    def feasible(self, view: View) -> Vector:
        """The probability that each point meets all SLOs."""
        found = np.ones(len(view.points))
        for name, model in self.slos.items():
            found = found * below(*model.predict(view.x, view.slos.get(name)))
        return found

    def best(self) -> tuple[Params, float] | None:
        """Which of the known and running points is believed to be the best feasible one, and what is believed of it."""
        found = [self.best_measured()]
        if self.running.points:
            found.append(self._best(self.running, np.ones(len(self.running.points), dtype=bool)))
        return max((one for one in found if one is not None), key=lambda one: one[1], default=None)

    def best_measured(self) -> tuple[Params, float] | None:
        """The same of the known points alone."""
        return self._best(self.known, self.exact)

    def _best(self, view: View, exact: NDArray[np.bool_]) -> tuple[Params, float] | None:
        mean, _ = self.predict(view)
        mean = np.where(exact & (self.feasible(view) >= _FEASIBLE), mean, -np.inf)
        top = int(mean.argmax())
        return (view.points[top], float(mean[top])) if np.isfinite(mean[top]) else None


def fitted(
    looking: Looking,
    seen: Sequence[Seen],
    earlier: Sequence[Earlier],
    running: Sequence[Params] = (),
    *,
    dropped: bool,
) -> Models:
    """`seen` are measured, at least one of them exactly; with `dropped` the expectation was dropped before."""
    launched = looking.at([*(one.params for one in seen), *running])
    is_known = np.arange(len(launched.points)) < len(seen)
    known, beside = launched.only(is_known), launched.only(~is_known)
    bound = np.array([one.bound for one in seen])
    bound &= not bound.all()  # bounds alone say nothing
    y = np.array([one.score(looking.weights) for one in seen])
    error = np.array([one.error_of(looking.weights) for one in seen])
    spread = max(_SPREAD, float(np.std(y[~bound])))
    followed = _Values(y=y, error=error, bound=bound, trend=known.trend, signal=_RESIDUAL)
    doubted = replace(followed, signal=spread, believed=False)
    believed = known.trend is not None and not dropped
    if believed and (~bound).sum() >= _TESTED:
        flat = _fit(looking, known, replace(doubted, trend=None))
        alone = _fit(looking, known, followed)
        believed = flat.surrogate.evidence - alone.surrogate.evidence <= _DROPPED
    objective = _fit(looking, known, followed, earlier) if believed else _fit(looking, known, doubted)
    slos = {
        name: _fit(looking, known, _slo_values(name, known, seen, error, believed=believed))
        for name in sorted({name for one in seen for name in one.slos})
    }
    if running:
        usual = median(error[~bound])
        objective = objective.believing(beside, beside.trend, usual)
        slos = {name: model.believing(beside, beside.slos.get(name), usual) for name, model in slos.items()}
    return Models(objective=objective, slos=slos, known=known, running=beside, exact=~bound, believed=believed)


def no_help(trend: Vector, score: Sequence[float]) -> str:
    """That the expectation is dropped, in a sentence."""
    from scipy.stats import kendalltau  # type: ignore[import-untyped]  # slow to import

    rank = float(kendalltau(trend, score).statistic)
    return (
        f"the model of the server does not explain what was measured (rank correlation {rank:.2f} of {len(score)} launches):"
        " from here on the search goes by measurements alone"
    )


def _slo_values(name: str, known: View, seen: Sequence[Seen], error: Vector, *, believed: bool) -> _Values:
    y = np.array([one.slos.get(name, 0.0) for one in seen])
    never = np.zeros(len(seen), dtype=bool)
    return _Values(y=y, error=error, bound=never, trend=known.slos.get(name), signal=_SLO_RESIDUAL, believed=believed)


def _fit(looking: Looking, known: View, values: _Values, earlier: Sequence[Earlier] = ()) -> _Fitted:
    follows = values.trend is not None and values.believed
    center = 0.0 if follows else float(values.y[~values.bound].mean())
    x, y, error, bound, trend = known.x, values.y - center, values.error, values.bound, values.trend
    if trend is not None and (rows := looking.earlier(earlier)):
        x = np.vstack([x, looking.encoding.encode([row[0] for row in rows])])
        y, error, trend = (
            np.concatenate([mine, np.array([row[i] for row in rows], dtype=float)])
            for mine, i in ((y, 1), (error, 2), (trend, 3))
        )
        bound = np.concatenate([bound, np.zeros(len(rows), dtype=bool)])
    data = Data(
        x=x,
        parameter_of=looking.encoding.parameter_of,
        y=y,
        error=error,
        bound=bound,
        trend=trend,
        signal=values.signal,
        believed=values.believed,
    )
    return _Fitted(Surrogate(data), center)
