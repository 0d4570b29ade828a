"""What was tried in, the next settings to launch out; and every finished trial told to Optuna's study in the database.

Two Optuna studies: the one in the database holds only trials that were really taken up, for the dashboard and for resuming.
The sampler works on a copy in memory, where a point that breaks a rule or was tried before can be thrown away before it
becomes a trial. It knows nothing of launches.
"""

import sqlite3
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from math import gcd
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalChoiceType,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import FrozenTrial, TrialState

from tuner.decide.objective import Objective
from tuner.decide.rank import score
from tuner.decide.slo import Slo
from tuner.errors import StorageError, UsageError
from tuner.space.parameters import Categorical, Float, Int
from tuner.space.search_space import SearchSpace
from tuner.types import Measured, Params, Proposal, Trial, Twin, Value

#: Samples drawn for one proposal before the space counts as exhausted.
_ATTEMPTS = 300
#: Random trials before TPE models anything; with good points enqueued fewer are needed than Optuna's 10.
_STARTUP_TRIALS = 6
#: The constraint that a trial without a measurement violates. TPE ranks infeasible trials only by the sum of violations.
_LAUNCH = "launch"
#: How long a writer waits for another one.
_BUSY_TIMEOUT_S = 10.0
#: An attribute of the study, written before a trial is added: Optuna tries that five times, and waits for a lock each time.
_NEXT = "tuner:next"
#: Of a number on a grid: 0.91, where low and steps add up to 0.9099999999999999.
_DIGITS = 12
#: optuna-dashboard 0.21 reads constraints only from this attribute of a trial, not from Optuna 5's own.
_DASHBOARD_CONSTRAINTS = "constraints"


