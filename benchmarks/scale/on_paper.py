"""A thousand cards on paper: what one study writes, asks and computes, counted on the real tables, and how far that goes.

    python benchmarks/scale on_paper [--trials 6] [--cards 1000] [--studies 100] [--trial-s 300]

Two studies in a PostgreSQL of their own: a simulated one, whose servers are launched and recorded as real ones are, and a
replayed one, long enough to see what grows with its trials. Statements are counted where SQLAlchemy sends them, Optuna's too.
"""

import argparse
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import closing, redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import psycopg
from own_postgres import postgres, programs
from sqlalchemy import Engine, event  # noqa: TID251  what is sent is counted

from tuner.cli import run
from tuner.record.store import Store
from tuner.types import Trial

REPOSITORY = Path(__file__).parents[2]
SURFACE = REPOSITORY / "benchmarks" / "data" / "search" / "l4-no-graphs.jsonl"
_SIM = ("--engine", "sim", "--gpu", "t4", "--sampler", "random", "--verify", "2", "--window", "20")
_REPLAY = ("--engine", "replay", "--surface", str(SURFACE), "--space", str(SURFACE.with_suffix(".yaml")))
_DAY_S = 86400


@dataclass(frozen=True, slots=True)
class Moment:
    """What had been sent to the database, and computed here, when a trial was stored."""

    statements: Counter[str]
    cpu_s: float


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one trial, of its share of the study where nothing else is said."""

    reads: float
    writes: float
    commits: float
    cpu_s: float


class Counting:
    """Counts for as long as this process lives; `moments` has one for each trial that was stored."""

    def __init__(self) -> None:
        self.now: Counter[str] = Counter()
        self.moments: list[Moment] = []
        event.listen(Engine, "before_cursor_execute", self._sent)
        event.listen(Engine, "commit", lambda connection: self.now.update(["commits"]))
        finish = Store.finish

        def counted(store: Store, study: str, trial: Trial) -> None:
            finish(store, study, trial)
            self.moments.append(Moment(Counter(self.now), time.process_time()))

        Store.finish = counted  # type: ignore[method-assign]

    def _sent(self, *sent: object) -> None:
        is_read = str(sent[2]).lstrip().startswith(("SELECT", "WITH"))
        self.now["reads" if is_read else "writes"] += 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=6, help="of the simulated study")
    parser.add_argument("--long", type=int, default=120, help="trials of the replayed one")
    parser.add_argument("--cards", type=int, default=1000)
    parser.add_argument("--studies", type=int, default=100, help="a day")
    parser.add_argument("--trial-s", type=float, default=300, help="a launch and its measurement on a real card")
    asked = parser.parse_args()
    if (found := programs()) is None:
        sys.exit("no PostgreSQL server: install it (apt-get install postgresql)")
    with tempfile.TemporaryDirectory() as folder, postgres(found) as server:
        os.chdir(folder)
        url, counting = server.database(), Counting()
        before = _sizes(url)
        _optimize(url, "simulated", *_SIM, "--trials", str(asked.trials))
        after = _sizes(url)
        cost = _cost(counting.moments[1:])
        _tables(url, before, after, asked.trials)
        counting.moments.clear()
        before = _sizes(url)
        _optimize(url, "long", *_REPLAY, "--sampler", "random", "--verify", "0", "--trials", str(asked.long))
        _growth(counting.moments)
        after = _sizes(url)
        launches = _launched_bytes(url) / asked.trials
    bytes_a_trial = (sum(after.values()) - sum(before.values())) / asked.long + launches
    _extrapolated(cost, bytes_a_trial, asked.cards, asked.studies, asked.trial_s)


def _optimize(url: str, study: str, *options: str) -> None:
    sys.argv = ["tuner", "optimize", "--storage", url, "--study", study, *options]
    with Path("log").open("a") as log, redirect_stdout(log), redirect_stderr(log), suppress(SystemExit):
        run()
    with closing(Store.open(url, read_only=True)) as store:
        if not store.trials(study):
            sys.exit(Path("log").read_text())


def _sizes(url: str) -> dict[str, int]:
    """Bytes of each table with its indexes and long values."""
    query = (
        "SELECT relname, pg_total_relation_size(oid) FROM pg_class"
        " WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
    )
    with psycopg.connect(url) as connection:
        return {str(name): int(size) for name, size in connection.execute(query.encode()).fetchall()}


def _launched_bytes(url: str) -> int:
    """Of the rows that only a launch has: its time lines, and its processes."""
    query = "SELECT sum(pg_column_size(one.*)) FROM {} one"
    with psycopg.connect(url) as connection:
        found = [
            connection.execute(query.format(name).encode()).fetchone()
            for name in ("tuner_timeline", "tuner_launch", "tuner_process")
        ]
    return sum(int(one[0] or 0) for one in found if one)


def _tables(url: str, before: dict[str, int], after: dict[str, int], trials: int) -> None:
    _say(f"rows and bytes of a simulated study of {trials} trials, verified (tables with rows of it):")
    with psycopg.connect(url) as connection:
        for name in sorted(after):
            found = connection.execute(f"SELECT count(*) FROM {name}".encode()).fetchone()
            if found and found[0]:
                _say(f"  {name:26} {found[0]:6} rows {after[name] - before.get(name, 0):9,} bytes")


def _cost(moments: Sequence[Moment]) -> Cost:
    steps = len(moments) - 1
    sent = moments[-1].statements - moments[0].statements
    cpu_s = (moments[-1].cpu_s - moments[0].cpu_s) / steps
    return Cost(sent["reads"] / steps, sent["writes"] / steps, sent["commits"] / steps, cpu_s)


def _growth(moments: Sequence[Moment]) -> None:
    _say("a replayed study, by its number of trials: statements and processor time a trial")
    tenth = max(2, len(moments) // 4)
    for first, last in pairwise(range(0, len(moments), tenth)):
        cost = _cost(moments[first : last + 1])
        statements = f"{cost.reads:6.0f} reads {cost.writes:6.0f} writes {cost.commits:6.0f} commits"
        _say(f"  {first:4}-{last:<4} {statements} {cost.cpu_s:6.2f} s")


def _extrapolated(cost: Cost, bytes_a_trial: float, cards: int, studies: int, trial_s: float) -> None:
    trials_per_s = cards / trial_s
    _say(
        f"a trial: {cost.reads:.0f} reads, {cost.writes:.0f} writes, {cost.commits:.0f} commits, {cost.cpu_s:.2f} s of a core,"
        f" {bytes_a_trial / 1024:.0f} KiB"
    )
    _say(
        f"{cards:,} cards at {trial_s:.0f} s a trial: {trials_per_s:.1f} trials/s, {trials_per_s * _DAY_S:,.0f} a day,"
        f" {trials_per_s * _DAY_S / studies:,.0f} a study"
    )
    _say(
        f"  {trials_per_s * (cost.reads + cost.writes):,.0f} statements/s, {trials_per_s * cost.commits:,.0f} commits/s"
    )
    gib = trials_per_s * _DAY_S * bytes_a_trial / 2**30
    _say(f"  {gib:,.1f} GiB a day, {trials_per_s * cost.cpu_s:.1f} cores of coordinators")


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
