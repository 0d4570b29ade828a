"""One plain and one streamed answer to the same question in; what is wrong with the server, and what to do, out. Pure.

It does not know whether an answer is true. A server that works has no fault that is `wrong`.
"""

from collections.abc import Iterator

from tuner.bench.chat_faults import Asked, Fault, Kind, Severity, Speed, warning, wrong
from tuner.bench.chat_form import is_held_back, of_the_plain, of_the_stream, refusal
from tuner.load.exchange import Exchange
from tuner.load.reply import Reply, reply_of
from tuner.workload.advice import THINK, THOUGHT

#: Marks that end an answer in the templates of well-known families: where one is in the text, it was not taken for an end.
ENDS = (
    "<|im_end|>",
    "<|eot_id|>",
    "<|endoftext|>",
    "</s>",
    "<|end|>",
    "<end_of_turn>",
    "<｜end▁of▁sentence｜>",
    "<|return|>",
)


def judge(plain: Exchange, streamed: Exchange, asked: Asked) -> tuple[Fault, ...]:
    """What is wrong, the worst first. What is wrong with both alike is said once."""
    found: list[Fault] = []
    if asked.system_refused is not None:
        found.append(
            Fault(
                kind=Kind.SYSTEM,
                severity=Severity.WARNING,
                what=f"the chat template takes no system role: {asked.system_refused!r}",
                remedy="put the instructions into the user's words, or give the server another --chat-template",
            )
        )
    refused = refusal("the plain answer", plain, asked), refusal("the streamed answer", streamed, asked)
    first = [fault for fault in refused if fault is not None]
    if len(first) == 2 and first[0].kind is first[1].kind:
        first = first[:1]
    found += first
    replies = [reply_of(one) if fault is None else None for one, fault in zip((plain, streamed), refused, strict=True)]
    if replies[0] is not None:
        found += of_the_plain(replies[0], plain)
    if replies[1] is not None:
        found += of_the_stream(replies[1], streamed)
    said = [reply for reply in replies if reply is not None and not reply.problem]
    found += _of_what_is_said(said, asked)
    if len(said) == 2:
        found += _of_both(said[0], said[1], asked)
    order = list(Severity)
    return tuple(sorted(found, key=lambda fault: order.index(fault.severity)))


def speed(plain: Exchange, streamed: Exchange) -> Speed:
    """How fast the two were."""
    reply = reply_of(streamed) if streamed.status == 200 else Reply()
    times_s, tokens = reply.times_s, reply.output_tokens
    span_s = times_s[-1] - times_s[0] if times_s else 0.0
    known = span_s > 0 and tokens is not None and tokens > 1 and not is_held_back(reply, streamed)
    return Speed(
        ttft_s=times_s[0] if times_s else None,
        tokens_per_s=(tokens - 1) / span_s if known and tokens is not None else None,
        plain_s=plain.ended_s if plain.status == 200 and plain.error is None else None,
    )


def _of_what_is_said(said: list[Reply], asked: Asked) -> Iterator[Fault]:
    """Of the texts, whichever of the two has it."""
    if any(not reply.said.strip() and not reply.has_calls for reply in said):
        remedy = "is the model whole, and of this chat template? Its first token is the end of the answer"
        yield wrong(Kind.EMPTY, "the answer is empty", remedy)
    elif any(not reply.text.strip() and not reply.has_calls for reply in said):
        what = f"all of the answer is reasoning: within {asked.max_tokens} tokens no text came"
        yield warning(Kind.EMPTY, what, "`tuner chat --max-tokens 4096` shows the answer itself")
    if marks := {mark for mark in _marks(asked) for reply in said if mark in reply.said}:
        what = f"the text has the mark {', '.join(sorted(marks))} in it, and does not end there"
        remedy = "it is no end to the server: add its id to eos_token_id of generation_config.json, or send it as stop"
        yield wrong(Kind.ENDS_IN_TEXT, what, remedy)
    if any(reply.finish_reason == "length" for reply in said):
        yield _endless(said, asked)
    yield from _reasoning(said, asked)


def _endless(said: list[Reply], asked: Asked) -> Fault:
    what = f"the answer did not stop within {asked.max_tokens} tokens (finish_reason length)"
    if asked.advice is not None or any(reply.reasoning for reply in said):
        return warning(Kind.ENDLESS, what, "reasoning is long: `tuner chat --max-tokens 4096` shows whether it ends")
    remedy = (
        "its end mark may be unknown to the server (eos_token_id of generation_config.json), or the chat template another"
        " model's; a base model does not stop either, nor does a long answer (`tuner chat --max-tokens 4096`)"
    )
    return warning(Kind.ENDLESS, what, remedy)


def _marks(asked: Asked) -> tuple[str, ...]:
    return (*ENDS, *(asked.advice.ends if asked.advice else ()))


def _reasoning(said: list[Reply], asked: Asked) -> Iterator[Fault]:
    texts = [reply.text for reply in said]
    if any(reply.reasoning for reply in said):
        what = "a reasoning parser is on: reasoning comes beside the text, as reasoning_content or reasoning"
        yield Fault(kind=Kind.REASONING, severity=Severity.NOTE, what=what)
    elif any(THOUGHT in text and THINK not in text for text in texts):
        what = f"reasoning is in the text, and ends with {THOUGHT} without {THINK} before it: the chat template writes that"
        yield warning(Kind.REASONING, what, "start the server with the --reasoning-parser of this family")
    elif any(THINK in text for text in texts):
        what = f"reasoning is in the text, between {THINK} and {THOUGHT}"
        yield Fault(kind=Kind.REASONING, severity=Severity.NOTE, what=what, remedy="--reasoning-parser takes it out")
    elif texts and asked.advice is not None and asked.advice.response_prefix and all(_has_ended(one) for one in said):
        what = f"no reasoning: the answer ended without {THOUGHT}"
        yield warning(
            Kind.REASONING, what, f"have answers begin with {asked.advice.response_prefix!r}: {asked.advice.source}"
        )


def _has_ended(reply: Reply) -> bool:
    return reply.finish_reason == "stop"


def _of_both(plain: Reply, streamed: Reply, asked: Asked) -> Iterator[Fault]:
    if plain.prompt_tokens and streamed.prompt_tokens and plain.prompt_tokens != streamed.prompt_tokens:
        what = (
            f"one prompt is {plain.prompt_tokens} tokens in the plain answer and {streamed.prompt_tokens} in the stream"
        )
        yield wrong(Kind.WRONG_USAGE, what, "are there two servers behind the address?")
    if not asked.is_alike or not streamed.is_stream:
        return
    one, other = plain.said, streamed.said
    if one.startswith(other) or other.startswith(one):
        return
    same = next((index for index, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), 0)
    what = f"both were asked alike, and the answers differ after {same} of {max(len(one), len(other))} characters"
    remedy = (
        "two near-by tokens may change places with the batch they are computed in; where it is at the very beginning each time,"
        " two servers may be behind the address"
    )
    yield warning(Kind.DIFFER, what, remedy)
