"""One entry of a dataset, in any of the forms that are published, in; what its user said first, and the answer to it, out.
Pure.

- Conversations: ShareGPT (`conversations` with `from`, `value`), LMSYS (`conversation`), the OpenAI API (`messages` with
  `role`, `content`, which may be a list of parts; also as the `body` of a batch file), and lists of texts that alternate.
- Single prompts: `prompt` (a text, or TRL's list of messages), `question`, `instruction` with its `input`, MT-Bench's `turns`,
  each with an `output`, `completion`, `response` or `answer`, or with how many tokens the answer shall have (`output_tokens`,
  as in the custom dataset of `vllm bench serve`; `output_tokens_count`, as in GuideLLM's).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tuner.workload.lengths import MAX_TOKENS

_USER = ("human", "user", "prompter")
_ASSISTANT = ("gpt", "assistant", "chatgpt", "bing", "bard", "model")
_SYSTEM = ("system", "developer")
_CONVERSATIONS = ("conversations", "conversation", "messages", "dialog", "dialogue")
_PROMPTS = ("prompt", "question", "instruction", "query", "turns", "text_input", "input", "text")
_ANSWERS = ("output", "completion", "response", "answer", "chosen", "outputs")
_BESIDE = ("input", "context")
_SYSTEMS = ("system", "system_prompt")
_TOKENS = ("output_tokens", "output_tokens_count", "output_len", "output_length", "expected_output_len", "max_tokens")
#: (role, text) of what was said; None where it is nothing that can be sent as a text.
_Said = list[tuple[object, str | None]]

EXPECTED = (
    'expected {"conversations": [{"from": "human", "value": ...}, ...]}, {"messages": [{"role": "user", "content": ...}]},'
    ' {"prompt": ...} or {"question": ...}'
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What a user said first, what the system was told before it, and the answer (None where the file has none). The answer
    shall have `output_tokens` tokens, where the file says how many."""

    prompt: str
    answer: str | None
    system: str | None = None
    output_tokens: int | None = None


def sample(entry: Mapping[str, object]) -> Sample | None:
    """None where the entry has no user's text."""
    if isinstance(body := entry.get("body"), dict):
        entry = body
    said = _conversation(entry) or _single(entry)
    first = next((place for place, (role, _) in enumerate(said) if role in _USER), None)
    if first is None or (prompt := said[first][1]) is None:
        return None
    answer = next((text for role, text in said[first + 1 : first + 2] if role in _ASSISTANT), None)
    before = [text for role, text in said[:first] if role in _SYSTEM and text is not None]
    system = before[0] if before else next((found for key in _SYSTEMS if (found := _text(entry.get(key)))), None)
    tokens = next((count for key in _TOKENS if (count := _count(entry.get(key))) is not None), None)
    return Sample(prompt=prompt, answer=answer, system=system, output_tokens=tokens)


def _conversation(entry: Mapping[str, object]) -> _Said:
    turns = next((found for key in _CONVERSATIONS if isinstance(found := entry.get(key), list)), [])
    if turns and all(isinstance(turn, str) for turn in turns):
        return [((_USER, _ASSISTANT)[place % 2][0], _text(turn)) for place, turn in enumerate(turns)]
    return _turns(turns)


def _turns(turns: Sequence[object]) -> _Said:
    return [
        (turn.get("role", turn.get("from")), _text(turn.get("content", turn.get("value"))))
        for turn in turns
        if isinstance(turn, dict)
    ]


def _single(entry: Mapping[str, object]) -> _Said:
    key = next((key for key in _PROMPTS if key in entry), None)
    asked = entry.get(key) if key else None
    if isinstance(asked, list):
        said = _turns(asked) or [("user", _text(asked[0] if asked else None))]
    else:
        more = [found for name in _BESIDE if key == "instruction" and (found := _text(entry.get(name)))]
        text = _text(asked)
        said = [("user", "\n\n".join([text, *more]) if text else None)]
    answers = (_answer(entry.get(name)) for name in _ANSWERS)
    return [*said, ("assistant", next((answer for answer in answers if answer), None))]


def _answer(value: object) -> str | None:
    if isinstance(value, list):
        return next((text for role, text in reversed(_turns(value)) if text and role not in _USER), None)
    return _text(value)


def _text(value: object) -> str | None:
    """The value if it is a text that says something and can be sent: JSON's half characters (\\ud800) cannot, nor can
    images."""
    if (
        isinstance(value, list)
        and value
        and all(isinstance(part, dict) and part.get("type") == "text" for part in value)
    ):
        value = "".join(str(part.get("text") or "") for part in value)
    if not isinstance(value, str) or not value.strip():
        return None
    try:
        value.encode()
    except UnicodeEncodeError:
        return None
    return value


def _count(value: object) -> int | None:
    """A number of tokens that can be asked for."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= MAX_TOKENS else None
