"""Random processes of a running study are killed until the time is over: is anything lost, counted twice or left behind?

    python tests/soak.py MINUTES ENGINE_PYTHON [--seed N]

The victims are tuner (half of the time), vLLM's host, and the server's guard, API server and EngineCore, each after a random
time, so that all phases are hit. After each kill of tuner everything that it started must be gone within 20 s, and all trials
that were finished must be stored as they were. At the end the study is run to its end, and its two tables are compared.
Prints a summary; exits with 1 if anything was wrong, and then keeps the folder.
"""

import argparse
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Set
from contextlib import suppress
from pathlib import Path

import psutil
from faults.study import FaultyStudy, roles
from rich.console import Console

from tuner.launch.demo_model import make_demo_model

console = Console(width=150, highlight=False)
VICTIMS = ("fork server", "guard", "API server", "EngineCore")
#: From the kill of tuner until nothing of it is left.
CLEAN_S = 20.0
#: Until tuner has seen that a guard is dead. Killed in that time too, it leaves the server to the next command's sweep.
UNGUARDED_S = 2.0
#: A launch of a busy machine, plainly repeated; a tuner that starts nothing and finishes nothing for so long hangs.
HUNG_S = 300.0
#: Untouched, the last run imports vLLM and launches twice at most.
LAST_RUN_S = 900.0
WRONG = ("orphans", "ports held", "trials lost", "trials doubled", "disagreements", "tracebacks", "hung", "unfinished")


