"""A private PostgreSQL server on a loopback port, which can be stopped, started and restarted as `pg_ctl` does it."""

import os
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from waiting import free_port

#: A password with everything that breaks URLs, format strings and config parsers.
PASSWORD = "p@ss{word}%20:/"


@dataclass(frozen=True, slots=True, kw_only=True)
class Postgres:
    """`url` is that of the server, without a database; `programs` is where PostgreSQL's are."""

    programs: Path
    folder: Path
    user: str | None
    port: int

    @property
    def url(self) -> str:
        return f"postgresql://tuner:{quote(PASSWORD, safe='')}@127.0.0.1:{self.port}"

    def database(self) -> str:
        """The URL of a new, empty database."""
        import psycopg

        name = f"test_{secrets.token_hex(6)}"
        with psycopg.connect(f"{self.url}/postgres", autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}".encode())
        return f"{self.url}/{name}"

    def start(self) -> None:
        options = (
            f"-c listen_addresses=127.0.0.1 -c port={self.port} -c fsync=off -c max_connections=300 -k {self.folder}"
        )
        self._control("-w", "-t", "120", "-l", str(self.folder / "log"), "-o", options, "start")

    def stop(self) -> None:
        """As a power cut does: whatever is connected is cut off."""
        self._control("-m", "immediate", "stop")

    def restart(self) -> None:
        self._control("-w", "-t", "120", "-l", str(self.folder / "log"), "-m", "immediate", "restart")

    def make(self) -> None:
        password = self.folder / "password"
        password.write_text(PASSWORD)
        password.chmod(0o644)
        make = ["-U", "tuner", "-A", "scram-sha-256", f"--pwfile={password}", "-E", "UTF8", "--no-sync"]
        self._run("initdb", *make)

    def _control(self, *arguments: str) -> None:
        self._run("pg_ctl", *arguments)

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self.programs / program), "-D", str(self.folder / "data"), *arguments]
        subprocess.run(command, check=True, user=self.user, cwd=self.folder, stdout=subprocess.DEVNULL)


def programs() -> Path | None:
    """Where PostgreSQL's programs are; None where it is not installed."""
    places = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
    initdb = shutil.which("initdb", path=os.pathsep.join([*map(str, reversed(places)), os.environ.get("PATH", "")]))
    return Path(initdb).parent if initdb else None


@contextmanager
def postgres(found: Path) -> Iterator[Postgres]:
    """One that runs until the block ends."""
    user = "postgres" if os.geteuid() == 0 else None  # the server refuses to run as root
    with tempfile.TemporaryDirectory(prefix="tuner-pg-") as folder:
        if user:
            shutil.chown(folder, user)
        server = Postgres(programs=found, folder=Path(folder), user=user, port=free_port())
        server.make()
        server.start()
        try:
            yield server
        finally:
            server.stop()
