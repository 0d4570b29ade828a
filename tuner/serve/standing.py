"""A stored study in; what it recommends and says, out, as it is shown. What was worked out is kept until the study goes on.

Working it out reads every measurement of the study: that is done in a process of its own, so that nobody else waits for it. A
list waits a moment for it, and not longer.
"""

import os
import signal
import threading
import time
from concurrent.futures import CancelledError, Future, ProcessPoolExecutor
from concurrent.futures import TimeoutError as TooLate
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import active_children, get_context
from threading import Lock

from tuner.decide.objective import COST, ENERGY, PER_GPU, Objective
from tuner.decide.pareto import leading
from tuner.decide.verdict import Decision
from tuner.decide.words.decision import decision_text
from tuner.errors import TunerError
from tuner.record.listing import Stamp
from tuner.record.store import Store
from tuner.serve.shown import Best, VerdictShown
from tuner.study.decided import objectives_of, study_decision
from tuner.types import Measured
from tuner.types.finite import finite

_UNITS = {
    "output_throughput": "tok/s",
    "request_throughput": "req/s",
    "goodput": "req/s",
    PER_GPU["output_throughput"]: "tok/s a GPU",
    PER_GPU["request_throughput"]: "req/s a GPU",
    COST: "per million output tokens",
    ENERGY: "J per 1,000 tokens",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """None where there is none yet."""

    best: Best | None
    verdict: VerdictShown | None


class Standings:
    """Of the studies of a database, by their names."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._pool = self._made()
        self._pool.submit(os.getpid)  # it needs a second to begin
        self._known: dict[str, tuple[Stamp, Future[Standing]]] = {}
        self._lock = Lock()
        self._is_closed = False

    def of(self, study: str, stamp: Stamp, wait_s: float | None = None) -> Standing | None:
        """None where it is not known within `wait_s` seconds; without them it is waited for."""
        if not stamp.finished:
            return Standing(best=None, verdict=None)
        try:
            return self._asked(study, stamp).result(timeout=wait_s)
        except (TooLate, CancelledError, BrokenProcessPool):  # somebody killed the process, or this ends: the next time
            return None
        except TunerError:  # deleted meanwhile, or a locked database
            if wait_s is None:
                raise
            return None

    def close(self) -> None:
        """What is under way is given up. Waits for the process: a thread that ends with the interpreter would fail at it."""
        with self._lock:
            self._is_closed = True
            for process in active_children():
                process.terminate()
            self._pool.shutdown(cancel_futures=True)

    def _asked(self, study: str, stamp: Stamp) -> Future[Standing]:
        with self._lock:
            known = self._known.get(study)
            if known is None or known[0] != stamp or (known[1].done() and known[1].exception() is not None):
                known = self._known[study] = (stamp, self._submitted(study))
            return known[1]

    def _submitted(self, study: str) -> Future[Standing]:
        if self._is_closed:
            raise CancelledError
        try:
            return self._pool.submit(_standing, study)
        except BrokenProcessPool:
            self._pool = self._made()
            return self._pool.submit(_standing, study)

    def _made(self) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(1, get_context("spawn"), _begin, (self._url, os.getpid()))


_STORES: list[Store] = []


def _begin(url: str, service: int) -> None:
    """In the process: it takes what is left of the machine, and does not outlive the service."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.nice(5)
    threading.Thread(target=_end_with, args=(service,), daemon=True).start()
    _STORES.append(Store.open(url, read_only=True))


def _end_with(service: int) -> None:
    while os.getppid() == service:
        time.sleep(1)
    os._exit(0)


def _standing(study: str) -> Standing:
    store = _STORES[0]
    objectives, trials = objectives_of(store.study(study)), store.trials(study)
    first, leader = objectives[0], leading(trials, objectives)
    value = first.value(leader.outcome) if leader and isinstance(leader.outcome, Measured) else None
    best = None
    if leader is not None and value is not None:
        best = Best(trial=leader.number, value=value, metric=first.metric, unit=unit(first.metric))
    return Standing(best=best, verdict=verdict_shown(study_decision(store, study), first))


def verdict_shown(found: Decision, objective: Objective) -> VerdictShown:
    """What a study says; `objective` is its first, which the gain is in."""
    verdict = found.verdict
    gain: float | None = finite(verdict.gain.gain) if verdict.gain is not None else None
    return VerdictShown(
        answer=verdict.answer.value, sentence=decision_text(found, objective), trial=verdict.trial, gain=gain
    )


def unit(metric: str) -> str:
    """Of a metric, by its name."""
    return _UNITS.get(metric, "s" if metric.endswith("_s") else "")
