"""A URL as a user gives it in; the server's address and its model's name out."""

import json
from urllib.parse import urlsplit

import aiohttp

from tuner.errors import RunError, UsageError
from tuner.types import Target

_TIMEOUT_S = 10.0


async def find_target(url: str, model: str | None, api_key: str | None) -> Target:
    """`url` may lack http://, and may end in /v1; `model` is only needed where the server has several.

    Raises UsageError for what is no URL or when the server does not have the model; RunError when it does not answer as an
    OpenAI-compatible server does.
    """
    base_url = _base_url(url)
    names = await _models(base_url, api_key)
    if model is None and len(names) > 1:
        raise UsageError(f"{base_url} serves {len(names)} models ({', '.join(names[:5])}): choose one with --model")
    if model is not None and model not in names:
        raise UsageError(f"{base_url} has no model {model!r}: it serves {', '.join(names[:5])}")
    return Target(base_url=base_url, model=model or names[0], api_key=api_key)


def _base_url(url: str) -> str:
    full = (url if "://" in url else f"http://{url}").rstrip("/").removesuffix("/v1")
    try:
        parts = urlsplit(full)
        valid = parts.scheme in ("http", "https") and parts.hostname and (parts.port is None or parts.port > 0)
    except ValueError:
        valid = False
    if not valid or parts.query or parts.fragment:
        raise UsageError(f"{url!r} is no URL of a server: give it as http://HOST:PORT")
    if parts.username or parts.password:
        raise UsageError("the URL holds a user name or password: set TUNER_API_KEY instead")
    return full


async def _models(base_url: str, api_key: str | None) -> list[str]:
    headers = {"Authorization": f"Bearer {api_key}"} if api_key else None
    url = f"{base_url}/v1/models"
    timeout = aiohttp.ClientTimeout(total=_TIMEOUT_S)
    try:
        async with (
            aiohttp.ClientSession(trust_env=False, timeout=timeout, headers=headers) as session,
            session.get(url, allow_redirects=False) as response,
        ):
            text = await response.text()
    except (aiohttp.ClientError, TimeoutError, UnicodeDecodeError) as error:
        raise RunError(f"{url} cannot be read: {str(error) or type(error).__name__}") from error
    if response.status in (401, 403):
        raise RunError(f"{url} wants a key (HTTP {response.status}): set TUNER_API_KEY")
    if response.status != 200:
        raise RunError(f"{url} answered HTTP {response.status}: is this an OpenAI-compatible server?")
    try:
        names = [str(entry["id"]) for entry in json.loads(text)["data"]]
    except (ValueError, KeyError, TypeError) as error:
        raise RunError(f"{url} answered without a list of models: is this an OpenAI-compatible server?") from error
    if not names:
        raise RunError(f"{url} lists no model")
    return names
