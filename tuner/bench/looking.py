"""A server's address in; what the deployment checklist wants to know of it out: read, asked, and tried with a few requests.

It puts next to no load on it: one plain and one streamed conversation, and then a handful of short answers at once.
"""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

from tuner.bench.chat_faults import Fault, Kind, Severity
from tuner.bench.chatting import Checked, check
from tuner.bench.keys import is_here
from tuner.errors import RunError, UsageError
from tuner.load.asking import asks_for_key, listed_length
from tuner.load.exchange import exchange
from tuner.measure.command_line import listening
from tuner.measure.production import metrics_url, page
from tuner.measure.told import Told, told
from tuner.predict.advise.checklist import Level, SeenServer
from tuner.types import Target

#: Requests that are sent at once, tokens of each, how often the batch is looked at, and how long an answer may take.
_AT_ONCE, _TOKENS, _LOOK_S, _TIMEOUT_S = 4, 64, 0.01, 60.0

_STREAMING = (Kind.NOT_STREAMED, Kind.BUFFERED, Kind.CUT, Kind.NO_DONE, Kind.FORM, Kind.CONTENT_TYPE)
_STOPPING = (Kind.ENDS_IN_TEXT, Kind.ENDLESS, Kind.EMPTY)


async def look(
    url: str, *, model: str | None, key: str | None, tell: Callable[[str], None] = lambda text: None
) -> SeenServer:
    """Raises UsageError for what is no URL, RunError where no server answers as one of chats does."""
    hits = await _hits(url, key)  # before what is asked here comes from the cache, too
    tell("one plain and one streamed conversation")
    checked = await _checked(url, model, key)
    target = checked.target
    if target is None or not checked.request:
        raise RunError(f"{checked.faults[0].what}: {checked.faults[0].remedy}".removesuffix(": "))
    here = is_here(target.base_url)
    parts = urlsplit(target.base_url)
    process = listening(parts.port or (443 if parts.scheme == "https" else 80)) if here else None
    seen = SeenServer(
        model=target.model,
        is_here=here,
        is_secure=parts.scheme == "https",
        is_vllm=False,
        max_model_len=await listed_length(target),
        has_process=process is not None and process.is_told,
        max_num_seqs=process.max_num_seqs if process else None,
        engines=process.engines if process else 1,
        is_eager=process.is_eager if process and process.is_told else None,
        address=process.address if process else None,
        needs_key=await asks_for_key(target.base_url),
        streaming=_streaming(checked),
        stopping=_stopping(checked),
    )
    before = await _told(target)
    if before is None:
        return seen
    tell(f"{_AT_ONCE} answers at once")
    running = await _running_max(target, checked)
    return replace(
        seen,
        is_vllm=True,
        sent=_AT_ONCE,
        running_max=running,
        kv_cache_tokens=before.kv_cache_tokens,
        prefix_caching=before.prefix_caching,
        hits=hits,
    )


async def _checked(url: str, model: str | None, key: str | None) -> Checked:
    """Of the one model that is served; of several the one that is named."""
    try:
        return await check(url, key=key, timeout_s=_TIMEOUT_S)
    except UsageError:
        if model is None:
            raise
    return await check(url, model=model, key=key, timeout_s=_TIMEOUT_S)


async def _told(target: Target) -> Told | None:
    """What /metrics say; None where there is no vLLM's page."""
    try:
        found = told(await asyncio.to_thread(page, f"{target.base_url}/metrics", target.api_key))
    except (RunError, ValueError):
        return None
    return found if found.running is not None else None


async def _hits(url: str, key: str | None) -> float | None:
    """The share of prompt tokens that came from the prefix cache so far."""
    try:
        return told(await asyncio.to_thread(page, metrics_url(url), key)).hits
    except (RunError, UsageError, ValueError):
        return None


async def _running_max(target: Target, checked: Checked) -> float | None:
    """The most requests that were seen to run while a few were sent at once."""
    body: dict[str, Any] = {**checked.request, "max_tokens": _TOKENS, "ignore_eos": True}
    sent = asyncio.gather(*(exchange(target, body, _TIMEOUT_S) for _ in range(_AT_ONCE)))
    seen: list[float] = []
    while not sent.done():
        found = await _told(target)
        seen += [found.running] if found is not None and found.running is not None else []
        await asyncio.wait([sent], timeout=_LOOK_S)
    await sent
    return max(seen, default=None)


def _streaming(checked: Checked) -> tuple[Level, str, str]:
    if fault := _first(checked, _STREAMING):
        return _LEVELS[fault.severity], fault.what, fault.remedy
    reply, speed = checked.streamed, checked.speed
    if reply is None or not reply.times_s:
        return _nothing(checked)
    after = f", the first after {1000 * speed.ttft_s:.0f} ms" if speed is not None and speed.ttft_s is not None else ""
    return Level.OK, f"one answer came in {len(reply.times_s)} chunks{after}", ""


def _stopping(checked: Checked) -> tuple[Level, str, str]:
    if fault := _first(checked, _STOPPING):
        return _LEVELS[fault.severity], fault.what, fault.remedy
    reply = checked.plain or checked.streamed
    if reply is None or reply.finish_reason is None:
        return _nothing(checked)
    return Level.OK, f"an answer ended by itself after {reply.output_tokens or 'some'} tokens (finish_reason stop)", ""


def _nothing(checked: Checked) -> tuple[Level, str, str]:
    """Where no answer came."""
    wrong = next((fault for fault in checked.faults if fault.severity is Severity.WRONG), None)
    return (Level.WRONG, wrong.what, wrong.remedy) if wrong else (Level.UNKNOWN, "the answer does not tell", "")


def _first(checked: Checked, kinds: tuple[Kind, ...]) -> Fault | None:
    return next((fault for fault in checked.faults if fault.kind in kinds), None)


_LEVELS = {Severity.WRONG: Level.WRONG, Severity.WARNING: Level.WARNING, Severity.NOTE: Level.OK}
