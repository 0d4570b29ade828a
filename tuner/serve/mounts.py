"""What the service shows beside its API: the page at `/`, its files below `/page/`, optuna-dashboard at all other paths.

The place where they are hung in: neither is known here, and both only read.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from aiohttp import web
from aiohttp_wsgi.wsgi import WSGIHandler

from tuner.errors import TunerError
from tuner.export.unreal import unreal_sentence
from tuner.propose.dashboard import dashboard_app
from tuner.record.store import Store
from tuner.serve.pages import add_page
from tuner.serve.verbs import Verbs
from tuner.study.artifacts import Artifacts
from tuner.study.showing import bring_all_up_to_date

#: All paths that nobody else has.
DASHBOARD = "/{path_info}"
MAX_BODY_BYTES = 65_536
_log = logging.getLogger("tuner.serve")


def mount(app: web.Application, verbs: Verbs, logs: Path) -> None:
    """After the routes of the API, which win. `logs` is where the files of trials are."""
    add_page(app)
    dashboard = WSGIHandler(_dashboard(verbs.reading, logs), max_request_body_size=MAX_BODY_BYTES)

    async def shown(request: web.Request) -> web.StreamResponse:
        if request.path.startswith("/api/v1/"):
            if allowed := await _methods(request):
                raise web.HTTPMethodNotAllowed(request.method, allowed)
            raise web.HTTPNotFound
        return await dashboard.handle_request(request)

    async def up_to_date(_: web.Application) -> None:
        """The pages need not wait for what is written about older studies."""
        app[_WRITING] = asyncio.create_task(asyncio.to_thread(_write, verbs.reading))

    app.on_startup.append(up_to_date)
    app.router.add_get("/{path_info:.*}", shown)


async def _methods(request: web.Request) -> set[str]:
    """Those that a path of the API takes; none where it is no such path."""
    found: set[str] = set()
    for resource in request.app.router.resources():
        if resource.canonical != DASHBOARD:
            found |= (await resource.resolve(request))[1]
    return found


_WRITING: web.AppKey["asyncio.Task[None]"] = web.AppKey("writing")


def _write(store: Store) -> None:
    try:
        bring_all_up_to_date(store)
    except TunerError as error:
        _log.warning("the dashboard is not up to date: %s", error)


def _dashboard(store: Store, logs: Path) -> Callable[..., Iterable[bytes]]:
    """The Host has been checked before, by the names that the service has."""
    with store.errors():
        pages = dashboard_app(
            store.url, "localhost", opener=store.opener, banner=_banner(store), files=Artifacts(store, logs)
        )

    def app(environment: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        path = environment["PATH_INFO"].encode("utf-8", "surrogateescape").decode("latin-1")  # as WSGI has it
        return pages({**environment, "HTTP_HOST": "localhost", "PATH_INFO": path}, start)

    return app


def _banner(store: Store) -> str:
    """What is not real is called so, and nobody takes the best of a search for the answer."""
    unreal = {sentence for study in store.studies() if (sentence := unreal_sentence(study.fingerprint))}
    return " ".join([*sorted(unreal), "The best trial here is the search's; the page at / says what is verified."])
