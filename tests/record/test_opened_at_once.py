"""A new database that many open at once: each finds all tables, whoever makes them."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from record_samples import STUDY, a_trial

from tuner.record.store import Store

_OPEN = """
import sys
import alembic.command, optuna
from tuner.propose import storage as optunas
from tuner.record import connect
from tuner.record.store import Store
connect.BUSY_TIMEOUT_S = optunas._BUSY_TIMEOUT_S = 60.0  # the disk of a busy machine
print("ready", flush=True)
sys.stdin.readline()
store = Store.open(sys.argv[1])
optunas.storage(store.url)
store.close()
"""
_AT_ONCE = 8


def test_processes_open_a_new_database_at_once(storage_url: str) -> None:
    """Our tables and Optuna's."""
    opening = [
        subprocess.Popen(
            [sys.executable, "-c", _OPEN, storage_url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(_AT_ONCE)
    ]
    for one in opening:
        assert one.stdout is not None
        assert one.stdout.readline() == "ready\n"
    for one in opening:
        assert one.stdin is not None
        one.stdin.write("\n")
        one.stdin.flush()
    failed = [told[1] for one in opening if (told := one.communicate(timeout=120)) and one.returncode]
    assert failed == []
    store = Store.open(storage_url)
    store.create_or_get_study(STUDY)
    store.finish("a study", a_trial(0))
    assert store.trials("a study") == [a_trial(0)]
    store.close()


def test_threads_open_databases_of_their_own_at_once(tmp_path: Path) -> None:
    """Alembic keeps what it migrates in variables of its modules."""
    urls = [f"sqlite:///{tmp_path / f'{number}.db'}" for number in range(_AT_ONCE)]
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        stores = list(pool.map(Store.open, urls))
    for store in stores:
        assert store.studies() == []
        store.close()


def test_alembic_speaks_to_the_stdout_of_now(tmp_path: Path) -> None:
    """And not to the one of its import, which a command that was tested in this process has closed."""
    told = """
import io, sys
before, sys.stdout = sys.stdout, io.StringIO()
import alembic.config, alembic.command
sys.stdout.close()
sys.stdout = before
from tuner.record.migrate import _config
from tuner.record.store import Store
store, config = Store.open(sys.argv[1]), _config()
with store._engine.begin() as connection:
    config.attributes["connection"] = connection
    alembic.command.check(config)
"""
    done = subprocess.run(
        [sys.executable, "-c", told, f"sqlite:///{tmp_path / 'x.db'}"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout.strip()) == (0, "No new upgrade operations detected."), done.stderr