class Soak:
    """One study, killed again and again. `count` is what the summary shows."""

    def __init__(self, folder: Path, engine: Path, dice: random.Random) -> None:
        self.dice, self.count = dice, Counter[str](dict.fromkeys(WRONG, 0))
        self.kills: Counter[tuple[str, str]] = Counter()
        self.exits: Counter[str] = Counter()
        self.longest_s = 0.0
        model = make_demo_model(folder / "model")
        self.study = FaultyStudy(folder, engine, model, "--cache-dir", str(folder / "cache"))
        self._known: dict[int, str] = {}

    def round(self, end: float) -> None:
        """Start tuner, kill others, then tuner itself, and look at what is left."""
        self.count["starts of tuner"] += 1
        with self.study.running("--trials", "100000") as tuner:
            while self._waits(tuner, 0.5 + 39.5 * self.dice.random() ** 1.5) and time.monotonic() < end:
                if self.dice.random() < 0.5 or not self._kill_one(tuner.pid):
                    break
            self._kill_tuner(tuner)
        self._look()

    def last_round(self) -> None:
        """Let the study come to its end, one trial later."""
        with self.study.running("--trials", str(len(self._known) + 1)) as tuner:
            try:
                if (code := tuner.wait(LAST_RUN_S)) != 0:
                    self._wrong("unfinished", f"the last run ended with {code}: {self._said()}")
            except subprocess.TimeoutExpired:
                self._wrong("hung", "the last run did not end")
        self._gone()
        self._look()
        numbers = [row[0] for row in self.study.rows("SELECT number FROM tuner_trial ORDER BY number")]
        if numbers != list(range(len(self._known))):
            self._wrong("unfinished", f"trials {numbers}, finished {sorted(self._known)}")
        for sql in (
            "SELECT count(*) FROM tuner_launch WHERE ended_at IS NULL",
            "SELECT count(*) FROM trials WHERE state IN ('RUNNING', 'WAITING')",  # FAIL: of another start, not comparable
        ):
            if (left := self.study.rows(sql)) != [(0,)]:
                self._wrong("unfinished", f"{sql}: {left}")

    def _waits(self, tuner: "subprocess.Popen[bytes]", seconds: float) -> bool:
        """Whether tuner still runs after so long, and is not stuck."""
        with suppress(subprocess.TimeoutExpired):
            code = tuner.wait(seconds)
            self.exits[f"{code}: {self._said()}"] += 1
            return False
        changed = max(file.stat().st_mtime for file in self.study.folder.iterdir() if file.is_file())
        if time.time() - changed > HUNG_S:
            self._wrong("hung", f"{self.study.phase(tuner.pid)} for {HUNG_S:g} s")
            return False
        return True

    def _kill_one(self, tuner: int) -> bool:
        """Kill one that is no tuner; False if there is none, or if the defaults were not measured yet, without which five
        crashed trials would end the study."""
        measured = self.study.rows(
            "SELECT 1 FROM tuner_trial WHERE failure_kind IS NULL AND state = 'finished' LIMIT 1"
        )
        phase, found = self.study.phase(tuner), roles(tuner)
        there = [victim for victim in VICTIMS if victim in found]
        if not there or not measured:
            return False
        victim = self.dice.choice(there)
        with suppress(psutil.NoSuchProcess):
            found[victim].kill()
            self.kills[victim, phase] += 1
        if victim == "guard":
            time.sleep(UNGUARDED_S)
        return True

    def _kill_tuner(self, tuner: "subprocess.Popen[bytes]") -> None:
        """Kill it, unless it has ended by itself, and see what is left."""
        phase = self.study.phase(tuner.pid)
        ports = {row[0] for row in self.study.rows("SELECT port FROM tuner_launch WHERE ended_at IS NULL")}
        self.study.processes()  # notes their sessions
        if tuner.poll() is None:
            tuner.kill()
            tuner.wait(CLEAN_S)
            self.kills["tuner", phase] += 1
        self._gone(ports)

    def _gone(self, ports: Set[int] = frozenset()) -> None:
        """Wait until no process and no port is left, and kill what stays."""
        began_s, began = time.monotonic(), time.time()
        while (left := self.study.processes()) and time.monotonic() - began_s < CLEAN_S:
            time.sleep(0.1)
        self.longest_s = max(self.longest_s, time.monotonic() - began_s)
        for process in left:
            with suppress(psutil.NoSuchProcess):
                self._wrong("orphans", f"pid {process.pid}, {' '.join(process.cmdline())}")
                process.kill()
        for port in ports & _listened(before=began):
            self._wrong("ports held", str(port))

    def _look(self) -> None:
        """Compare what is stored with what was stored before, and Optuna's table with ours."""
        now = self.study.finished()
        for number, row in self._known.items():
            if number not in now:
                self._wrong("trials lost", str(number))
            elif now[number] != row:
                self._wrong("trials doubled", f"{number}: {row[:200]}, now {now[number][:200]}")
        again = "SELECT t.number FROM tuner_trial t JOIN tuner_launch l ON l.trial_id = t.id WHERE l.started_at > t.ended_at"
        beside = "l.log LIKE '%-beside-%'"  # the defaults once more, to see whether they fail as a setting did
        for (number,) in self.study.rows(f"{again} AND t.state = 'finished' AND NOT {beside}"):
            self._wrong("trials doubled", f"{number} was launched after it had finished")
        self._known |= now
        self._compare(now)
        if "Traceback" in self.study.output.read_text(errors="replace"):
            self._wrong("tracebacks", self._said())

    def _compare(self, finished: dict[int, str]) -> None:
        """Only the last trial may be one that Optuna does not know yet to be finished."""
        optuna = dict(self.study.rows("SELECT number, state FROM trials ORDER BY number"))
        running = [number for number, state in optuna.items() if state in ("RUNNING", "WAITING")]
        if any(number != len(optuna) - 1 for number in running) or not set(finished) <= set(optuna):
            self._wrong("disagreements", f"Optuna: {running} of {len(optuna)} not told, {len(finished)} finished here")
        values = (
            "SELECT o.number, v.value, m.value FROM trials o JOIN trial_values v ON v.trial_id = o.trial_id "
            "JOIN tuner_trial t ON t.number = o.number JOIN tuner_metric m ON m.trial_id = t.id "
            "WHERE m.name = 'output_throughput' AND v.value != m.value"
        )
        for row in self.study.rows(values):
            self._wrong("disagreements", f"trial, Optuna's value and ours: {row}")

    def _wrong(self, what: str, which: str) -> None:
        self.count[what] += 1
        console.print(f"{time.strftime('%H:%M:%S')} {what}: {which}", style="red", markup=False)

    def _said(self) -> str:
        lines = self.study.output.read_text(errors="replace").strip().splitlines() if self.study.output.exists() else []
        return lines[-1][:300] if lines else "nothing"

    def summary(self) -> bool:
        """Print it; whether nothing was wrong."""
        for (victim, phase), times in sorted(self.kills.items()):
            console.print(f"killed: {victim:<11} {phase:<17} {times:>5}")
        for text, times in self.exits.items():
            console.print(f"tuner ended by itself {times} times with {text}", markup=False)
        kinds = "SELECT coalesce(failure_kind, 'measured'), count(*) FROM tuner_trial GROUP BY 1 ORDER BY 2 DESC"
        shown = ", ".join(f"{times} {kind}" for kind, times in self.study.rows(kinds))
        console.print(f"{sum(self.kills.values())} kills, {len(self._known)} trials finished: {shown}")
        console.print(", ".join(f"{times} {what}" for what, times in self.count.items()))
        console.print(f"longest time until nothing was left: {self.longest_s:.1f} s")
        return not any(self.count[what] for what in WRONG)


def _listened(before: float) -> set[int]:
    """The ports that a process listens on that is older than `before`."""
    found = set()
    for connection in psutil.net_connections(kind="tcp"):
        with suppress(psutil.NoSuchProcess):
            listens = connection.status == psutil.CONN_LISTEN and connection.pid
            if connection.laddr and listens and psutil.Process(connection.pid).create_time() < before:
                found.add(connection.laddr.port)
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("minutes", type=float)
    parser.add_argument("engine", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="tuner-soak-"))
    soak = Soak(folder, given.engine.absolute(), random.Random(given.seed))
    end = time.monotonic() + given.minutes * 60
    try:
        while time.monotonic() < end:
            soak.round(end)
        soak.last_round()
    finally:
        fine = soak.summary()
    if fine:
        shutil.rmtree(folder)
    sys.exit(not fine)


if __name__ == "__main__":
    main()
