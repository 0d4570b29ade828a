"""One GPU's search space: the YAML's keys in, a value that says which points are valid out.

A point is a mapping of engine arguments to values. It may name only some of the parameters: vLLM's defaults are the
rest. The space does not know models, samplers or what a point is worth.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, StrictFloat, StrictStr, ValidationError, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

from tuner.errors import UsageError
from tuner.space import gpus
from tuner.space.parameters import Categorical, Parameter, Scalar, meeting, shown
from tuner.space.rules import Rule
from tuner.space.speculation import broken, is_of_speculation, problems, unsaid
from tuner.space.words import (
    ARGUMENT,
    SECRET_ARGUMENTS,
    TUNERS_OWN,
    not_a_name,
    not_a_variable,
    not_printable,
    whole_of,
)
from tuner.types import Params, Value

UNSET = gpus.UNSET

_Problem = tuple[tuple[str | int, ...], str]
_Name = Annotated[str, Field(pattern=rf"^{ARGUMENT.pattern}$")]


class Gpu(BaseModel):
    """The card: its names as NVML prints them, and the data sheet's numbers of the first of them. No names: the CPU."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    names: tuple[str, ...]
    memory_gib: Annotated[StrictFloat, Field(gt=0)] | None = None
    compute_capability: str | None = Field(default=None, pattern=r"^\d+\.\d+$")
    bandwidth_gb_per_s: Annotated[StrictFloat, Field(gt=0)] | None = None
    tflops: Mapping[str, Annotated[StrictFloat, Field(gt=0)]] = {}
    source: str = ""

    @model_validator(mode="after")
    def _is_a_gpu_or_the_cpu(self) -> Self:
        if bool(self.names) != (self.compute_capability is not None):
            raise ValueError("names and compute_capability belong together: a GPU has both, the CPU neither")
        return self

    @property
    def capability(self) -> gpus.Capability | None:
        """(major, minor), None for the CPU."""
        return gpus.parse_capability(self.compute_capability)

    def is_called(self, name: str) -> bool:
        """Whether NVML's `name` is this card."""
        return gpus.canonical_name(name) in map(gpus.canonical_name, self.names)


