"""What the service shows beside its API: the page at `/`, its files below `/page/`, and the dashboard at all other paths.

The places where the page and the dashboard are hung in; neither is known here.
"""

from pathlib import Path

from aiohttp import web

from tuner.serve.verbs import Verbs

_PAGE = Path(__file__).with_name("page")


def mount(app: web.Application, verbs: Verbs) -> None:
    """After the routes of the API, which win."""
    if (_PAGE / "index.html").is_file():
        app.router.add_get("/", _index)
        app.router.add_static("/page/", _PAGE)


async def _index(request: web.Request) -> web.StreamResponse:
    return web.FileResponse(_PAGE / "index.html")
