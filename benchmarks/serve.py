"""What `tuner serve` costs: its lists at many trials in the database, and its CPU while many clients watch a study.

    python benchmarks/serve.py --trials 100000 --studies 100 --clients 200

The database has as many trials as are asked for, each a copy of one measurement with its 60 numbers; they are spread over the
studies, and one more study has a tenth of them alone. Requests come one after the other on one connection. What is watched is
told twice a second: as often as the service tells any.
"""

import argparse
import http.client
import json
import os
import selectors
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from record_samples import MEASURED, STUDY, a_trial
from waiting import answers, free_port, wait_for

from tuner.record.queue import Queue
from tuner.record.store import Store
from tuner.serve.tokens import text_token

_REQUESTS = 100
_BUSY_S = 5.0


def show(text: str) -> None:
    Console(highlight=False).print(text, soft_wrap=True, markup=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--trials", type=int, default=100_000)
    parser.add_argument("--studies", type=int, default=100)
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=30.0)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        token = fill(folder / "x.db", asked.trials, asked.studies)
        port = free_port()
        with (folder / "out.txt").open("w") as out:
            command = [
                sys.executable,
                "-m",
                "tuner",
                "serve",
                "--port",
                str(port),
                "--storage",
                f"sqlite:///{folder / 'x.db'}",
            ]
            service = subprocess.Popen(command, cwd=folder, stdout=out, stderr=out, env=dict(os.environ))
        try:
            wait_for(lambda: answers(f"http://127.0.0.1:{port}/api/v1/health"), 120)
            lists(port, asked.studies)
            watching(
                service.pid, port, folder / "tuner-logs" / "service" / f"{token}.jsonl", asked.clients, asked.seconds
            )
        finally:
            service.terminate()
            service.wait(60)


