"""What it costs to search with many launches at a time: strategies on the recorded and simulated surfaces of benchmarks/search.

    python benchmarks/scale/parallel_cost.py [--at-once 1,8,64] [--seeds 5] [--docs docs/scale.md] [--json OUT] [NAME ...]

The launches of a search are asynchronous: each takes its own recorded seconds, and as soon as one has ended the next one is
proposed beside those that run, the first ones beside the defaults. Counted are the launches that were begun, and the virtual
minutes that are over, when the first one within 2 % of the best ends.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before NumPy is imported: each process has its core
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import argparse
import heapq
import json
import multiprocessing
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from math import exp, log
from pathlib import Path
from statistics import fmean, median

import optuna  # noqa: TID251  strategies are its samplers

sys.path.insert(0, str(Path(__file__).parents[1] / "search"))
from catalogue import ENTRIES, Entry
from expected import Server, server_of
from loop import Launched, asked, launch, trial_of
from marks import write_between
from pool import Pool, key, open_pool, seed_of
from strategies import check, make

from tuner.errors import TunerError, UsageError
from tuner.propose.distributions import searched
from tuner.propose.storage import quiet
from tuner.propose.told import Words, told
from tuner.types import Measured, Params, Proposal

BEGIN, END = "<!-- parallelism: made by benchmarks/scale/parallel_cost.py -->", "<!-- end of parallelism -->"
#: A surface of fewer points is launched whole by 64 at a time.
_LEAST_POINTS = 100
_NEAR = 0.02
#: Proposals in a row that were launched already, or are being launched, before nothing is left.
_REPEATS = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """`launches` were begun when the first one near the best ended, after `minutes`; `is_near` is false where none did."""

    launches: int
    minutes: float
    is_near: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """Searches of one strategy and surface, with so many launches at a time."""

    surface: str
    strategy: str
    at_once: int
    seed: int


class Search:
    """One search: launches that ended, and those that run, by their numbers."""

    def __init__(self, pool: Pool, server: Server | None, strategy: str, seed: int) -> None:
        prior = server.prior if server is not None else None
        self._pool, self._server, self._seed = pool, server, seed
        self._strategy = make(strategy, pool.candidates, prior, seed_of(pool.name, seed))
        self._study = optuna.create_study(
            direction="maximize" if pool.objective.maximize else "minimize", sampler=self._strategy.sampler
        )
        self._study.set_metric_names([pool.objective.metric])
        self._words = Words(parameters=pool.parameters, objectives=(pool.objective,), slos=pool.slos)
        self._distributions = {name: searched(parameter) for name, parameter in pool.parameters.items()}
        #: Optuna's ids of the launches.
        self._ids = list[int]()
        self._begun, self._running, self._ended = list[Launched](), list[tuple[float, int]](), list[int]()

    def run(self, at_once: int, most: int) -> Found:
        now_s = 0.0
        while True:
            while len(self._running) < at_once and len(self._begun) < most:
                if (params := self._next()) is None:
                    break
                self._begin(params, now_s)
            if not self._running:
                return Found(launches=len(self._begun), minutes=now_s / 60, is_near=False)
            now_s, number = heapq.heappop(self._running)
            self._end(number)
            truth = self._begun[number].truth
            if truth is not None and self._pool.ratio(truth) >= 1 - _NEAR:
                return Found(launches=len(self._begun), minutes=now_s / 60, is_near=True)

    def _begin(self, params: Params, now_s: float) -> None:
        known, number = [self._begun[n] for n in self._ended], len(self._begun)
        compiled = {self._code(one.params) for one in known if isinstance(one.outcome, Measured)}
        seed = f"{self._seed}:search:{number}"
        one = launch(self._pool, self._server, params, self._strategy, known, compiled, seed)
        self._begun.append(one)
        heapq.heappush(self._running, (now_s + one.took_s, number))
        self._study.add_trial(told((), [Proposal(number=0, params=params)], self._words)[0])
        self._ids.append(self._study.get_trials(deepcopy=False)[-1]._trial_id)

    def _end(self, number: int) -> None:
        one = self._begun[number]
        mine = told([trial_of(self._pool, 0, one, one.params, is_default=number == 0)], (), self._words)[0]
        storage, there = self._study._storage, self._ids[number]
        for name, value in mine.user_attrs.items():
            storage.set_trial_user_attr(there, name, value)
        for name, value in mine.system_attrs.items():
            storage.set_trial_system_attr(there, name, value)
        storage.set_trial_state_values(there, mine.state, mine.values)
        self._ended.append(number)

    def _code(self, params: Params) -> str:
        full = {**self._pool.points.defaults, **params}
        return self._server.code(full) if self._server is not None else repr(key(full))

    def _next(self) -> Params | None:
        """The defaults, then what the sampler proposes beside what runs."""
        pool, launched = self._pool, [one.params for one in self._begun]
        if not launched:
            return pool.defaults
        if len(launched) == len(pool.recorded):
            return None
        return pool.nearest(asked(pool, self._study, self._distributions), launched)


_surfaces: dict[str, tuple[Pool, Server | None]] = {}
_most = 0


def main() -> None:
    arguments = _parser().parse_args()
    try:
        strategies, at_once = arguments.strategies.split(","), _counts(arguments.at_once)
        check(strategies)
        found = searched_for(_entries(arguments.names), strategies, at_once, arguments)
    except TunerError as error:
        sys.stderr.write(f"parallel_cost: {error}\n")
        sys.exit(2 if isinstance(error, UsageError) else 1)
    if arguments.json:
        rows = [{**asdict(task), **asdict(one)} for task, one in found.items()]
        arguments.json.write_text(json.dumps(rows, indent=1) + "\n")
    text = "\n".join(table(found, strategies, at_once))
    sys.stdout.write(f"{text}\n")
    if arguments.docs:
        write_between(arguments.docs, BEGIN, END, text)


def searched_for(
    entries: Sequence[Entry], strategies: Sequence[str], at_once: Sequence[int], arguments: argparse.Namespace
) -> Mapping[Task, Found]:
    """All searches, on some processes; their number changes no result."""
    global _most
    _most = arguments.launches
    for entry in entries:
        pool = open_pool(entry.surface, entry.space, entry.objective, entry.slos, entry.interpolates)
        try:
            server = server_of(pool, entry.surface, entry.model, entry.workload)
            server.prior.expect(pool.candidates.points)
        except UsageError as error:
            server = None
            sys.stderr.write(f"parallel_cost: {entry.name}: nothing is predicted: {error}\n")
        if len(pool.recorded) >= _LEAST_POINTS or arguments.names:
            _surfaces[entry.name] = pool, server
    tasks = [
        Task(surface=surface, strategy=strategy, at_once=count, seed=seed)
        for surface in _surfaces
        for strategy in strategies
        for count in at_once
        for seed in range(arguments.seeds)
    ]
    with ProcessPoolExecutor(arguments.jobs, mp_context=multiprocessing.get_context("fork")) as processes:
        return dict(zip(tasks, processes.map(_search, tasks), strict=True))


def _search(task: Task) -> Found:
    quiet()
    pool, server = _surfaces[task.surface]
    return Search(pool, server, task.strategy, task.seed).run(task.at_once, _most)


def table(found: Mapping[Task, Found], strategies: Sequence[str], at_once: Sequence[int]) -> Iterator[str]:
    """Lines of Markdown: medians over the seeds, then over all surfaces what more at a time brings and costs."""
    surfaces, seeds = list(dict.fromkeys(task.surface for task in found)), {task.seed for task in found}
    columns = [(strategy, count) for strategy in strategies for count in at_once]
    yield f"{len(seeds)} seeds. Launches begun, and minutes over, when one within 2 % of the best has ended, medians:"
    yield ""
    yield _row(["surface", *(f"{strategy}, {count}" for strategy, count in columns)])
    yield _row(["---"] * (len(columns) + 1))
    for surface in surfaces:
        yield _row([surface, *(_cell(_of(found, surface, *column)) for column in columns)])
    yield ""
    yield f"Over all surfaces, geometric means against {at_once[0]} at a time:"
    yield ""
    yield _row(["strategy", "at a time", "launches", "times as fast", "found by all"])
    yield _row(["---"] * 5)
    for strategy, count in columns:
        these = [(_of(found, s, strategy, at_once[0]), _of(found, s, strategy, count)) for s in surfaces]
        launches = _geometric([_launches(many) / _launches(one) for one, many in these])
        faster = _geometric([_minutes(one) / _minutes(many) for one, many in these])
        near = fmean(one.is_near for _, many in these for one in many)
        yield _row([strategy, f"{count}", f"{launches:.1f}x", f"{faster:.1f}x", f"{near:.0%}".replace("%", " %")])


def _of(found: Mapping[Task, Found], surface: str, strategy: str, at_once: int) -> list[Found]:
    asked_for = (surface, strategy, at_once)
    return [one for task, one in found.items() if (task.surface, task.strategy, task.at_once) == asked_for]


def _cell(found: Sequence[Found]) -> str:
    more = ">" if sum(one.is_near for one in found) * 2 <= len(found) else ""
    return f"{more}{_launches(found):g} ({_minutes(found):.0f} min)"


def _launches(found: Sequence[Found]) -> float:
    return median(one.launches for one in found)


def _minutes(found: Sequence[Found]) -> float:
    return median(one.minutes for one in found)


def _geometric(ratios: Sequence[float]) -> float:
    return exp(fmean(map(log, ratios)))


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(entry.name for entry in ENTRIES))
    parser.add_argument("--at-once", default="1,8,64", metavar="N,N,...", help="launches at a time")
    parser.add_argument("--strategies", default="ours,tpe,random")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--launches", type=int, default=128, help="of a search, at most")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    parser.add_argument("--json", type=Path, metavar="OUT")
    parser.add_argument("--docs", type=Path, metavar="FILE", help="write the tables between its two marks")
    return parser


def _counts(text: str) -> list[int]:
    if not all(part.isdecimal() and int(part) > 0 for part in text.split(",")):
        raise UsageError("--at-once is whole numbers of 1 and more, with commas, such as 1,8,64")
    return [int(part) for part in text.split(",")]


def _entries(names: Sequence[str]) -> Sequence[Entry]:
    """Raises UsageError for a name that is none; those that are answered point by point by default."""
    known = {entry.name: entry for entry in ENTRIES if not entry.interpolates}
    if unknown := [name for name in names if name not in known]:
        raise UsageError(f"there is no surface {unknown[0]}: there are {', '.join(known)}")
    return [known[name] for name in names] or list(known.values())


if __name__ == "__main__":
    main()
