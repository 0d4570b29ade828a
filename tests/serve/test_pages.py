"""The page's files as they are sent; what the page does is in test_page.py."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeAlias

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from yarl import URL

import tuner.serve.pages
from tuner.serve.pages import add_page

FOLDER = Path(tuner.serve.pages.__file__).with_name("page")
Client: TypeAlias = "TestClient[web.Request, web.Application]"


def asked(question: Callable[[Client], Awaitable[None]]) -> None:
    async def run() -> None:
        app = web.Application()
        add_page(app)
        async with TestClient(TestServer(app)) as client:
            await question(client)

    asyncio.run(run())


@pytest.mark.parametrize("path", ["/", *(f"/page/{file.name}" for file in sorted(FOLDER.iterdir()))])
def test_each_file_is_sent_as_what_it_is_and_not_twice(path: str) -> None:
    kinds = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}

    async def question(client: Client) -> None:
        first = await client.get(path)
        assert first.status == 200
        assert first.content_type == kinds[Path(path).suffix or ".html"]
        assert await first.read() == (FOLDER / (Path(path).name or "index.html")).read_bytes()
        assert first.headers["Cache-Control"] == "no-cache"
        assert first.headers["X-Content-Type-Options"] == "nosniff"
        again = await client.get(path, headers={"If-None-Match": first.headers["ETag"]})
        assert (again.status, await again.read(), again.headers["ETag"]) == (304, b"", first.headers["ETag"])
        other = await client.get(path, headers={"If-None-Match": '"other"'})
        assert other.status == 200
        assert (await client.head(path)).status == 200

    asked(question)


def test_the_policy_allows_nothing_inline_and_no_other_origin() -> None:
    async def question(client: Client) -> None:
        policy = (await client.get("/")).headers["Content-Security-Policy"]
        assert "default-src 'self'" in policy
        assert "frame-ancestors 'none'" in policy
        assert not re.search(r"unsafe|https?:|data:|\*", policy)
        frame = (await client.get("/page/frame.html")).headers["Content-Security-Policy"]
        assert frame.startswith("sandbox allow-scripts; default-src 'none';")
        assert "connect-src" not in frame  # so it is none

    asked(question)


@pytest.mark.parametrize(
    "path",
    [
        "/page/",
        "/page/pages.py",
        "/page/..%2fpages.py",
        "/page/%2e%2e/pages.py",
        "/page//etc/passwd",
        "/page/%00",
        "/page",
    ],
)
def test_what_is_no_file_of_the_page_is_not_found(path: str) -> None:
    async def question(client: Client) -> None:
        url = URL(str(client.make_url("/")).rstrip("/") + path, encoded=True)
        async with client.session.get(url) as answer:
            assert answer.status == 404

    asked(question)


def test_every_module_is_loaded_at_once_and_markup_is_never_read() -> None:
    modules = {file.name for file in FOLDER.glob("*.js")} - {"frame.js", "main.js"}
    index = (FOLDER / "index.html").read_text()
    assert set(re.findall(r'modulepreload" href="/page/([\w.]+)"', index)) == modules
    for file in FOLDER.glob("*.js"):
        imported = set(re.findall(r'from "\./([\w.]+)"', file.read_text()))
        assert imported <= modules, file.name
        if file.name != "frame.js":  # which writes into its own sandbox
            forbidden = (
                r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function|localStorage|\bcookie\b"
            )
            assert not re.search(forbidden, file.read_text()), file.name
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", "".join(f.read_text() for f in FOLDER.iterdir()))
