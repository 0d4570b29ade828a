"""An application in; the page of `tuner serve` at `/`, with what it loads below `/page/`, out.

The files are those of the folder page/, read once. It knows neither studies nor tokens: the page asks the REST API, as any
other client does, and whoever has no token sees the page and nothing in it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from aiohttp import ETag, web

_FOLDER = Path(__file__).with_name("page")
_TYPES: Mapping[str, str] = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}
#: The page: only its own files, no inline script or style, and it is in nobody's frame.
_POLICY = (
    "default-src 'self'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; frame-src 'self';"
    " object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
#: What a report is written into: its styles and scripts are inline, so it is another origin that can reach nobody.
_FRAME_POLICY = (
    "sandbox allow-scripts; default-src 'none'; script-src 'self' 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:;"
    " font-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
)
_HEADERS: Mapping[str, str] = {
    "Cache-Control": "no-cache",  # kept, and asked for each time: 304 where it is the same
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": _POLICY,
}
#: The frame is shown by the page, and what it loads is asked for from a sandbox, which is no origin.
_OTHERWISE: Mapping[str, Mapping[str, str]] = {
    "frame.html": {"X-Frame-Options": "SAMEORIGIN", "Content-Security-Policy": _FRAME_POLICY},
    "frame.js": {"Cross-Origin-Resource-Policy": "cross-origin"},
}


@dataclass(frozen=True, slots=True)
class Asset:
    """One file, as it is sent."""

    body: bytes
    content_type: str
    etag: str
    headers: Mapping[str, str]


def add_page(app: web.Application) -> None:
    """`GET /`, and `GET /page/NAME` for each file of the page; any other name is nobody's."""
    assets = {path.name: _asset(path) for path in sorted(_FOLDER.iterdir()) if path.suffix in _TYPES}

    async def index(request: web.Request) -> web.Response:
        return _answer(request, assets["index.html"])

    async def asset(request: web.Request) -> web.Response:
        found = assets.get(request.match_info["name"])
        if found is None:
            return web.json_response({"error": "the page has no such file"}, status=404)
        return _answer(request, found)

    app.router.add_get("/", index)
    app.router.add_get("/page/{name}", asset)


def _asset(path: Path) -> Asset:
    body = path.read_bytes()
    headers = {**_HEADERS, **_OTHERWISE.get(path.name, {})}
    return Asset(body, _TYPES[path.suffix], sha256(body).hexdigest()[:32], headers)


def _answer(request: web.Request, asset: Asset) -> web.Response:
    same = any(asked.value in (asset.etag, "*") for asked in request.if_none_match or ())
    response = (
        web.Response(status=304, headers=asset.headers)
        if same
        else web.Response(body=asset.body, content_type=asset.content_type, charset="utf-8", headers=asset.headers)
    )
    response.etag = ETag(asset.etag)
    return response