def quiet() -> None:
    """No log lines of Optuna: the CLI tells what happens."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)


class _Unsynced(sqlite3.Connection):
    """Its commits survive a crash, but not a power cut, after which Optuna is told again what our own tables, which are synced,
    have of it. A trial has some fifty attributes, and each is a commit (https://sqlite.org/pragma.html#pragma_synchronous)."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.execute("PRAGMA synchronous=NORMAL")


def storage(url: str) -> optuna.storages.RDBStorage:
    """Optuna's tables in the same database as ours. Raises StorageError."""
    sqlite = {"timeout": _BUSY_TIMEOUT_S, "factory": _Unsynced}
    postgresql = {} if "options=" in url else {"options": f"-c lock_timeout={_BUSY_TIMEOUT_S * 1000:.0f}"}
    connect: dict[str, Any] = sqlite if url.startswith("sqlite") else postgresql
    try:
        escaped = url.replace("{", "{{").replace("}", "}}")  # RDBStorage formats the URL
        return optuna.storages.RDBStorage(escaped, engine_kwargs={"connect_args": connect})
    except RuntimeError as error:
        raise StorageError("the database has a newer Optuna schema than this Optuna knows: upgrade optuna") from error


def forget(url: str, name: str) -> None:
    """Delete Optuna's study of that name, if there is one. Raises what the database refuses."""
    quiet()
    opened = storage(url)
    try:
        with suppress(KeyError):
            optuna.delete_study(study_name=name, storage=opened)
    finally:
        opened.remove_session()
        opened.engine.dispose()


class Proposer:
    """Proposals for one study. `defaults` are the searched parameters as vLLM resolved them without any flag."""

    def __init__(
        self,
        url: str,
        name: str,
        *,
        space: SearchSpace,
        objectives: Sequence[Objective],
        slos: Sequence[Slo],
        defaults: Params,
        seed: int,
    ) -> None:
        """Open or create the Optuna study. Raises StorageError, or UsageError if its search space was another."""
        quiet()
        self._space, self._objectives, self._slos, self._defaults = space, tuple(objectives), tuple(slos), defaults
        self._distributions = {name: _distribution(p, defaults.get(name)) for name, p in space.parameters.items()}
        self._storage = storage(url)
        self._study = optuna.create_study(
            storage=self._storage,
            study_name=name,
            directions=["maximize" if one.maximize else "minimize" for one in objectives],
            sampler=optuna.samplers.RandomSampler(),  # never asked
            load_if_exists=True,
        )
        self._study.set_metric_names([one.metric for one in objectives])
        history = self._study.get_trials(deepcopy=False)
        self._memory = optuna.create_study(
            directions=self._study.directions,
            # A restarted sampler with the same seed would repeat its first points, so the history counts.
            sampler=optuna.samplers.TPESampler(n_startup_trials=_STARTUP_TRIALS, seed=seed + len(history)),
        )
        self._uniform = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed + len(history)))
        if any(self._distributions.get(n) != d for t in history for n, d in t.distributions.items()):
            self.close()
            raise UsageError(f"study {name!r} searched another space: give this one another name with --study")
        self._memory.add_trials([t for t in history if t.state in (TrialState.COMPLETE, TrialState.PRUNED)])
        self._tried = {_key(t.params) for t in history}
        self._start: str | None = None

    def close(self) -> None:
        """Give the database connections back."""
        self._storage.remove_session()
        self._storage.engine.dispose()

    def restore(self, taken_up: Iterable[Proposal]) -> None:
        """Give Optuna's study the trials that it lost: somebody deleted it, with optuna-dashboard or the like."""
        for proposal in sorted(taken_up, key=lambda proposal: proposal.number):
            while (known := len(self._trials())) < proposal.number:
                self._study.add_trial(optuna.trial.create_trial(state=TrialState.FAIL))
            if known == proposal.number:
                self._take_up(proposal.params, is_default=proposal.is_default)

    def unfinished(self) -> list[Proposal]:
        """Trials that a killed tuner left running, to be told or run again under their own number."""
        running = [trial for trial in self._trials() if trial.state is TrialState.RUNNING]
        return [Proposal(number=t.number, params=t.params, is_default=_is_default(t)) for t in running]

    def propose(self, wished: Params | None = None) -> Proposal | None:
        """The next settings, written to the database; None when nothing is left to try.

        First vLLM's defaults, then what is wished, if it is new and can run, then the points that the space enqueues, then the
        sampler's.
        """
        if not self._trials():
            return self._take_up(self._defaults, is_default=True)
        for params in self._candidates(wished):
            if _key(params) not in self._tried and not self._space.violations(params):
                return self._take_up(params, is_default=False)
        return None

    def tell(self, trial: Trial) -> None:
        """Tell Optuna's study, durably. Telling a trial twice changes nothing.

        A failed trial is PRUNED without any value, and infeasible: TPE learns to avoid it, and nothing takes it for a
        measurement. A trial that misses an SLO is COMPLETE and infeasible. A twin is FAIL, which samplers leave out: the value
        of the trial that it equals would count one measurement twice, and PRUNED would say that it is bad.
        """
        if isinstance(trial.outcome, Measured):
            self._start = self._start or trial.outcome.start
        frozen = self._trials()[trial.number]
        if frozen.state.is_finished():
            return
        running = optuna.trial.Trial(self._study, frozen._trial_id)
        for name, attribute in _attributes(trial).items():
            running.set_user_attr(name, attribute)
        if isinstance(trial.outcome, Twin):
            self._study.tell(trial.number, state=TrialState.FAIL)
            return
        constraints = {_LAUNCH: -1.0 if isinstance(trial.outcome, Measured) else 1.0}
        constraints |= {slo.name: trial.violations.get(slo.name, 0.0) for slo in self._slos}
        for name, violation in constraints.items():
            if name not in frozen.constraints:
                running.set_constraint(name, violation)
        self._study._storage.set_trial_system_attr(frozen._trial_id, _DASHBOARD_CONSTRAINTS, list(constraints.values()))
        values = [score(trial, objective) for objective in self._objectives]
        if isinstance(trial.outcome, Measured) and trial.outcome.start != self._start:
            self._study.tell(
                trial.number, state=TrialState.FAIL
            )  # its server was not forked as the others: not comparable
        elif None in values:
            self._study.tell(trial.number, state=TrialState.PRUNED)
        else:
            self._study.tell(trial.number, [value for value in values if value is not None])
        self._memory.add_trial(self._trials()[trial.number])

    def _trials(self) -> list[FrozenTrial]:
        """Raises StorageError when the study was deleted since it was opened."""
        try:
            return self._study.get_trials(deepcopy=False)
        except KeyError as error:
            raise StorageError(
                f"Optuna's part of study {self._study.study_name!r} was deleted while it ran: "
                "run the same command again, and it is made anew from tuner's own tables"
            ) from error

    def _candidates(self, wished: Params | None) -> Iterator[Params]:
        for point in (*([wished] if wished else ()), *self._space.enqueue):
            full = {name: self._legal(name, value) for name, value in {**self._defaults, **point}.items()}
            active = self._space.active(full)
            yield {name: value for name, value in full.items() if name in active}
        for study in (
            self._memory,
            self._uniform,
        ):  # where the model draws nothing but what was tried, any point will do
            for _ in range(_ATTEMPTS):
                yield self._sample(study)

    def _sample(self, study: optuna.Study) -> Params:
        """Draw one point. The drawn trial is failed at once: the sampler ignores failed trials."""
        trial = study.ask()
        params: dict[str, Value] = {}
        for name, distribution in self._distributions.items():
            if name in self._space.active(params):
                params[name] = self._legal(name, _suggest(trial, name, distribution))
        study.tell(trial, state=TrialState.FAIL)
        return params

    def _legal(self, name: str, value: Value) -> Value:
        """The space's value nearest to one that vLLM's default has widened its distribution to."""
        parameter = self._space.parameters.get(name)
        return parameter.nearest(value) if parameter and parameter.why_outside(value) else value

    def _take_up(self, params: Params, *, is_default: bool) -> Proposal:
        kept = {name: params[name] for name in self._distributions if name in params}
        number = len(self._trials())
        self._storage.set_study_system_attr(self._study._study_id, _NEXT, number)
        self._study.add_trial(
            optuna.trial.create_trial(
                state=TrialState.RUNNING,
                params=kept,
                distributions={name: self._distributions[name] for name in kept},
                user_attrs={"defaults": True} if is_default else {},
            )
        )
        self._tried.add(_key(kept))
        return Proposal(number=number, params=kept, is_default=is_default)


