"""What came back of a request for a chat in; what is wrong with its form out: refusals, proxies, events, usage, moments. Pure.

It does not look at what is said.
"""

from collections.abc import Iterator
from itertools import pairwise
from statistics import median

from tuner.bench.chat_faults import Asked, Fault, Kind, warning, wrong
from tuner.load.exchange import Exchange
from tuner.load.reply import Reply, is_page, message_of

#: How an answer ends that is none, in the words of several servers.
_NOT_WHOLE = ("error", "abort", "cancelled")
#: With fewer chunks nothing is said of when they came.
_FEWEST_CHUNKS = 8
#: Chunks of one burst are nearer than this: no single stream has 2,000 chunks a second, bytes that lay together have.
TOGETHER_S = 0.0005
#: What is buffered comes in the last part of the time; what comes in fewer bursts than this share of its chunks, in pieces.
LAST_PART, BURSTS = 0.05, 0.25


def refusal(name: str, one: Exchange, asked: Asked) -> Fault | None:
    """Why there is no answer to read."""
    if one.status is None:
        return wrong(
            Kind.NO_ANSWER, f"{name} did not come: {one.error}", "see the server's log and its load; is it asleep?"
        )
    if is_page(one):
        return wrong(
            Kind.PAGE,
            f"{name} is a page for a browser (HTTP {one.status}, {one.content_type or 'no content type'})",
            "a proxy or another program answers there: give the address of the server itself, or mend the proxy's route",
        )
    if one.status == 200:
        return None
    said = message_of(one)
    what = f"{name} was refused with HTTP {one.status}: {said!r}"
    if one.status in (401, 403):
        return wrong(Kind.KEY, what, "set TUNER_API_KEY, or name the variable that has the key with --api-key-env")
    if 300 <= one.status < 400:
        to = f" to {one.location}" if one.location else ""
        return wrong(Kind.REDIRECT, f"{name} was redirected{to} (HTTP {one.status})", "give that address")
    if one.status in (429, 503):
        after = f" after {one.retry_after} s" if one.retry_after else ""
        return wrong(Kind.BUSY, what, f"it is busy, or loads its model: try again{after}")
    low = said.lower()
    if "chat template" in low or "chat_template" in low:
        remedy = "give the server a --chat-template, or ask it by /v1/completions: this may be a base model"
        return wrong(Kind.NO_TEMPLATE, what, remedy)
    if one.status == 404 and "model" in low:
        return wrong(Kind.MODEL, what, f"it lists {asked.model!r} and does not know it: see --served-model-name")
    if one.status in (404, 405):
        return wrong(
            Kind.NO_ROUTE, what, "it has no /v1/chat/completions: is it an OpenAI-compatible server of a chat model?"
        )
    if one.status >= 500:
        return wrong(Kind.FAILED, what, "see the server's log")
    return wrong(Kind.REFUSED, what)


def of_the_plain(reply: Reply, one: Exchange) -> Iterator[Fault]:
    if one.error is not None:
        yield wrong(
            Kind.CUT, f"the plain answer broke off: {one.error}", "see the server's log, and the proxy's time limits"
        )
    elif reply.problem:
        yield wrong(Kind.FORM, f"the plain answer is not in the form of the OpenAI API: {reply.problem}")
    elif reply.finish_reason in _NOT_WHOLE:
        yield wrong(
            Kind.CUT, f"the plain answer ended with finish_reason {reply.finish_reason!r}", "see the server's log"
        )
    if reply.is_stream:
        yield wrong(Kind.FORM, "a plain answer was asked for and a stream of events came")
    elif "json" not in one.content_type.lower():
        yield warning(
            Kind.CONTENT_TYPE, f"the plain answer says it is {one.content_type or 'of no type'}, not application/json"
        )
    if not reply.problem and reply.output_tokens is None:
        yield warning(Kind.NO_USAGE, "the plain answer has no usage: nobody can count its tokens")
    yield from _wrong_usage("the plain answer", reply)


