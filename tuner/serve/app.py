"""The verbs in, an aiohttp application out: routes, the checks before them, errors as JSON, events, the page, the dashboard.

What blocks is done in threads, so that who watches is told meanwhile.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from aiohttp import web
from pydantic import TypeAdapter

from tuner.errors import TunerError
from tuner.serve.asked import NothingAsked
from tuner.serve.following import Place
from tuner.serve.guard import HEADERS, Guard
from tuner.serve.hub import Hub
from tuner.serve.mounts import DASHBOARD, MAX_BODY_BYTES, mount
from tuner.serve.openapi import document
from tuner.serve.prometheus import CONTENT_TYPE, Counts
from tuner.serve.reading import NoJson, read_body, read_query
from tuner.serve.refused import Refused
from tuner.serve.routes import EVENTS, HEALTH, HEALTH_ROUTE, OPENAPI, ROUTES, Asking, Route
from tuner.serve.shown import TextShown
from tuner.serve.verbs import Verbs

_THREADS = 8
_log = logging.getLogger("tuner.serve")
_UNUSABLE = "the database cannot be used now: the log of the service says why"
_FAILED = "the service failed: its log says why"
#: A report is a page of its own, that must not do anything in the name of ours.
_REPORT = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:; sandbox allow-scripts"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What the application is made of. `is_working` is whether the queue is run by this process."""

    verbs: Verbs
    hub: Hub
    guard: Guard
    counts: Counts
    version: str
    logs: Path
    is_working: Callable[[], bool]
    wake: Callable[[], None]


def application(parts: Parts) -> web.Application:
    """To be run by aiohttp."""
    app = web.Application(client_max_size=MAX_BODY_BYTES, middlewares=[_around(parts)])
    pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="verbs")
    for route in ROUTES:
        app.router.add_route(route.method, route.path, _handler(parts, pool, route))
    app.router.add_get(HEALTH, _health(parts, pool))
    app.router.add_get(EVENTS, _events(parts), allow_head=False)
    app.router.add_get(OPENAPI, _document(parts.version))
    app.router.add_get("/metrics", _metrics(parts, pool))
    mount(app, parts.verbs, parts.logs)

    async def end(_: web.Application) -> None:
        await parts.hub.close()

    async def close(_: web.Application) -> None:
        pool.shutdown(wait=False, cancel_futures=True)

    app.on_shutdown.append(end)
    app.on_cleanup.append(close)
    return app


def _around(parts: Parts) -> Any:
    """Around every answer: the guard before it, headers and counts after it, errors as sentences."""

    @web.middleware
    async def around(request: web.Request, handler: Any) -> web.StreamResponse:
        began = time.perf_counter()
        answer = await _guarded(parts, request, handler)
        if not answer.prepared and "Content-Security-Policy" not in answer.headers and _is_ours(request):
            answer.headers.update(HEADERS)
        parts.counts.answered(request.method, _template(request), answer.status, time.perf_counter() - began)
        return answer

    return around


def _is_ours(request: web.Request) -> bool:
    """optuna-dashboard's pages have inline scripts of their own."""
    return request.path.startswith("/api/v1/") or _template(request) != DASHBOARD


async def _guarded(parts: Parts, request: web.Request, handler: Any) -> web.StreamResponse:
    if (barred := parts.guard.barred(request)) is not None:
        answer = _error(barred.status, barred.sentence)
        if barred.status == 401:
            answer.headers["WWW-Authenticate"] = 'Basic realm="tuner", charset="UTF-8"'
        return answer
    try:
        found: web.StreamResponse = await handler(request)
        return found
    except web.HTTPException as error:
        return _of_http(error)
    except Refused as error:
        return _error(error.status, str(error))
    except TunerError:
        _log.exception("%s %s", request.method, _template(request))
        return _error(503, _UNUSABLE)
    except Exception:  # noqa: BLE001  the boundary: whatever it was, the client is told nothing of our inside
        _log.exception("%s %s", request.method, _template(request))
        return _error(500, _FAILED)


def _of_http(error: web.HTTPException) -> web.StreamResponse:
    """aiohttp's own: an unknown path, another method, too large a body."""
    sentences = {
        404: f"there is nothing at this path: {OPENAPI} lists what there is",
        405: "this path does not take that method",
        413: f"the body is larger than {MAX_BODY_BYTES} bytes",
    }
    answer = _error(error.status, sentences.get(error.status, f"{error.reason or 'refused'}".lower()))
    for name in ("Allow", "Location"):
        if name in error.headers:
            answer.headers[name] = error.headers[name]
    return answer


