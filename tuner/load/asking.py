"""A server in; single facts that it tells when asked out: whether it sleeps, whether it asks for a key, its longest request.

What cannot be asked is not known: nothing here raises for an answer that is none.
"""

import json
from typing import Any

import aiohttp

from tuner.load.session import open_session
from tuner.types import Target

_TIMEOUT_S = 10.0


async def sleeps(target: Target) -> bool:
    """Whether a vLLM says that it sleeps; one that cannot be asked (it has to be in development mode) does not."""
    status, value = await _get(f"{target.base_url}/is_sleeping", target.api_key)
    return status == 200 and value == {"is_sleeping": True}


async def asks_for_key(base_url: str) -> bool | None:
    """Whether it refuses who has none; None where that cannot be told."""
    status, _ = await _get(f"{base_url}/v1/models", None)
    return True if status in (401, 403) else False if status == 200 else None


async def listed_length(target: Target) -> int | None:
    """max_model_len, which vLLM lists with its models."""
    _, value = await _get(f"{target.base_url}/v1/models", target.api_key)
    entries = value.get("data") if isinstance(value, dict) else None
    for entry in entries if isinstance(entries, list) else []:
        match entry:
            case {"id": target.model, "max_model_len": int(length)} if length > 0:
                return length
    return None


async def _get(url: str, api_key: str | None) -> tuple[int | None, Any]:
    """The status, and the JSON if it is some."""
    try:
        async with (
            open_session(api_key, aiohttp.ClientTimeout(total=_TIMEOUT_S)) as session,
            session.get(url, allow_redirects=False) as response,
        ):
            text = await response.text(errors="replace")
    except (aiohttp.ClientError, TimeoutError):
        return None, None
    try:
        return response.status, json.loads(text)
    except (ValueError, RecursionError):
        return response.status, None
