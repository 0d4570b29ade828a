"""The URL of a /metrics page in; its text out, or the one sentence why there is none. Knows nothing of what it says.

A page that does not end is given up after some seconds or MiB. No redirect is followed: a key would go along.
"""

from urllib.parse import urljoin

import aiohttp

from tuner.errors import RunError, system_words
from tuner.space.redaction import shown_url

TIMEOUT_S = 10.0
_MOST_BYTES = 16 << 20
_CHUNK_BYTES = 1 << 16


def open_session(key: str | None) -> aiohttp.ClientSession:
    """To be closed by the caller; the key is sent as a bearer token."""
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    return aiohttp.ClientSession(trust_env=False, timeout=aiohttp.ClientTimeout(total=TIMEOUT_S), headers=headers)


async def scrape(session: aiohttp.ClientSession, url: str) -> str:
    """What it answers. Raises RunError, naming `url`, where it cannot be read."""
    try:
        async with session.get(url, allow_redirects=False) as response:
            if response.status != 200:
                raise RunError(f"{url} {_refusal(response)}")
            return (await _body(response, url)).decode()
    except TimeoutError as error:
        raise RunError(f"{url} cannot be read: it has not ended after {TIMEOUT_S:g} s") from error
    except UnicodeDecodeError as error:
        raise RunError(f"{url} is no text: is this a vLLM server?") from error
    except aiohttp.ClientError as error:
        raise RunError(f"{url} cannot be read: {_why(error)}") from error


async def _body(response: aiohttp.ClientResponse, url: str) -> bytes:
    body = bytearray()
    async for chunk in response.content.iter_chunked(_CHUNK_BYTES):
        body += chunk
        if len(body) > _MOST_BYTES:
            raise RunError(f"{url} cannot be read: it is larger than {_MOST_BYTES >> 20} MiB")
    return bytes(body)


def _refusal(response: aiohttp.ClientResponse) -> str:
    """What a status other than 200 means, and what to do."""
    status = response.status
    if status in (401, 403):
        is_sent = "Authorization" in response.request_info.headers
        return f"refuses the key (HTTP {status})" if is_sent else f"wants a key (HTTP {status}): set TUNER_API_KEY"
    if 300 <= status < 400 and (target := response.headers.get("Location")):
        return (
            f"redirects (HTTP {status}) to {shown_url(urljoin(str(response.url), target))}: give that server's address"
        )
    return f"answered HTTP {status}{': is this a vLLM server?' if status < 500 else ''}"


def _why(error: aiohttp.ClientError) -> str:
    """In words, without the system's number for it."""
    if isinstance(error, aiohttp.ClientResponseError):
        return "its answer is no HTTP"
    if isinstance(error, aiohttp.ClientPayloadError):
        return "its answer ends in the middle"
    if not isinstance(error, OSError):
        return str(error) or type(error).__name__
    return system_words(error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error)
