"""The speculative decoding of a search space in; what is wrong with it, whatever is chosen, and where it is written, out.
Pure."""

from collections.abc import Iterator, Mapping

from tuner.space.gpus import UNSET
from tuner.space.parameters import Categorical, Parameter
from tuner.space.speculation import broken, is_of_speculation, key_of, why_not_method, why_not_tokens
from tuner.types import Params, Value


def problems(fixed: Params, parameters: Mapping[str, Parameter]) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """What is wrong with the speculation of a search space whatever is chosen: where it is written, and a sentence."""
    searched = {name: parameter for name, parameter in parameters.items() if is_of_speculation(name)}
    best = {**fixed, **{name: _likely(name, parameter) for name, parameter in searched.items()}}
    where = {key_of(name): ("parameters", name) for name in searched}
    where |= {key_of(name): ("fixed", name) for name in fixed if is_of_speculation(name)}
    for key, sentence in broken(best):
        yield where.get(key, ()), sentence
    for name, parameter in searched.items():
        for place, value in _values(parameter):
            if why := _why_not_value(name, value):
                yield ("parameters", name, *place), why
    for name, value in fixed.items():
        if key_of(name) == "method" and (why := _why_not_value(name, value)):
            yield ("fixed", name), why


def _why_not_value(name: str, value: Value) -> str | None:
    if is_of_speculation(name) and key_of(name) == "method":
        return why_not_method(value)
    return why_not_tokens(value) if key_of(name) == "num_speculative_tokens" else None


def _likely(name: str, parameter: Parameter) -> Value:
    """The value with which a config is the least likely to be refused."""
    if isinstance(parameter, Categorical):
        return next((choice for choice in parameter.choices if choice != UNSET), parameter.example)
    return parameter.high if key_of(name) == "prompt_lookup_max" else max(parameter.low, 1)


def _values(parameter: Parameter) -> list[tuple[tuple[str | int, ...], Value]]:
    """Each choice, or both ends, with where it stands in the parameter."""
    if isinstance(parameter, Categorical):
        return [(("choices", index), choice) for index, choice in enumerate(parameter.choices)]
    return [(("low",), parameter.low), (("high",), parameter.high)]
