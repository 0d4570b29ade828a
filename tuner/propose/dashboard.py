"""A database in, optuna-dashboard's pages out, where the best trial is the best one that meets every SLO.

It only reads, whatever a page asks for: the connections are read-only, nothing but GET and HEAD is answered, and only to a
browser that names this machine as its host, so that no page of another site reaches it by a name that resolves to this address.
The files of trials are given by who made them, and to no page of another site either, as optuna-dashboard itself would.
"""

import re
import socket
import threading
from collections.abc import Callable, Iterable
from html import escape
from typing import Any, BinaryIO, NoReturn
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import optuna
import optuna_dashboard
from optuna.trial import FrozenTrial

from tuner.errors import TunerError, UsageError
from tuner.propose.hosts import is_this_machine, own_names
from tuner.propose.shown import Content
from tuner.propose.storage import Opener, read_only_storage, storage

_REFUSED = "tuner dashboard only shows: nothing can be changed here. `tuner delete STUDY` deletes a study."
#: A file by its id: what it holds, or None where there is none.
Files = Callable[[str], Content | None]
_FILE = re.compile(r"/artifacts/[0-9]+/(?:[0-9]+/)?([0-9a-fA-F-]+)/*")
_NO_FILE = (
    "There is no such file: it is deleted, or is not below the folder of logs that this was given (see --log-dir)."
)
#: Nothing in a file is run, whatever a server has written into its log.
_INERT = [
    ("X-Content-Type-Options", "nosniff"),
    ("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; sandbox"),
    ("Cache-Control", "no-store"),
]
_STRANGE_HOST = "This is asked for under a name that is not this machine's: use its address, or localhost."


def dashboard_app(
    url: str, host: str, *, opener: Opener | None = None, banner: str = "", files: Files | None = None
) -> "ReadOnly":
    """The pages as a WSGI application, which belongs at the root of a server that is reached as `host`. `opener` opens the file
    of a SQLite database to be read, `banner` is shown below each page, `files` has the files of trials by their ids."""
    pages = optuna_dashboard.wsgi(_shown(url, opener), artifact_store=_Elsewhere() if files else None)
    return ReadOnly(pages, host, banner, files)


class _Elsewhere:
    """Has the pages list the trials' files, which `ReadOnly` gives itself."""

    def open_reader(self, artifact_id: str) -> NoReturn:
        raise optuna.artifacts.exceptions.ArtifactNotFound(artifact_id)

    def write(self, artifact_id: str, content_body: BinaryIO) -> NoReturn:
        raise NotImplementedError(_REFUSED)

    def remove(self, artifact_id: str) -> NoReturn:
        raise NotImplementedError(_REFUSED)


class _QuietHandler(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        return


class _Server6(WSGIServer):
    address_family = socket.AF_INET6


def serve_dashboard(
    url: str,
    host: str,
    port: int,
    *,
    opener: Opener | None,
    banner: str,
    files: Files | None = None,
    listening: Callable[[], None],
) -> None:
    """Serve until interrupted. `opener` opens the file of a SQLite database to be read, `banner` is shown below each page, and
    `listening` is told once browsers are answered. Raises UsageError if the port is taken."""
    app = dashboard_app(url, host, opener=opener, banner=banner, files=files)
    kind = _Server6 if ":" in host else WSGIServer
    try:
        server = make_server(host, port, app, server_class=kind, handler_class=_QuietHandler)
    except OSError as error:
        raise UsageError(f"{host}:{port} cannot be used: {error.strerror}: choose another with --port") from error
    with server:
        serving = threading.Thread(
            target=server.serve_forever, daemon=True
        )  # wsgiref catches the interrupt of a request
        serving.start()
        try:
            listening()
            while serving.is_alive():
                serving.join(60)
        finally:
            server.shutdown()


class ReadOnly:
    """A WSGI application around another, that answers what only reads, of whoever means this machine."""

    def __init__(self, app: Callable[..., Iterable[bytes]], host: str, banner: str, files: Files | None = None) -> None:
        self._app, self._banner, self._files = app, banner, files
        self._names = own_names(host)

    def __call__(self, environment: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        if not is_this_machine(environment.get("HTTP_HOST", ""), self._names):
            return _answer(start, "421 Misdirected Request", _STRANGE_HOST)
        if environment["REQUEST_METHOD"] not in ("GET", "HEAD"):
            return _answer(start, "405 Method Not Allowed", _REFUSED)
        if (path := environment.get("PATH_INFO", "")).startswith("/artifacts"):
            return self._file(path, start)
        told: list[Any] = []
        body = self._app(environment, lambda *answer: told.append(answer))
        (status, headers, *error) = told[0]
        if self._banner and any(n.lower() == "content-type" and v.startswith("text/html") for n, v in headers):
            page = b"".join(body)
            line = (
                '<div style="position:fixed;bottom:0;left:0;right:0;z-index:2000;padding:8px;background:#b00020;color:white;'
                f'font-weight:bold">{escape(self._banner)}</div>'
            )
            body = [page.replace(b"<body>", b"<body>" + line.encode(), 1)]
            headers = [(n, v) for n, v in headers if n.lower() != "content-length"]
            headers.append(("Content-Length", str(len(body[0]))))
        start(status, headers, *error)
        return body

    def _file(self, path: str, start: Callable[..., Any]) -> Iterable[bytes]:
        named = _FILE.fullmatch(path)
        try:
            found = self._files(named[1]) if self._files is not None and named else None
        except TunerError as error:
            return _answer(start, "503 Service Unavailable", str(error))
        if found is None:
            return _answer(start, "404 Not Found", _NO_FILE)
        filename = re.sub(r"[^A-Za-z0-9._-]", "_", found.filename)
        told = [("Content-Type", found.mimetype), ("Content-Length", str(len(found.body)))]
        start("200 OK", [*told, ("Content-Disposition", f'inline; filename="{filename}"'), *_INERT])
        return [found.body]


def _answer(start: Callable[..., Any], status: str, sentence: str) -> list[bytes]:
    body = f"{sentence}\n".encode()
    start(status, [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(body)))])
    return [body]


def _shown(url: str, opener: Opener | None) -> optuna.storages.RDBStorage:
    try:
        shown = read_only_storage(url, opener)
    except optuna.exceptions.StorageInternalError:  # no study has begun: Optuna's tables are not there
        made = storage(url)
        made.remove_session()
        made.engine.dispose()
        shown = read_only_storage(url, opener)
    shown.get_best_trial = lambda study_id: _best_feasible(shown, study_id)  # type: ignore[method-assign]
    return shown


def _best_feasible(shown: optuna.storages.RDBStorage, study_id: int) -> FrozenTrial:
    """Optuna's storage ignores constraints when it names the best trial. Where none is feasible: the nearest to it."""
    maximize = shown.get_study_directions(study_id)[0] == optuna.study.StudyDirection.MAXIMIZE
    trials = shown.get_all_trials(study_id, deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,))
    measured = [(sum(max(0.0, v) for v in t.constraints.values()), t.value, t) for t in trials if t.value is not None]
    if not measured:
        raise ValueError("No trials are completed yet.")
    return min(measured, key=lambda m: (m[0], -m[1] if maximize else m[1]))[2]
