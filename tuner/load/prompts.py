"""A recipe in; request after request out, each a body of bytes with the token counts that it must have. Pure.

Synthetic prompts are random words that the model's tokenizer keeps as one token each (tuner/load/tokenizer.py). After
what a workload makes prompts share, the first words spell the request's number in that alphabet, lowest digit first, so no two
requests of any launch share a KV block by accident. The words after them are a slice of a long random text that is made once:
prefix caching hashes a block together with all before it, so slices may overlap, and a request costs microseconds to make.
"""

import json
import math
import random
from dataclasses import dataclass
from itertools import accumulate

from tuner.types import Workload
from tuner.workload.arrivals import Arrival
from tuner.workload.lengths import draw
from tuner.workload.under_way import UnderWay, Whole

#: Requests per load, and loads on a server, whose numbers stay different.
_REQUESTS = 1 << 26
_LOADS = 1 << 24
#: What a chat prompt begins with, so that the first word has a space before it even where a template strips the text.
OPENING = "Text:"
_LEAST_CORPUS = 16384
_SLOT = "\x00slot\x00"


@dataclass(frozen=True, slots=True, kw_only=True)
class Alphabet:
    """Words that are one token each after a space, their ids, and how many tokens the chat template adds to them.

    Without words there are ids alone: enough for /v1/completions, which takes prompts as ids. Without ids the server has no
    tokenizer to ask, and how many tokens a word makes is unknown: the counts are the server's. `is_vllm` is whether it heeds
    vLLM's own fields, which make the length of an answer exact.
    """

    words: tuple[str, ...]
    ids: tuple[int, ...]
    chat_overhead_tokens: int
    is_vllm: bool = True

    @property
    def size(self) -> int:
        return len(self.ids) or len(self.words)

    @property
    def digits(self) -> int:
        """How many words number every request of every load."""
        return math.ceil(math.log(_REQUESTS * _LOADS, self.size))


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """A real prompt, with what the file says to the system before it, its tokens and those of the answer it once got; None
    where they are not known."""

    text: str
    system: str | None = None
    input_tokens: int | None
    output_tokens: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """All that a worker needs to make requests. `salt` is a number that no other load on this server's cache uses."""

    workload: Workload
    model: str
    alphabet: Alphabet
    salt: int
    prompts: tuple[Prompt, ...] = ()

    @property
    def shared_tokens(self) -> int | None:
        """How many tokens all prompts begin with alike, at most; None where prompts repeat by themselves. Those of a dataset
        are taken to be all different: that they come from a cache is not what a server sees that serves others."""
        if self.workload.turns or not self.alphabet.ids:
            return None
        prefix = self.workload.shared_prefix.tokens if self.workload.shared_prefix else 0
        return prefix + (self.alphabet.chat_overhead_tokens if self.workload.api == "chat" else 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedRequest:
    """One request: its JSON, how many tokens it asks for, and the token counts that it must have; None where only the server
    knows them."""

    index: int
    body: bytes
    asked_tokens: int
    input_tokens: int | None
    output_tokens: int | None


class Planner:
    """Makes the requests of a recipe. Lengths depend on the seed and the index only: loads are compared on the same."""

    def __init__(self, recipe: Recipe) -> None:
        self._recipe, self._workload, self._alphabet = recipe, recipe.workload, recipe.alphabet
        self._is_text = recipe.workload.api == "chat" or not self._alphabet.ids
        self._pieces = _pieces(self._alphabet, as_text=self._is_text)
        self._fixed = _fixed(recipe)
        corpus = random.Random(f"{self._workload.seed}:{recipe.salt}").choices(
            self._pieces, k=max(_LEAST_CORPUS, 2 * longest_prompt(self._workload))
        )
        self._corpus = b"".join(corpus)
        self._offsets = [0, *accumulate(len(piece) for piece in corpus)]
        shared = self._workload.shared_prefix
        self._prefix_tokens = shared.tokens if shared else 0
        self._prefixes = [self._shared(number) for number in range(shared.count)] if shared else []
        slot = json.dumps(_SLOT)
        self._under_way = UnderWay(self._workload, self._answers()) if self._workload.users is not None else None
        self._before, self._after = _inside(self._prompt(_SLOT)).split((slot[1:-1] if self._is_text else slot).encode())

    def request(self, index: int, arrival: Arrival | None = None) -> PlannedRequest:
        """Request `index`, with the lengths of `arrival` where it has some."""
        lengths = random.Random(f"{self._workload.seed}:{index}")
        if self._recipe.prompts:
            prompt = self._recipe.prompts[index % len(self._recipe.prompts)]
            return self._real(
                index, prompt, prompt.output_tokens or draw(self._workload.output_tokens, lengths), lengths
            )
        input_tokens = (arrival and arrival.input_tokens) or draw(self._workload.input_tokens, lengths)
        output_tokens = (arrival and arrival.output_tokens) or draw(self._workload.output_tokens, lengths)
        return self._synthetic(index, input_tokens, output_tokens, lengths)

    def begin(self, index: int, user: int) -> tuple[PlannedRequest, int]:
        """What a user of the closed loop is in the middle of when the load begins, and how many turns of its conversation come
        after it: a prompt that ends with what has been said of the answer, and only the rest is asked for."""
        assert self._under_way is not None
        begun, lengths = self._under_way.of(user), random.Random(f"{self._workload.seed}:{index}")
        if self._recipe.prompts:
            prompt = self._recipe.prompts[begun.whole.number]
            return self._real(index, prompt, begun.left_tokens, lengths, said_tokens=begun.said_tokens), 0
        request = self._synthetic(index, begun.input_tokens, begun.left_tokens, lengths)
        return request, begun.whole.turns_left

    def words(self, request: PlannedRequest) -> str:
        """What the user says in a chat's request."""
        content: str = json.loads(request.body)["messages"][-1]["content"]
        return content

    def turn(self, index: int, said: list[dict[str, str]]) -> tuple[PlannedRequest, str]:
        """The next request of a conversation, after all that was `said`, and the user's words in it."""
        if not said:
            request = self.request(index)
            return request, self.words(request)
        lengths = random.Random(f"{self._workload.seed}:{index}")
        input_tokens, output_tokens = (
            draw(self._workload.input_tokens, lengths),
            draw(self._workload.output_tokens, lengths),
        )
        words = OPENING + self._words(index, input_tokens, lengths).decode()
        messages = [*said, {"role": "user", "content": words}]
        request = PlannedRequest(
            index=index,
            asked_tokens=output_tokens,
            body=self._body(output_tokens, _inside({"messages": messages})),
            input_tokens=None,  # the server's own words may be other tokens when they come back
            output_tokens=output_tokens if self._alphabet.is_vllm else None,
        )
        return request, words

    def _synthetic(self, index: int, input_tokens: int, output_tokens: int, lengths: random.Random) -> PlannedRequest:
        content = self._content(index, input_tokens, lengths)
        return PlannedRequest(
            index=index,
            asked_tokens=output_tokens,
            body=self._body(output_tokens, self._before + content + self._after),
            input_tokens=input_tokens if self._alphabet.ids else None,
            output_tokens=output_tokens if self._alphabet.is_vllm else None,
        )

    def _real(
        self, index: int, prompt: Prompt, output_tokens: int, lengths: random.Random, *, said_tokens: int = 0
    ) -> PlannedRequest:
        said = " ".join(lengths.choices(self._alphabet.words, k=said_tokens)) if self._alphabet.words else ""
        text = f"{prompt.text} {said}" if said else prompt.text
        return PlannedRequest(
            index=index,
            asked_tokens=output_tokens,
            body=self._body(output_tokens, _inside(self._prompt(text, prompt.system))),
            input_tokens=None if said else prompt.input_tokens,  # the text's end and the first word may be one token
            output_tokens=output_tokens if self._alphabet.is_vllm else None,
        )

    def _answers(self) -> list[Whole]:
        """The prompts of a dataset, with the lengths of their answers; none if prompts are synthetic."""
        rng = random.Random(f"{self._workload.seed}:answers")
        return [
            Whole(
                input_tokens=prompt.input_tokens or 0,
                output_tokens=prompt.output_tokens or draw(self._workload.output_tokens, rng),
                number=number,
            )
            for number, prompt in enumerate(self._recipe.prompts)
        ]

    def _prompt(self, text: str, system: str | None = None) -> dict[str, object]:
        """The fields that carry the prompt."""
        if self._workload.api == "chat":
            return chat(self._workload, text, system)
        return {"prompt": text if self._is_text else [text]}

    def _content(self, index: int, input_tokens: int, lengths: random.Random) -> bytes:
        """What stands in the template's slot: the words of the prompt, in their number."""
        count = input_tokens - (self._alphabet.chat_overhead_tokens if self._workload.api == "chat" else 0)
        prefix = self._prefixes[lengths.randrange(len(self._prefixes))] if self._prefixes else b""
        content = prefix + self._words(index, count - self._prefix_tokens, lengths)
        return OPENING.encode() + content if self._is_text else content[:-1]  # no comma after the last

    def _words(self, index: int, count: int, lengths: random.Random) -> bytes:
        base = self._alphabet.size
        number = (self._recipe.salt % _LOADS) * _REQUESTS + index
        digits = [self._pieces[number // base**place % base] for place in range(self._alphabet.digits)]
        rest = count - len(digits)
        if rest <= 0:
            return b"".join(digits[: max(count, 0)])
        first = lengths.randrange(max(1, len(self._offsets) - rest))
        last = min(first + rest, len(self._offsets) - 1)
        return b"".join(digits) + self._corpus[self._offsets[first] : self._offsets[last]]

    def _shared(self, number: int) -> bytes:
        rng = random.Random(f"{self._recipe.salt}:prefix {number}")  # whatever the seed: loads on a server share them
        return b"".join(rng.choices(self._pieces, k=self._prefix_tokens))

    def _body(self, output_tokens: int, prompt: bytes) -> bytes:
        """`ignore_eos` and `min_tokens` make the length exact: vLLM heeds no stop before min_tokens."""
        limits = b'{"max_tokens":%d,' % output_tokens
        if self._alphabet.is_vllm:
            limits += b'"min_tokens":%d,"ignore_eos":true,' % output_tokens
        return b"%s%s%s}" % (limits, self._fixed, prompt)


def longest_prompt(workload: Workload) -> int:
    """Of a synthetic one, in tokens: a user that is under way has a part of the conversation in it."""
    if workload.users is None:
        return workload.input_tokens.high
    turns = workload.turns.high if workload.turns else 1
    return turns * (workload.input_tokens.high + workload.output_tokens.high)


def _pieces(alphabet: Alphabet, *, as_text: bool) -> list[bytes]:
    """What a prompt is put together from: words, or ids of a JSON list."""
    if as_text:
        return [b" " + word.encode() for word in alphabet.words]
    return [b"%d," % number for number in alphabet.ids]


def _fixed(recipe: Recipe) -> bytes:
    """The fields that are the same in all bodies, as the inside of an object, with a comma at the end."""
    workload = recipe.workload
    fields: dict[str, object] = {
        "model": recipe.model,
        "temperature": workload.temperature,
        "top_p": workload.top_p,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    if workload.stop:
        fields["stop"] = list(workload.stop)
    return _inside(fields) + b","


def _inside(fields: dict[str, object]) -> bytes:
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode()[1:-1]


def chat(workload: Workload, text: str, system: str | None = None) -> dict[str, object]:
    """What /tokenize and /v1/chat/completions must both get, so that the count of one holds for the other. The workload's
    system prompt stands before the prompt's own."""
    messages = [{"role": "user", "content": text}]
    if systems := [said for said in (workload.system_prompt, system) if said is not None]:
        messages.insert(0, {"role": "system", "content": "\n\n".join(systems)})
    if workload.response_prefix is None:
        return {"messages": messages}
    messages.append({"role": "assistant", "content": workload.response_prefix})
    return {"messages": messages, "add_generation_prompt": False, "continue_final_message": True}