def _handler(parts: Parts, pool: ThreadPoolExecutor, route: Route) -> Any:
    async def handle(request: web.Request) -> web.StreamResponse:
        query = read_query(route.query, _once(request))
        body = query
        if route.body is not None:
            if request.content_type != "application/json":
                return _error(415, "the body must be JSON: send Content-Type: application/json")
            body = read_body(route.body, await _read(request))
        by = f"{request.remote or 'unknown'}"
        asking = Asking(verbs=parts.verbs, path=dict(request.match_info), query=query, body=body, by=by)
        found = await asyncio.get_running_loop().run_in_executor(pool, route.call, asking)
        if route.method == "POST":
            parts.wake()
        return _text(found) if isinstance(found, TextShown) else _shown(route.answer, found, route.status)

    return handle


async def _read(request: web.Request) -> bytes:
    """Raises NoJson for a body that is not encoded as it says."""
    try:
        return await request.read()
    except web.RequestPayloadError:
        raise NoJson("the body is not encoded as its Content-Encoding says") from None


def _once(request: web.Request) -> dict[str, str]:
    """Each parameter once. Raises Refused."""
    for name in request.query:
        if len(request.query.getall(name)) > 1:
            raise Refused(f"{name[:100]!r} stands in the query more than once")
    return dict(request.query)


def _health(parts: Parts, pool: ThreadPoolExecutor) -> Any:
    async def handle(request: web.Request) -> web.StreamResponse:
        read_query(NothingAsked, _once(request))
        loop, working = asyncio.get_running_loop(), parts.is_working()
        found = await loop.run_in_executor(pool, parts.verbs.health, working, parts.version)
        return _shown(HEALTH_ROUTE.answer, found, 200 if found.status == "ok" else 503)

    return handle


def _metrics(parts: Parts, pool: ThreadPoolExecutor) -> Any:
    async def handle(request: web.Request) -> web.StreamResponse:
        jobs, finished, launches = await asyncio.get_running_loop().run_in_executor(pool, parts.verbs.counts)
        text = parts.counts.text(jobs, finished, launches, parts.hub.clients)
        return web.Response(body=text, headers={"Content-Type": CONTENT_TYPE})

    return handle


def _events(parts: Parts) -> Any:
    async def handle(request: web.Request) -> web.StreamResponse:
        read_query(NothingAsked, _once(request))
        name, transport = request.match_info["name"], request.transport
        cut = transport.abort if transport is not None else lambda: None
        async with parts.hub.watching(name, Place.parse(request.headers.get("Last-Event-ID")), cut) as client:
            answer = web.StreamResponse(
                headers={**HEADERS, "Content-Type": "text/event-stream", "X-Accel-Buffering": "no"}
            )
            await answer.prepare(request)
            try:
                while (piece := await client.take()) is not None:
                    await answer.write(piece)
            except ConnectionError:
                pass
        return answer

    return handle


@cache
def _adapter(kind: type) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def _shown(kind: type, found: object, status: int) -> web.Response:
    return web.Response(body=_adapter(kind).dump_json(found), status=status, content_type="application/json")


def _json(found: object) -> bytes:
    return _adapter(object).dump_json(found)


def _document(version: str) -> Any:
    told = _json(document(version))

    async def handle(request: web.Request) -> web.StreamResponse:
        read_query(NothingAsked, _once(request))
        return web.Response(body=told, content_type="application/json")

    return handle


def _error(status: int, sentence: str) -> web.Response:
    text = sentence.encode("utf-8", "backslashreplace").decode()
    return web.Response(body=_json({"error": text}), status=status, content_type="application/json")


def _text(found: TextShown) -> web.Response:
    is_page = found.content_type == "text/html"
    headers = {"Content-Type": f"{found.content_type}; charset=utf-8"}
    if is_page:
        headers["Content-Security-Policy"] = _REPORT
    else:
        headers["Content-Disposition"] = f'attachment; filename="{found.file_name}"'
    return web.Response(body=found.text.encode(), headers=headers)


def _template(request: web.Request) -> str:
    resource = request.match_info.route.resource
    return "other" if resource is None else resource.canonical
