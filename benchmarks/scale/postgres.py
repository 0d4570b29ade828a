"""Many studies at once in one PostgreSQL that is restarted, one of them killed: what was lost, and what was doubled.

    python benchmarks/scale postgres [--studies 32] [--trials 15] [--restarts 2] [--seeds 4]

Each study is a process of its own that runs `tuner optimize` on recorded launches, whose time is virtual: all its work is that
of the database and of the coordinator. What a study of the same seed finds alone, in a SQLite file, is what each must hold in
the end.
"""

import argparse
import json
import multiprocessing
import os
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import closing, redirect_stderr, redirect_stdout
from multiprocessing.process import BaseProcess
from pathlib import Path

import psycopg
from own_postgres import Postgres, postgres, programs

import tuner.cli.commands
import tuner.replay.launches
import tuner.study.loop  # noqa: F401  what is imported here need not be imported in each process
from tuner.record.store import Store
from tuner.types import Measured

REPOSITORY = Path(__file__).parents[2]
SURFACE = REPOSITORY / "benchmarks" / "data" / "search" / "l4-no-graphs.jsonl"
_FORK = multiprocessing.get_context("fork")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=32)
    parser.add_argument("--trials", type=int, default=15)
    parser.add_argument("--restarts", type=int, default=2)
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--verify", type=int, default=2)
    asked = parser.parse_args()
    if (found := programs()) is None:
        sys.exit("no PostgreSQL server: install it (apt-get install postgresql)")
    with tempfile.TemporaryDirectory() as folder, postgres(found) as server:
        os.chdir(folder)
        for seed in range(asked.seeds):
            _started(f"sqlite:///{folder}/alone.db", f"seed-{seed}", seed, asked).join()
        url, began_s = server.database(), time.monotonic()
        seeds = {f"study-{number}": number % asked.seeds for number in range(asked.studies)}
        running = {name: _started(url, name, seed, asked) for name, seed in seeds.items()}
        most = _disturb(server, url, running, asked.studies * asked.trials, asked.restarts)
        killed = next(iter(running))
        again = _started(url, killed, seeds[killed], asked)
        for process in (*running.values(), again):
            process.join()
        took_s = time.monotonic() - began_s
        ended = Counter(process.exitcode for process in running.values())
        _say(
            f"{asked.studies} studies of {asked.trials} trials, {asked.restarts} restarts as by a power cut, one killed"
        )
        _say(f"exit codes {dict(ended)}, and {again.exitcode} of the killed one's second run; {took_s:.0f} s")
        _say(f"connections at once: at most {most} ({most / asked.studies:.1f} a study)")
        _compare(url, f"sqlite:///{folder}/alone.db", seeds)
        _say(f"waited for the database: {_waited(Path(folder))} studies said so")


def _started(url: str, name: str, seed: int, asked: argparse.Namespace) -> BaseProcess:
    options = ["--engine", "replay", "--surface", str(SURFACE), "--space", str(SURFACE.with_suffix(".yaml"))]
    options += [
        "--sampler",
        "random",
        "--verify",
        str(asked.verify),
        "--seed",
        str(seed),
        "--trials",
        str(asked.trials),
    ]
    process = _FORK.Process(target=_optimize, args=(["optimize", "--storage", url, "--study", name, *options], name))
    process.start()
    return process


def _optimize(arguments: Sequence[str], name: str) -> None:
    """In a process of its own, which says nothing here."""
    from tuner.cli import run

    sys.argv = ["tuner", *arguments]
    with Path(f"{name}.log").open("a") as log, redirect_stdout(log), redirect_stderr(log):
        run()


def _disturb(server: Postgres, url: str, running: dict[str, BaseProcess], trials: int, restarts: int) -> int:
    """Restart it when equal parts of the trials are finished, and kill the first study before that; the most connections that
    were seen."""
    most, left = 0, [trials * (part + 1) // (restarts + 1) for part in range(restarts)]
    kill_at = trials // (2 * (restarts + 1))
    while any(process.is_alive() for process in running.values()):
        time.sleep(0.5)
        try:
            with psycopg.connect(f"{url}") as connection:
                sql = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'"
                most = max(most, _one(connection, sql) - 1)
                finished = _one(connection, "SELECT count(*) FROM tuner_trial WHERE state = 'finished'")
        except psycopg.Error:  # no tables yet, or it begins
            continue
        first = next(iter(running.values()))
        if finished >= kill_at and first.is_alive() and first.pid is not None:
            os.kill(first.pid, signal.SIGKILL)
        if left and finished >= left[0]:
            left.pop(0)
            server.restart()
            _say(f"restarted when {finished} of {trials} trials were finished")
    return most


def _one(connection: "psycopg.Connection[tuple[int]]", query: str) -> int:
    found = connection.execute(query.encode()).fetchone()
    return int(found[0]) if found else 0


def _compare(url: str, alone: str, seeds: dict[str, int]) -> None:
    lost = doubled = other = begun_again = 0
    with closing(Store.open(url, read_only=True)) as store, closing(Store.open(alone, read_only=True)) as reference:
        for name, seed in seeds.items():
            want, got = _told(reference, f"seed-{seed}"), _told(store, name)
            lost += sum((Counter(want) - Counter(got)).values())
            doubled += sum(count - 1 for count in Counter(number for number, _, _ in got).values())
            other += sum((Counter(got) - Counter(want)).values())
            begun_again += sum(trial.attempts > 1 for trial in store.trials(name))
            lost += len(reference.verifications(f"seed-{seed}")) - len(store.verifications(name))
        with psycopg.connect(url) as connection:
            shown = "SELECT count(*) FROM (SELECT 1 FROM trials GROUP BY study_id, number HAVING count(*) > 1) twice"
            doubled += _one(connection, shown)
            in_optuna = _one(connection, "SELECT count(*) FROM trials WHERE state <> 'RUNNING'")
            ours = _one(connection, "SELECT count(*) FROM tuner_trial WHERE state = 'finished'")
    _say(f"{ours} trials and {in_optuna} in Optuna's tables: {lost} lost, {doubled} doubled, {other} other than alone;")
    _say(f"{begun_again} begun again after a kill")


def _told(store: Store, study: str) -> list[tuple[int, str, float | None]]:
    return [
        (one.number, json.dumps(one.params, sort_keys=True), one.outcome.load.output_throughput)
        if isinstance(one.outcome, Measured)
        else (one.number, json.dumps(one.params, sort_keys=True), None)
        for one in store.trials(study)
    ]


def _waited(folder: Path) -> int:
    return sum("the database does not answer" in log.read_text() for log in folder.glob("study-*.log"))


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
