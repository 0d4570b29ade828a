"""A model's name in; what its makers say of how to ask it out, as data, each with where they say it.

Only what the makers published is here: a field that they say nothing of is None, or empty. A name is all that is looked at, so
that a model which was renamed has no advice. Knows no server.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from tuner.types import Workload

#: What the makers of both families ask for, in their words.
_BOXED = "Please reason step by step, and put your final answer within \\boxed{}."


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """`names` is a pattern of the models' names, in lower case. `temperature` lies in `temperatures`, a range where one is
    given. With `no_system_prompt` all instructions belong to the user's words. `response_prefix` is what each answer is to be
    made to begin with; where the chat template itself does that, the answer lacks it. `math` is a sentence to add to questions
    of mathematics. `repeat`: run it several times, and take the mean. `ends` are the marks that an answer ends with: none of
    them belongs into its text."""

    family: str
    names: str
    source: str
    temperature: float
    temperatures: tuple[float, float] | None = None
    top_p: float
    top_k: tuple[int, int] | None = None
    no_greedy: bool = False
    no_system_prompt: bool = False
    response_prefix: str | None = None
    math: str | None = None
    repeat: bool = False
    ends: tuple[str, ...] = ()


#: The marks around the reasoning in an answer's text, of all families here that have such.
THINK, THOUGHT = "<think>", "</think>"

#: By family, the more special one first.
ADVICE = (
    Advice(
        family="DeepSeek-R1 and its distills",
        names=r"deepseek-r1",
        source="https://github.com/deepseek-ai/DeepSeek-R1#usage-recommendations",
        temperature=0.6,
        temperatures=(0.5, 0.7),
        top_p=0.95,
        no_greedy=True,
        no_system_prompt=True,
        response_prefix="<think>\n",
        math=_BOXED,
        repeat=True,
        ends=("<｜end▁of▁sentence｜>", "<｜User｜>"),
    ),
    Advice(
        family="QwQ",
        names=r"qwq-",
        source="https://huggingface.co/Qwen/QwQ-32B#usage-guidelines",
        temperature=0.6,
        top_p=0.95,
        top_k=(20, 40),
        no_greedy=True,
        response_prefix="<think>\n",
        math=_BOXED,
        ends=("<|im_end|>", "<|endoftext|>"),
    ),
    Advice(
        family="Qwen3, thinking",
        names=r"qwen3-(?:\d[\d.]*b(?:-a\d+b)?)(?!.*(?:instruct|base|embedding|reranker))|qwen3-.*thinking",
        source="https://huggingface.co/Qwen/Qwen3-8B#best-practices",
        temperature=0.6,
        top_p=0.95,
        top_k=(20, 20),
        no_greedy=True,
        math=_BOXED,
        ends=("<|im_end|>", "<|endoftext|>"),
    ),
    Advice(
        family="gpt-oss",
        names=r"gpt-oss-",
        source="https://github.com/openai/gpt-oss#recommended-sampling-parameters",
        temperature=1.0,
        top_p=1.0,
        ends=("<|return|>", "<|end|>", "<|call|>"),
    ),
)

#: Presets that are made after the advice for a family.
PRESET_MODELS = {"reasoning-r1": "deepseek-r1"}


def advice_for(model: str) -> Advice | None:
    """What the makers say of the model with this name or folder; None where it is of no family that is known here."""
    name = model.rstrip("/").rpartition("/")[2].lower()
    return next((advice for advice in ADVICE if re.search(advice.names, name)), None)


def advice_lines(advice: Advice) -> list[str]:
    """What it says, a sentence each."""
    return [
        f"Advice of the makers of {advice.family} ({advice.source}):",
        *(f"- {text}" for text in _sentences(advice)),
    ]


def preset_notes(workload: Workload) -> list[str]:
    """Of a preset that follows an advice: the advice, and what of it is not in the requests. Of others nothing."""
    model = PRESET_MODELS.get(workload.name)
    advice = advice_for(model) if model else None
    if advice is None:
        return []
    lines = advice_lines(advice)
    if different := departures(workload, advice):
        return [*lines, *(f"This workload does otherwise: {text}" for text in different)]
    parts = ["temperature", "top_p", *(["no system prompt"] if advice.no_system_prompt else [])]
    parts += ["the forced beginning"] if advice.response_prefix else []
    lines.append(f"The requests below have {', '.join(parts)}, and stop strings.")
    if advice.math:
        lines.append(
            "They do not ask for a boxed answer: prompts are random words of an exact length, which it would be part of."
        )
    return lines


def departures(workload: Workload, advice: Advice) -> list[str]:
    """In what a workload's requests do otherwise than the advice, a phrase each."""
    low, high = advice.temperatures or (advice.temperature, advice.temperature)
    found = []
    if not low <= workload.temperature <= high:
        found.append(f"temperature {workload.temperature:g}, not {_range(low, high)}")
    if workload.top_p != advice.top_p:
        found.append(f"top_p {workload.top_p:g}, not {advice.top_p:g}")
    if advice.no_system_prompt and workload.system_prompt is not None:
        found.append("a system prompt, which is to be left out")
    if advice.response_prefix and workload.response_prefix != advice.response_prefix:
        found.append(f"answers are not made to begin with {advice.response_prefix!r}")
    return found


def _sentences(advice: Advice) -> Iterator[str]:
    low, high = advice.temperatures or (advice.temperature, advice.temperature)
    best = f" ({advice.temperature:g} is recommended)" if low != high else ""
    yield f"temperature {_range(low, high)}{best}, top_p {advice.top_p:g}"
    if advice.top_k:
        yield f"top_k {_range(*advice.top_k)}"
    if advice.no_greedy:
        yield "no greedy decoding: answers may repeat themselves without end"
    if advice.no_system_prompt:
        yield "no system prompt: all instructions belong into the user's words"
    if advice.response_prefix:
        yield f"the answer is made to begin with {advice.response_prefix!r}"
    if advice.math:
        yield f"for mathematics, in the question: {advice.math}"
    if advice.repeat:
        yield "to tell how good it is: several runs, and their mean"


def _range(low: float, high: float) -> str:
    return f"{low:g}" if low == high else f"{low:g} to {high:g}"
