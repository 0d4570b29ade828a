"""A URL as a user gives it in; the server's address and its model's name out."""

import json
from urllib.parse import urljoin

import aiohttp

from tuner.errors import RunError, UsageError, system_words
from tuner.load.session import open_session
from tuner.space.addresses import parts_of, server_url
from tuner.space.redaction import shown_url
from tuner.types import Target

_TIMEOUT_S = 10.0


async def find_target(url: str, model: str | None, api_key: str | None) -> Target:
    """`url` may lack http://, and may end in a route; `model` is only needed where the server has several.

    Raises UsageError for what is no URL or when the server does not have the model; RunError when it does not answer as an
    OpenAI-compatible server does.
    """
    base_url = _base_url(url)
    names = await _models(base_url, api_key)
    if not names:
        raise RunError(f"{base_url}/v1/models lists no model: load one first")
    if model is None and len(names) > 1:
        raise UsageError(f"{base_url} serves {len(names)} models ({', '.join(names[:5])}): choose one with --model")
    if model is not None and model not in names:
        raise UsageError(f"{base_url} has no model {model!r}: it serves {', '.join(names[:5])}")
    return Target(base_url=base_url, model=model or names[0], api_key=api_key)


def _base_url(url: str) -> str:
    full = server_url(url)
    if (parts := parts_of(full)) is None:
        raise UsageError(f"{shown_url(url)!r} is no URL of a server: give it as http://HOST:PORT")
    if parts.username or parts.password:
        raise UsageError("the URL holds a user name or password: set TUNER_API_KEY instead")
    return full


async def _models(base_url: str, api_key: str | None) -> list[str]:
    url = f"{base_url}/v1/models"
    try:
        async with (
            open_session(api_key, aiohttp.ClientTimeout(total=_TIMEOUT_S)) as session,
            session.get(url, allow_redirects=False) as response,
        ):
            text = await response.text(errors="replace")
    except aiohttp.ClientConnectorError as error:
        why = system_words(error.os_error)
        raise RunError(f"no server answers at {base_url} ({why}): start it, or check host and port") from error
    except (aiohttp.ClientError, TimeoutError) as error:
        why = str(error) or f"no answer within {_TIMEOUT_S:g} s"
        raise RunError(f"{url} cannot be read ({why}): is the server up, and is this its port?") from error
    if response.status != 200:
        raise RunError(f"{url} {_refusal(response, text, base_url)}")
    if text.lstrip()[:9].lower().startswith(("<!doctype", "<html")):
        raise RunError(
            f"{url} answered with a page for a browser: a proxy or another program is there: give the server's own address"
        )
    try:
        return [str(entry["id"]) for entry in json.loads(text)["data"]]
    except (ValueError, KeyError, TypeError) as error:
        raise RunError(f"{url} answered without a list of models: is this an OpenAI-compatible server?") from error


def _refusal(response: aiohttp.ClientResponse, text: str, base_url: str) -> str:
    """What a status other than 200 means, and what to do."""
    status = response.status
    if status in (401, 403):
        return f"wants a key (HTTP {status}): set TUNER_API_KEY"
    if 300 <= status < 400 and (target := response.headers.get("Location")):
        url = urljoin(str(response.url), target)
        base = url.rstrip("/").removesuffix("/v1/models")
        where = f"give {base} as the URL" if base != base_url else "have the server answer without it"
        return f"redirects (HTTP {status}) to {url}: {where}"
    if status in (429, 503):
        after = response.headers.get("Retry-After")
        wait = f"in {after} s" if after and after.isdecimal() else "when it is ready"
        return f"answered HTTP {status}, it is busy or loads its model ({text[:100].strip()!r}): try again {wait}"
    return f"answered HTTP {status}: is this an OpenAI-compatible server, and {base_url} what stands before its /v1?"
