"""A file of questions in; what a server is asked to see whether its answers are unharmed, out. It asks nobody.

JSONL, one object a line: {"prompt": text} and {"messages": [...]} are answered greedily, {"text": text} is a piece of text that
the model foretells. The file that comes with tuner, questions.jsonl, was written for it. What the user's file has none of is
taken from there. What is the same twice is asked once: it would count as evidence twice.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tuner.decide.quality import LEAST_PIECES
from tuner.errors import UsageError
from tuner.workload.textlines import open_data, read_lines

SHIPPED = Path(__file__).parent / "questions.jsonl"
#: More would take longer than the load.
MAX_PROMPTS, MAX_TEXTS = 1_000, 1_000
_MAX_BYTES = 64 << 20
_FORMS = '{"prompt": TEXT}, {"messages": [{"role": ..., "content": ...}]} or {"text": TEXT}'

Prompt = str | tuple[Mapping[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Questions:
    """`prompts` are to be continued, or answered where they are messages; `texts` are to be foretold."""

    prompts: tuple[Prompt, ...]
    texts: tuple[str, ...]

    @property
    def digest(self) -> str:
        """The same for the same questions."""
        return hashlib.sha256(json.dumps([self.prompts, self.texts]).encode()).hexdigest()[:16]


def read_questions(path: Path | None = None) -> Questions:
    """Those of a file, else those that come with tuner. Raises UsageError with file and line for what is none, and where there
    are too few to say anything."""
    shipped = _read(SHIPPED)
    if path is None:
        return shipped
    found = _read(path)
    for what, count, most in (
        ("questions", len(found.prompts), MAX_PROMPTS),
        ("pieces of text", len(found.texts), MAX_TEXTS),
    ):
        if 0 < count < LEAST_PIECES:
            raise UsageError(
                f"--quality-data {path} has {count} different {what}: of fewer than {LEAST_PIECES} nothing can be said"
            )
        if count > most:
            raise UsageError(f"--quality-data {path} has {count:,} {what}, and {most:,} are the most")
    if not found.prompts and not found.texts:
        raise UsageError(f"--quality-data {path} has no question: expected {_FORMS}, one a line")
    return Questions(prompts=found.prompts or shipped.prompts, texts=found.texts or shipped.texts)


def _read(path: Path) -> Questions:
    prompts: list[Prompt] = []
    texts: list[str] = []
    with open_data(path) as file:
        for number, line in enumerate(read_lines(path, file, _MAX_BYTES), start=1):
            if not line.strip():
                continue
            found = _entry(line, f"{path}:{number}")
            if isinstance(found, _Text):
                texts.append(found.text)
            else:
                prompts.append(found)
    once = {json.dumps(prompt): prompt for prompt in prompts}
    return Questions(prompts=tuple(once.values()), texts=tuple(dict.fromkeys(texts)))


@dataclass(frozen=True, slots=True)
class _Text:
    text: str


def _entry(line: str, where: str) -> "Prompt | _Text":
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{where}: this is no JSON: expected {_FORMS}") from error
    match entry:
        case {"prompt": str(prompt)} if prompt.strip():
            return prompt
        case {"text": str(text)} if len(text.split()) > 1:
            return _Text(text)
        case {"messages": [_, *_] as messages} if all(map(_is_message, messages)):
            return tuple({"role": one["role"], "content": one["content"]} for one in messages)
    raise UsageError(f"{where}: expected {_FORMS}, with some text in it")


def _is_message(message: object) -> bool:
    return isinstance(message, dict) and all(isinstance(message.get(key), str) for key in ("role", "content"))