def of_the_stream(reply: Reply, one: Exchange) -> Iterator[Fault]:
    if not reply.is_stream and not reply.problem:
        remedy = "a proxy, or the server, leaves stream=true out: users wait for the whole answer"
        yield wrong(Kind.NOT_STREAMED, "a stream was asked for and one whole answer came", remedy)
        return
    if one.error is not None:
        yield wrong(Kind.CUT, f"the stream broke off: {one.error}", "see the server's log, and the proxy's time limits")
    elif reply.problem:
        yield wrong(Kind.FORM, f"the stream is not in the form of the OpenAI API: {reply.problem}")
    elif reply.finish_reason in _NOT_WHOLE:
        yield wrong(Kind.CUT, f"the stream ended with finish_reason {reply.finish_reason!r}", "see the server's log")
    elif not reply.is_done and reply.finish_reason is None:
        yield wrong(
            Kind.CUT, "the stream ended without finish_reason and [DONE]", "the server ended, or a proxy cut it"
        )
    elif not reply.is_done:
        yield warning(Kind.NO_DONE, "the stream ended without [DONE]", "some clients wait for it")
    if reply.is_stream and "event-stream" not in one.content_type.lower():
        what = f"the stream says it is {one.content_type or 'of no type'}, not text/event-stream"
        yield warning(Kind.CONTENT_TYPE, what, "browsers and some clients refuse it")
    if reply.is_done and not reply.problem and reply.output_tokens is None:
        what = "the stream has no usage, though stream_options.include_usage asked for it"
        yield warning(Kind.NO_USAGE, what, "`tuner bench` then counts with the server's tokenizer, where it has one")
    yield from _wrong_usage("the stream", reply)
    yield from _held_back(reply, one)


def _wrong_usage(name: str, reply: Reply) -> Iterator[Fault]:
    if reply.output_tokens is None or reply.problem:
        return
    if reply.output_tokens == 0 and reply.said:
        yield wrong(Kind.WRONG_USAGE, f"usage of {name} says 0 tokens of {len(reply.said)} characters")
    elif 2 * reply.output_tokens < len(reply.times_s):
        yield wrong(
            Kind.WRONG_USAGE, f"usage of {name} says {reply.output_tokens} tokens of {len(reply.times_s)} chunks"
        )
    elif reply.prompt_tokens == 0:
        yield wrong(Kind.WRONG_USAGE, f"usage of {name} says that the prompt has 0 tokens")


def _held_back(reply: Reply, one: Exchange) -> Iterator[Fault]:
    if len(reply.times_s) < _FEWEST_CHUNKS:
        return
    chunks, bursts = len(reply.times_s), _bursts(reply.times_s)
    remedy = (
        "a proxy collects it: turn its buffering off (nginx: proxy_buffering off; no compression of text/event-stream)"
    )
    if is_held_back(reply, one):
        first, last = reply.times_s[0], reply.times_s[-1]
        what = f"{chunks} chunks came at once at the end: the first after {first:.2f} s, the last after {last:.2f} s"
        yield wrong(Kind.BUFFERED, what, remedy)
    elif bursts <= BURSTS * chunks:
        yield warning(Kind.BUFFERED, f"{chunks} chunks came in {bursts} bursts", remedy)


def is_held_back(reply: Reply, one: Exchange) -> bool:
    """Whether all came together, after the time of its making. A server that was only slow to begin has gaps behind that."""
    times_s = reply.times_s
    if len(times_s) < _FEWEST_CHUNKS:
        return False
    gaps_s = [after - before for before, after in pairwise(times_s)]
    return median(gaps_s) < TOGETHER_S and times_s[-1] - times_s[0] < LAST_PART * one.ended_s


def _bursts(times_s: tuple[float, ...]) -> int:
    return 1 + sum(after - before >= TOGETHER_S for before, after in pairwise(times_s))