class SearchSpace(BaseModel):
    """What is tried on one GPU. `fixed` and `environment` are part of every trial, the defaults included; `enqueue` are
    points worth a launch before the sampler has learned anything."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: str = ""
    gpu: Gpu
    environment: Mapping[str, StrictStr] = {}
    fixed: Mapping[_Name, Scalar] = {}
    parameters: Mapping[_Name, Parameter] = Field(min_length=1)
    rules: tuple[Rule, ...] = ()
    enqueue: tuple[Mapping[str, Scalar], ...] = ()

    @model_validator(mode="after")
    def _is_sound(self) -> Self:
        if problems := list(self._problems()):
            raise ValidationError.from_exception_data(
                "SearchSpace",
                [
                    InitErrorDetails(type=PydanticCustomError("space", "{why}", {"why": why}), loc=where, input=None)
                    for where, why in problems
                ],
            )
        return self

    def active(self, params: Params) -> frozenset[str]:
        """The parameters whose `when` is met by `params`."""
        point = {**self.fixed, **params}
        return frozenset(name for name, parameter in self.parameters.items() if not _unmet(parameter.when, point))

    def violations(self, params: Params) -> list[str]:
        """Why this point cannot be tried, one sentence each; empty when it can."""
        outside = [why for name, value in params.items() if (why := self._why_not(name, value, params))]
        point = {**self.fixed, **params}
        outside += [why for _, why in broken({**unsaid(self.parameters), **point})]
        return outside + [why for rule in self.rules if (why := _broken(rule, point))]

    def with_fixed(self, params: Params) -> Self:
        """The space with these arguments fixed by the user: they leave the search. Raises UsageError if the card cannot
        run one of them."""
        known = {*self.fixed, *self.parameters, *params}
        for name, value in params.items():
            if why := gpus.why_not(self.gpu.capability, name, value):
                raise UsageError(f"{why}; choose another value or another --gpu")
            whole = whole_of(name, known)
            if part := (name if whole else next((one for one in known if whole_of(one, (name,))), None)):
                raise UsageError(f"{part} is a part of {whole or name}, and both are given: leave one of them out")
        fixed = {**self.fixed, **params}
        left = {
            name: parameter
            for name, parameter in self.parameters.items()
            if name not in fixed
            and all(other not in fixed or fixed[other] in meeting(value) for other, value in parameter.when.items())
        }
        return self._with(fixed, left)

    def with_quantized_models(self, models: Mapping[str, str]) -> Self:
        """The space with only those quantizations of another checkpoint whose checkpoint is given, as {"awq": model}.

        Raises UsageError for a quantization that this space does not search.
        """
        searched = self.parameters.get("quantization")
        choices = searched.choices if isinstance(searched, Categorical) else (self.fixed.get("quantization", UNSET),)
        possible = gpus.CHECKPOINT_QUANTIZATIONS.intersection(map(str, choices))
        for quantization in models:
            if quantization not in possible:
                raise UsageError(
                    f"--quantized-model {quantization}: the search space {self.name} takes a quantized model for"
                    f" {' and '.join(sorted(possible)) or 'no quantization'}"
                )
        if not isinstance(searched, Categorical):
            return self
        kept = tuple(choice for choice in choices if choice in models or choice not in possible)
        left = dict(self.parameters)
        if kept:
            left["quantization"] = searched.model_copy(update={"choices": kept})
        else:
            del left["quantization"]
        return self._with(self.fixed, left)

    def with_choices(self, name: str, kept: Sequence[Value]) -> Self:
        """The space with only these choices of a parameter; without it, and what hangs on it, where "none" alone is left."""
        parameter, left = self.parameters[name], dict(self.parameters)
        if not isinstance(parameter, Categorical) or tuple(kept) == parameter.choices:
            return self
        left[name] = parameter.model_copy(update={"choices": tuple(kept)})
        is_off = set(kept) <= {UNSET}
        for other, found in self.parameters.items():
            hangs = name in found.when and not any(choice in meeting(found.when[name]) for choice in kept)
            if hangs or (is_off and is_of_speculation(name) and is_of_speculation(other)) or (is_off and other == name):
                del left[other]
        return self._with(self.fixed, left)

    def digest(self) -> str:
        """A hash of what is searched; the texts, the name and the card's data sheet do not change it."""
        content = self.model_dump(mode="json", exclude={"name": True, "gpu": True, "rules": {"__all__": {"because"}}})
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]

    def _with(self, fixed: Params, parameters: Mapping[str, Parameter]) -> Self:
        """This space with a smaller search. Enqueued points lose what has left it, and go when that breaks them."""
        smaller = self.model_copy(update={"fixed": fixed, "parameters": parameters, "enqueue": ()})
        enqueue: list[Params] = []
        for point in self.enqueue:
            rest = {name: value for name, value in point.items() if name in parameters}
            if rest and rest not in enqueue and not smaller.violations(rest):
                enqueue.append(rest)
        return smaller.model_copy(update={"enqueue": tuple(enqueue)})

    def _why_not(self, name: str, value: Value, params: Params) -> str | None:
        parameter = self.parameters.get(name)
        if parameter is None:
            if name in self.fixed:
                return None if value == self.fixed[name] else f"{name} is fixed to {shown(self.fixed[name])}"
            return f"{name} is not a parameter of this search space"
        if unmet := _unmet(parameter.when, {**self.fixed, **params}):
            return f"{name} is only searched when {unmet}"
        if outside := parameter.why_outside(value):
            return f"{name} {shown(value)} {outside}"
        return None

    def _problems(self) -> Iterator[_Problem]:
        """What is wrong between the keys: where it is written, and a sentence."""
        yield from self._problems_with_words()
        yield from self._problems_with_the_card()
        yield from problems(self.fixed, self.parameters)
        known = dict(self.fixed)
        for name, parameter in self.parameters.items():
            if name in self.fixed:
                yield ("parameters", name), "this parameter is also in fixed; leave it in one of them"
            for other, value in parameter.when.items():
                if other not in known:
                    why = f"{other} is neither fixed nor a parameter above {name}"
                    yield ("parameters", name, "when", other), why
                elif other in self.parameters and (outside := _outside(self.parameters[other], value)):
                    yield ("parameters", name, "when", other), f"{other} {outside}"
            known[name] = parameter.example
        for index, rule in enumerate(self.rules):
            if missing := [name for name in rule.names if name not in known]:
                yield ("rules", index, "require"), f"{missing[0]} is neither fixed nor a parameter"
            elif error := _not_computable(rule, known):
                yield ("rules", index, "require"), error
        for index, point in enumerate(self.enqueue):
            for why in self.violations(point):
                yield ("enqueue", index), why

    def _problems_with_words(self) -> Iterator[_Problem]:
        """Names that are none, and what must not be stored."""
        if self.name and (why := not_a_name(self.name)):
            yield ("name",), why
        for name, value in self.environment.items():
            if why := not_a_variable(name, value):
                yield ("environment", name), why
        for part, names in (("fixed", self.fixed), ("parameters", self.parameters)):
            for name in names:
                if name in SECRET_ARGUMENTS:
                    why = (
                        f"a secret would be stored with every trial: set {SECRET_ARGUMENTS[name]} in the shell instead"
                    )
                    yield (part, name), why
                elif name in TUNERS_OWN:
                    yield (part, name), f"tuner itself gives {name} to each server: leave it out"
                elif whole := whole_of(name, (*self.fixed, *self.parameters)):
                    yield (part, name), f"this is a part of {whole}, which is also given: leave one of them out"
        for name, fixed in self.fixed.items():
            if isinstance(fixed, str) and (why := not_printable(fixed)):
                yield ("fixed", name), why

    def _problems_with_the_card(self) -> Iterator[_Problem]:
        card = self.gpu.capability
        for name, value in self.fixed.items():
            if why := gpus.why_not(card, name, value):
                yield ("fixed", name), why
        for name, parameter in self.parameters.items():
            if isinstance(parameter, Categorical):
                for index, choice in enumerate(parameter.choices):
                    if why := gpus.why_not(card, name, choice):
                        yield ("parameters", name, "choices", index), why


def _outside(parameter: Parameter, wanted: Value) -> str | None:
    """Why a condition cannot be met, or a value of its list never is."""
    whole, *each = meeting(wanted)
    if parameter.why_outside(whole) is None:
        return None
    return next((f"{shown(one)} {why}" for one in each or [whole] if (why := parameter.why_outside(one))), None)


def _unmet(when: Params, point: Params) -> str:
    """The conditions that `point` does not meet, as text."""
    unmet = {name: meeting(value) for name, value in when.items() if point.get(name) not in meeting(value)}
    return " and ".join(f"{name} is {' or '.join(map(shown, values[1:] or values))}" for name, values in unmet.items())


def _broken(rule: Rule, point: Params) -> str | None:
    if why := _not_computable(rule, point):
        return why
    if rule.holds(point):
        return None
    values = ", ".join(f"{name} {shown(point[name])}" for name in rule.names)
    return f"{rule.require} is broken by {values}: {rule.because}"


def _not_computable(rule: Rule, point: Params) -> str | None:
    try:
        rule.holds(point)
    except (TypeError, ZeroDivisionError, OverflowError) as error:
        return f"{rule.require} cannot be computed: {error}"
    return None
