"""A database in, optuna-dashboard's pages out, where the best trial is the best one that meets every SLO.

It only reads, whatever a page asks for: the connections are read-only, nothing but GET and HEAD is answered, and only to a
browser that names this machine as its host, so that no page of another site reaches it by a name that resolves to this address.
"""

import ipaddress
import socket
import sqlite3
import threading
from collections.abc import Callable, Iterable
from html import escape
from typing import Any
from urllib.parse import urlsplit
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import optuna
import optuna_dashboard
from optuna.trial import FrozenTrial

from tuner.errors import UsageError
from tuner.propose.storage import quiet, storage

_REFUSED = "tuner dashboard only shows: nothing can be changed here. `tuner delete STUDY` deletes a study."
_STRANGE_HOST = "This is asked for under a name that is not this machine's: use its address, or localhost."


def dashboard_app(
    url: str, host: str, *, opener: Callable[[], sqlite3.Connection] | None = None, banner: str = ""
) -> "ReadOnly":
    """The pages as a WSGI application, which belongs at the root of a server that is reached as `host`. `opener` opens the file
    of a SQLite database to be read, `banner` is shown above each page."""
    return ReadOnly(optuna_dashboard.wsgi(_shown(url, opener)), host, banner)


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
    opener: Callable[[], sqlite3.Connection] | None,
    banner: str,
    listening: Callable[[], None],
) -> None:
    """Serve until interrupted. `opener` opens the file of a SQLite database to be read, `banner` is shown above each page, and
    `listening` is told once browsers are answered. Raises UsageError if the port is taken."""
    app = dashboard_app(url, host, opener=opener, banner=banner)
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

    def __init__(self, app: Callable[..., Iterable[bytes]], host: str, banner: str) -> None:
        self._app, self._banner = app, banner
        self._names = {"localhost", host.lower(), socket.gethostname().lower()}

    def __call__(self, environment: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        if not self._is_this_machine(environment.get("HTTP_HOST", "")):
            return _answer(start, "421 Misdirected Request", _STRANGE_HOST)
        if environment["REQUEST_METHOD"] not in ("GET", "HEAD"):
            return _answer(start, "405 Method Not Allowed", _REFUSED)
        told: list[Any] = []
        body = self._app(environment, lambda *answer: told.append(answer))
        (status, headers, *error) = told[0]
        if self._banner and any(n.lower() == "content-type" and v.startswith("text/html") for n, v in headers):
            page = b"".join(body)
            line = (
                f'<div style="padding:8px;background:#b00020;color:white;font-weight:bold">{escape(self._banner)}</div>'
            )
            body = [page.replace(b"<body>", b"<body>" + line.encode(), 1)]
            headers = [(n, v) for n, v in headers if n.lower() != "content-length"]
            headers.append(("Content-Length", str(len(body[0]))))
        start(status, headers, *error)
        return body

    def _is_this_machine(self, named: str) -> bool:
        """An address is; so is a name that we have. Any other may be of a site that lets it resolve to this address."""
        name = ""
        try:
            name = urlsplit(f"//{named}").hostname or ""
            ipaddress.ip_address(name)
        except ValueError:
            return name in self._names
        return True


def _answer(start: Callable[..., Any], status: str, sentence: str) -> list[bytes]:
    body = f"{sentence}\n".encode()
    start(status, [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(body)))])
    return [body]


def _shown(url: str, opener: Callable[[], sqlite3.Connection] | None) -> optuna.storages.RDBStorage:
    quiet()
    named = url
    read: dict[str, Any] = {"connect_args": {"options": "-c default_transaction_read_only=on"}}
    if opener is not None:
        url, read = "sqlite://", {"creator": opener}

    def open_to_read() -> optuna.storages.RDBStorage:
        return optuna.storages.RDBStorage(
            url.replace("{", "{{").replace("}", "}}"),  # RDBStorage formats the URL
            engine_kwargs=read,
            skip_compatibility_check=True,
            skip_table_creation=True,
        )

    try:
        shown = open_to_read()
    except optuna.exceptions.StorageInternalError:  # no study has begun: Optuna's tables are not there
        made = storage(named)
        made.remove_session()
        made.engine.dispose()
        shown = open_to_read()
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