def fill(file: Path, trials: int, studies: int) -> str:
    """A database with them; what the files of the study that is watched are called."""
    store = Store.open(f"sqlite:///{file}")
    store.create_or_get_study(STUDY)
    store.finish(STUDY.name, a_trial(1, MEASURED))
    job = Queue(store).add(
        "watched", {"study": "watched", "gpu": "t4", "model": "m"}, "t4", "benchmark", datetime.now(UTC)
    )
    assert job is not None
    Queue(store).change("watched", ["queued"], "paused", None, datetime.now(UTC))
    store.close()
    with closing(sqlite3.connect(file)) as database:
        columns = {
            table: ", ".join(row[1] for row in database.execute(f"PRAGMA table_info({table})") if row[1] not in own)
            for table, own in (("tuner_study", ("id", "name")), ("tuner_trial", ("id", "study_id", "number")))
        }
        counts = [(number, trials // studies) for number in range(studies)] + [(studies, trials // 10)]
        for number, count in counts:
            have = columns["tuner_study"]
            database.execute(
                f"INSERT INTO tuner_study (name, {have}) SELECT 's{number}', {have} FROM tuner_study WHERE id = 1"
            )
            have = columns["tuner_trial"]
            database.execute(
                f"WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < {count}) "
                f"INSERT INTO tuner_trial (study_id, number, {have}) "
                f"SELECT (SELECT max(id) FROM tuner_study), i, {have} FROM n, tuner_trial t "
                "WHERE t.id = 1"
            )
        database.execute(
            "INSERT INTO tuner_metric (trial_id, name, value) SELECT t.id, m.name, m.value FROM tuner_trial t, tuner_metric m "
            "WHERE m.trial_id = 1 AND t.id > 1"
        )
        database.commit()
        (found,) = database.execute("SELECT count(*) FROM tuner_trial").fetchone()
    show(f"{found:,} trials in {studies + 2} studies, {file.stat().st_size / 1e6:,.0f} MB")
    return job.token


def lists(port: int, studies: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)

    def get(path: str) -> bytes:
        connection.request("GET", f"/api/v1/{path}")
        answer = connection.getresponse()
        data = answer.read()
        assert answer.status == 200, data
        return data

    began = time.perf_counter()
    for _ in range(_REQUESTS // 10):
        times_s = timed(lambda: get("studies?limit=50"), 10)
        show(f"studies, no verdicts yet  p50 {1e3 * times_s[5]:6.1f} ms, at most {1e3 * times_s[-1]:6.1f} ms")
        if time.perf_counter() > began + _BUSY_S:
            break
    verdicts(get, began)
    after = json.loads(get("studies?limit=1"))["next"]
    last = text_token("9940")
    for name, path in (
        ("studies, the first 50", "studies?limit=50"),
        ("studies, the next 50", f"studies?limit=50&after={after}"),
        ("trials, the first 50", f"studies/s{studies}/trials?limit=50"),
        ("trials, the first 200", f"studies/s{studies}/trials?limit=200"),
        ("trials, the last", f"studies/s{studies}/trials?limit=50&after={last}"),
    ):
        times_s = timed(lambda path=path: get(path))  # type: ignore[misc]
        p50, p99 = (1e3 * times_s[int(share * len(times_s))] for share in (0.5, 0.99))
        show(f"{name:24} p50 {p50:6.1f} ms, p99 {p99:6.1f} ms")
    connection.close()


def verdicts(get: Callable[[str], bytes], began: float) -> None:
    """Wait until each study of the list has its verdict."""
    waiting, page = True, dict[str, Any]()
    while waiting:
        time.sleep(1)
        waiting, after = False, ""
        while after is not None:
            page = json.loads(get(f"studies?limit=50{after and f'&after={after}'}"))
            waiting |= any(study["verdict"] is None and study["trials_finished"] for study in page["studies"])
            after = page["next"]
    show(f"all verdicts are known after {time.perf_counter() - began:.0f} s")


def timed(call: Callable[[], object], times: int = _REQUESTS) -> Sequence[float]:
    found = []
    for _ in range(times):
        began = time.perf_counter()
        call()
        found.append(time.perf_counter() - began)
    return sorted(found)


def watching(pid: int, port: int, file: Path, clients: int, seconds: float) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    ended = threading.Event()

    def tell() -> None:
        number = 0
        while not ended.wait(0.25):
            number += 1
            state = {
                "event": "state",
                "phase": "measuring",
                "trial": 3,
                "past_s": number / 4,
                "output_throughput": number,
            }
            with file.open("a") as out:
                out.write(json.dumps(state) + "\n")

    threading.Thread(target=tell, daemon=True).start()
    idle = cpu_share(pid, seconds / 3, [])
    sockets = []
    for _ in range(clients):
        one = socket.create_connection(("127.0.0.1", port))
        one.sendall(b"GET /api/v1/studies/watched/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        one.setblocking(False)
        sockets.append(one)
    cpu_share(pid, 5.0, sockets)
    busy = cpu_share(pid, seconds, sockets)
    ended.set()
    show(f"{clients} clients: {busy:.1%} of a core; without any: {idle:.1%}")


def cpu_share(pid: int, seconds: float, sockets: Sequence[socket.socket]) -> float:
    """Of a core, while the sockets are read."""
    process, heard = psutil.Process(pid), 0
    with selectors.DefaultSelector() as ready:
        for one in sockets:
            ready.register(one, selectors.EVENT_READ)
        before, began = process.cpu_times(), time.monotonic()
        while (left := began + seconds - time.monotonic()) > 0:
            for key, _ in ready.select(min(left, 0.2)) if sockets else ():
                assert isinstance(key.fileobj, socket.socket)
                heard += len(key.fileobj.recv(65536))
            if not sockets:
                time.sleep(min(left, 0.2))
    after = process.cpu_times()
    if sockets:
        show(f"  heard {heard / len(sockets) / seconds:,.0f} bytes a second and client")
    return (after.user + after.system - before.user - before.system) / (time.monotonic() - began)


if __name__ == "__main__":
    main()
