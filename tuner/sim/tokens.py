"""Text in, token ids out, and back: a tokenizer that needs no file, for models whose answers nobody reads. Pure.

A word is a token: "w300" is token 300. Other words are as many tokens as they have times four characters, which is about right
for English. A chat message has three tokens around it.
"""

import zlib
from collections.abc import Mapping, Sequence
from typing import Any

#: Where the words begin; below are the template's tokens and the bytes of other vocabularies.
_FIRST_WORD = 256
#: The words of a vocabulary, or as many as it has.
_WORDS = 16384
_CHARACTERS_PER_TOKEN = 4
_BEGIN, _ROLE, _END = 1, 2, 3
#: What every answer is made of.
ANSWER_ID = 300


class Tokenizer:
    """The tokenizer of a vocabulary of `vocabulary` tokens."""

    def __init__(self, vocabulary: int) -> None:
        self.vocabulary = vocabulary
        self._words = {f"w{number}": number for number in range(_FIRST_WORD, min(_WORDS, vocabulary))}
        self._others: dict[str, tuple[int, ...]] = {}
        self.answer_word = next((word for word, number in self._words.items() if number == ANSWER_ID), "w")

    def encode(self, text: str) -> list[int]:
        words = text.split()
        found = list(map(self._words.get, words))
        return [
            number
            for word, known in zip(words, found, strict=True)
            for number in ((known,) if known is not None else self._other(word))
        ]

    def decode(self, ids: Sequence[int]) -> str:
        """Ids that are no word leave nothing."""
        return "".join(f" w{number}" for number in ids if _FIRST_WORD <= number < min(_WORDS, self.vocabulary))

    def encode_chat(self, body: Mapping[str, Any]) -> list[int]:
        """The messages of a request in the template: the opening of the answer after them, unless the last message goes on."""
        found: list[int] = []
        for message in body["messages"]:
            found += (_BEGIN, _ROLE, *self.encode(_text(message.get("content"))), _END)
        if body.get("continue_final_message"):
            return found[:-1]
        return [*found, _BEGIN, _ROLE] if body.get("add_generation_prompt", True) else found

    def _other(self, word: str) -> tuple[int, ...]:
        if word not in self._others:
            if len(self._others) > _WORDS:
                self._others.clear()
            pieces = [word[at : at + _CHARACTERS_PER_TOKEN] for at in range(0, len(word), _CHARACTERS_PER_TOKEN)]
            self._others[word] = tuple(4 + zlib.crc32(piece.encode()) % (_FIRST_WORD - 4) for piece in pieces)
        return self._others[word]


def _text(content: str | Sequence[Mapping[str, str]] | None) -> str:
    """A message's words; it may come in parts."""
    if isinstance(content, str) or content is None:
        return content or ""
    return " ".join(part.get("text", "") for part in content)