def _distribution(parameter: Int | Float | Categorical, default: Value | None) -> BaseDistribution:
    """Optuna's distribution, widened where vLLM's default lies outside, so that trial 0 is a point of it."""
    if isinstance(parameter, Categorical):
        choices: list[CategoricalChoiceType] = list(parameter.choices)
        return CategoricalDistribution(choices if default is None or default in choices else [*choices, default])
    low, high = parameter.low, parameter.high
    if isinstance(default, int | float):
        low, high = min(low, default), max(high, default)
    if isinstance(parameter, Int):
        off = int(default) - parameter.low if isinstance(default, int | float) else 0
        step = gcd(parameter.step or 1, off)  # a grid that has the default
        return IntDistribution(int(low), int(high), log=parameter.log, step=step)
    is_off_grid = isinstance(default, int | float) and parameter.why_outside(default) is not None
    return FloatDistribution(low, high, log=parameter.log, step=None if is_off_grid else parameter.step)


def _suggest(trial: optuna.Trial, name: str, distribution: BaseDistribution) -> Value:
    if isinstance(distribution, CategoricalDistribution):
        choice: Value = trial.suggest_categorical(name, distribution.choices)  # type: ignore[assignment]
        return choice
    if isinstance(distribution, IntDistribution):
        low, high, step = distribution.low, distribution.high, distribution.step
        return trial.suggest_int(name, low, high, log=distribution.log, step=step)
    assert isinstance(distribution, FloatDistribution)
    drawn = trial.suggest_float(name, distribution.low, distribution.high, log=distribution.log, step=distribution.step)
    return drawn if distribution.step is None else round(drawn, _DIGITS)


def _key(params: Params) -> tuple[tuple[str, Value], ...]:
    return tuple(sorted(params.items()))


def _is_default(trial: FrozenTrial) -> bool:
    return bool(trial.user_attrs.get("defaults"))


def _attributes(trial: Trial) -> dict[str, float | str]:
    if isinstance(trial.outcome, Measured):
        missed = [name for name, violation in trial.violations.items() if violation > 0]
        return {"status": f"misses {', '.join(missed)}" if missed else "measured", **trial.outcome.metrics()}
    if isinstance(trial.outcome, Twin):
        return {"status": f"equals trial {trial.outcome.equals}", "equals": trial.outcome.equals}
    return {"status": trial.outcome.kind.value, "failure": trial.outcome.message[:500]}
