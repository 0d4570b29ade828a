"""One request of a chat in; what came back, byte by byte and when, out. It judges nothing, and raises nothing for an answer
that is none: a proxy's page is an answer, too.

A key that stands in what came back is taken out of it, so that nobody who shows an answer shows the key.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Any

import aiohttp

from tuner.errors import system_words
from tuner.load.session import open_session
from tuner.types import Target

#: What is kept of an answer that is not what was asked for.
_MOST_BYTES = 4 << 20
#: What stands for the key in what a server says.
_HIDDEN = b"[key]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """What came back of one request. `status` is None where no answer began, and `error` says why there is no whole one.
    `reads` are the pieces of the body as they came, each with its seconds since the request was sent; `ended_s` is when
    the last one had come, or it was given up."""

    status: int | None
    content_type: str = ""
    location: str | None = None
    retry_after: str | None = None
    reads: tuple[tuple[float, bytes], ...] = ()
    ended_s: float = 0.0
    error: str | None = None

    @property
    def body(self) -> bytes:
        return b"".join(data for _, data in self.reads)


async def exchange(target: Target, body: Mapping[str, Any], timeout_s: float) -> Exchange:
    """POST `body` to the server's /v1/chat/completions."""
    headers = {"Accept-Encoding": "identity", "Content-Type": "application/json"}
    url, data = f"{target.base_url}/v1/chat/completions", json.dumps(body).encode()
    reads: list[tuple[float, bytes]] = []
    found = Exchange(status=None)
    async with open_session(target.api_key, aiohttp.ClientTimeout(total=timeout_s), headers=headers) as session:
        sent_s = perf_counter()
        try:
            async with session.post(url, data=data, allow_redirects=False) as response:
                found = _head(response)
                held = 0
                async for piece in response.content.iter_any():
                    reads.append((perf_counter() - sent_s, piece))
                    held += len(piece)
                    if held > _MOST_BYTES:
                        found = replace(found, error=f"it has more than {_MOST_BYTES >> 20} MiB")
                        break
        except aiohttp.ClientConnectorError as error:
            found = replace(found, error=system_words(error.os_error))
        except TimeoutError:
            found = replace(found, error=f"no {'end' if reads else 'answer'} within {timeout_s:g} s")
        except (aiohttp.ClientError, ConnectionError) as error:
            found = replace(found, error=str(error) or type(error).__name__)
        ended_s = perf_counter() - sent_s
    return replace(found, reads=tuple(_without(reads, target.api_key)), ended_s=ended_s)


def _head(response: aiohttp.ClientResponse) -> Exchange:
    return Exchange(
        status=response.status,
        content_type=response.headers.get("Content-Type", ""),
        location=response.headers.get("Location"),
        retry_after=response.headers.get("Retry-After"),
    )


def _without(reads: list[tuple[float, bytes]], key: str | None) -> list[tuple[float, bytes]]:
    """Without the key; all of an answer that has it is one piece, as it may be split anywhere."""
    whole = b"".join(data for _, data in reads)
    if not key or key.encode() not in whole:
        return reads
    return [(reads[-1][0], whole.replace(key.encode(), _HIDDEN))]
