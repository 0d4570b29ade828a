"""A key and how long to wait in; an HTTP session with one server out, as all that ask a server something have it.

It heeds no proxy of the environment. It does not know what is asked; whoever asks follows no redirect, for the key would go
along.
"""

from collections.abc import Mapping

import aiohttp

_NONE: Mapping[str, str] = {}


def open_session(
    api_key: str | None, timeout: aiohttp.ClientTimeout, *, headers: Mapping[str, str] = _NONE, reuse: bool = True
) -> aiohttp.ClientSession:
    """To be closed by the caller. Without `reuse` each request has a connection of its own: a server may close one that idles
    in the moment in which it is used again."""
    key = {"Authorization": f"Bearer {api_key}"} if api_key else {}
    connector = aiohttp.TCPConnector(force_close=not reuse)
    return aiohttp.ClientSession(trust_env=False, timeout=timeout, headers={**headers, **key}, connector=connector)
