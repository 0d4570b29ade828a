"""A server that runs in; what is wrong with it as one user sees it out: one plain and one streamed conversation.

It asks for the list of models, whether the server sleeps (where that can be asked), and for two answers, one after the other.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tuner.bench.chat_faults import Asked, Fault, Kind, Severity, Speed, works
from tuner.bench.chat_judged import judge, speed
from tuner.errors import RunError
from tuner.load.asking import sleeps
from tuner.load.exchange import Exchange, exchange
from tuner.load.reply import Reply, message_of, reply_of
from tuner.load.target import find_target
from tuner.types import Target
from tuner.workload.advice import Advice, advice_for

#: A question whose answer is one word, and still some tokens; to be answered alike by whoever is asked.
PROMPT = "Name the seven days of the week, in order, and nothing else."
#: What every chat template knows how to place, but for those that refuse it.
SYSTEM = "You are a helpful assistant."
MAX_TOKENS = 256
TIMEOUT_S = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """`target` is None where no server answered. `request` is what was sent, without a key."""

    target: Target | None
    faults: tuple[Fault, ...]
    request: Mapping[str, Any]
    advice: Advice | None = None
    speed: Speed | None = None
    plain: Reply | None = None
    streamed: Reply | None = None

    @property
    def works(self) -> bool:
        return works(self.faults)


async def check(
    url: str,
    *,
    model: str | None = None,
    key: str | None = None,
    prompt: str = PROMPT,
    max_tokens: int = MAX_TOKENS,
    timeout_s: float = TIMEOUT_S,
    tell: Callable[[str], None] = lambda text: None,
) -> Checked:
    """Raises UsageError for what is no URL, and for a model that is not served there."""
    try:
        target = await find_target(url, model, key)
    except RunError as error:
        return Checked(target=None, faults=(_unreachable(error, key),), request={})
    advice = advice_for(target.model)
    if await sleeps(target):
        return Checked(target=target, faults=(_ASLEEP,), request={}, advice=advice)
    body = _request(target.model, prompt, max_tokens, advice)
    tell("a plain answer")
    plain = await exchange(target, body, timeout_s)
    refused = None
    if _refuses_system(plain, body):
        refused = message_of(plain)
        body = {**body, "messages": body["messages"][1:]}
        tell("a plain answer, without a system prompt")
        plain = await exchange(target, body, timeout_s)
    tell("a streamed answer")
    streamed = await exchange(target, {**body, "stream": True, "stream_options": {"include_usage": True}}, timeout_s)
    asked = Asked(
        model=target.model, max_tokens=max_tokens, is_alike=advice is None, advice=advice, system_refused=refused
    )
    return Checked(
        target=target,
        faults=judge(plain, streamed, asked),
        request=body,
        advice=advice,
        speed=speed(plain, streamed),
        plain=reply_of(plain) if plain.status == 200 else None,
        streamed=reply_of(streamed) if streamed.status == 200 else None,
    )


def _request(model: str, prompt: str, max_tokens: int, advice: Advice | None) -> dict[str, Any]:
    """Greedy, so that both answers are to be alike; where the makers say how to ask, as they say, and they are not compared."""
    system = [] if advice is not None and advice.no_system_prompt else [{"role": "system", "content": SYSTEM}]
    sampling: dict[str, Any] = {"temperature": 0.0}
    if advice is not None:
        sampling = {"temperature": advice.temperature, "top_p": advice.top_p, "seed": 0}
    messages = [*system, {"role": "user", "content": prompt}]
    return {"model": model, "messages": messages, "max_tokens": max_tokens, **sampling}


def _refuses_system(plain: Exchange, body: Mapping[str, Any]) -> bool:
    if plain.status not in (400, 422, 500) or body["messages"][0]["role"] != "system":
        return False
    said = message_of(plain).lower()
    return "system" in said or "roles must alternate" in said


def _unreachable(error: RunError, key: str | None) -> Fault:
    text = str(error)
    what, _, remedy = (text.replace(key, "[key]") if key else text).rpartition(": ")
    kind = Kind.UNREACHABLE
    for word, other in (("wants a key", Kind.KEY), ("page for a browser", Kind.PAGE), ("redirects", Kind.REDIRECT)):
        kind = other if word in text else kind
    kind = Kind.BUSY if "busy or loads" in text else kind
    return Fault(kind=kind, severity=Severity.WRONG, what=what or remedy, remedy=remedy if what else "")


_ASLEEP = Fault(
    kind=Kind.ASLEEP,
    severity=Severity.WRONG,
    what="the server sleeps (/is_sleeping says so): it answers no request until it is woken",
    remedy="wake it: POST /wake_up",
)


def checked_json(checked: Checked) -> str:
    """What was found, for machines; without the key."""
    found, target = checked.speed, checked.target
    told = json.dumps(
        {
            "url": target.base_url if target else None,
            "model": target.model if target else None,
            "works": checked.works,
            "faults": [
                {"kind": one.kind.value, "severity": one.severity.value, "what": one.what, "remedy": one.remedy or None}
                for one in checked.faults
            ],
            "request": dict(checked.request) or None,
            "plain": _reply_json(checked.plain),
            "streamed": _reply_json(checked.streamed),
            "one_user": {
                "ttft_s": found.ttft_s if found else None,
                "tokens_per_s": found.tokens_per_s if found else None,
                "plain_s": found.plain_s if found else None,
            },
            "advice": checked.advice and {"family": checked.advice.family, "source": checked.advice.source},
        },
        indent=2,
        ensure_ascii=False,
    )
    return told.encode("utf-8", "replace").decode()


def _reply_json(reply: Reply | None) -> dict[str, Any] | None:
    if reply is None:
        return None
    return {
        "text": reply.text,
        "reasoning": reply.reasoning or None,
        "finish_reason": reply.finish_reason,
        "prompt_tokens": reply.prompt_tokens,
        "output_tokens": reply.output_tokens,
        "chunks": len(reply.times_s) or None,
    }
