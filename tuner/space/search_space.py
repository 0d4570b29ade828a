"""One GPU's search space: the YAML's keys in, a value that says which points are valid out.

A point is a mapping of engine arguments to values. It may name only some of the parameters: vLLM's defaults are the
rest. The space does not know models, samplers or what a point is worth.
"""

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, StrictFloat, StrictStr, ValidationError, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

from tuner.errors import UsageError, did_you_mean
from tuner.space import gpus
from tuner.space.engines import ENGINES, not_engines
from tuner.space.parameters import Categorical, Parameter, Scalar, meeting, never_met, shown, unmet
from tuner.space.rules import Rule
from tuner.space.searched_speculation import problems
from tuner.space.speculation import broken, is_of_speculation, unsaid
from tuner.space.words import (
    ARGUMENT,
    TUNERS_OWN,
    instead_of_secret,
    not_a_name,
    not_a_variable,
    not_printable,
    whole_of,
)
from tuner.types import Params, Value

UNSET = gpus.UNSET
#: Every group, where groups are chosen, but for that of the parallel sizes, whose trials take more GPUs: that is named.
ALL = "all"
PARALLEL = "parallel"

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


class Group(BaseModel):
    """Parameters that are searched together or not at all: what they are for, when they are worth it, and whether they are
    searched where nobody chooses."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    about: str = Field(min_length=1)
    worth: str = Field(min_length=1)
    open: bool = True


class SearchSpace(BaseModel):
    """What is tried on one GPU. `fixed` and `environment` are part of every trial, the defaults included; `enqueue` are
    points worth a launch before the sampler has learned anything."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: str = ""
    gpu: Gpu
    environment: Mapping[str, StrictStr] = {}
    fixed: Mapping[_Name, Scalar] = {}
    groups: Mapping[_Name, Group] = {}
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
        return frozenset(name for name, parameter in self.parameters.items() if not unmet(parameter.when, point))

    def violations(self, params: Params, usual: Params | None = None) -> list[str]:
        """Why this point cannot be tried, one sentence each; empty when it can. Values that are the `usual` ones may lie
        outside of what is searched."""
        usual = usual or {}
        searched = {name: value for name, value in params.items() if usual.get(name) != value}
        outside = [why for name, value in searched.items() if (why := self._why_not(name, value, params))]
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
        found = self._with(fixed, left)
        for _, why in found._problems_with_graphs():
            raise UsageError(f"{why}; choose another value or another --gpu")
        return found

    def with_groups(self, chosen: Sequence[str] | None = None) -> Self:
        """The space with the parameters of these groups and of none; of the open ones without a choice, of all for ["all"].
        The parallel sizes are searched only where they are named, and from the first trial on.

        Raises UsageError for a group that is not there, and where nothing would be left.
        """
        names = chosen if chosen is not None else [name for name, group in self.groups.items() if group.open]
        if ALL in names:
            named = [name for name in names if name != ALL]
            names = [*(name for name in self.groups if name != PARALLEL and name not in named), *named]
        if not self.groups and names:
            raise UsageError(f"--groups {','.join(names)}: the search space {self.name} has no groups: leave it out")
        for name in names:
            if name not in self.groups:
                known = f"{', '.join(self.groups)}, or {ALL}"
                raise UsageError(
                    f"--groups {name}: the search space {self.name} has no such group{did_you_mean(name, self.groups)}:"
                    f" it has {known}"
                )
        kept = {
            name: group.model_copy(update={"open": group.open or name == PARALLEL})
            for name, group in self.groups.items()
            if name in names
        }
        smaller = self.without({n for n, p in self.parameters.items() if p.group is not None and p.group not in kept})
        if not smaller.parameters:
            raise UsageError(
                f"--groups {','.join(names)}: nothing is left to search in {self.name}: choose more groups"
            )
        return smaller.model_copy(update={"groups": kept})

    def with_memory(self, memory_bytes: int) -> Self:
        """The space for a card with so much memory."""
        gpu = self.gpu.model_copy(update={"memory_gib": memory_bytes / 2**30})
        return self.model_copy(update={"gpu": gpu})

    def without(self, names: Collection[str]) -> Self:
        """The space without these parameters: vLLM's defaults rule for them. A `when` on one of them is decided by its first
        choice, which is vLLM's default in the files that come with tuner."""
        if not names:
            return self
        usual = {name: self.parameters[name].example for name in names}
        left: dict[str, Parameter] = {}
        for name, parameter in self.parameters.items():
            gone = {
                other: value for other, value in parameter.when.items() if other in self.parameters.keys() - left.keys()
            }
            if name not in names and all(
                other in usual and usual[other] in meeting(value) for other, value in gone.items()
            ):
                when = {other: value for other, value in parameter.when.items() if other not in gone}
                left[name] = parameter.model_copy(update={"when": when})
        return self._with(self.fixed, left)

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
        """A hash of what is searched; the texts, the name, the names of groups and the card's data sheet do not change it."""
        left_out: dict[str, Any] = {"name": True, "gpu": True, "groups": True, "rules": {"__all__": {"because"}}}
        content = self.model_dump(mode="json", exclude=left_out)
        for parameter in content["parameters"].values():
            del parameter["group"]  # those of closed groups are not here
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]

    def _with(self, fixed: Params, parameters: Mapping[str, Parameter]) -> Self:
        """This space with a smaller search. Enqueued points and rules lose what has left it, and go when that breaks them."""
        rules = tuple(rule for rule in self.rules if all(name in parameters or name in fixed for name in rule.names))
        smaller = self.model_copy(update={"fixed": fixed, "parameters": parameters, "rules": rules, "enqueue": ()})
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
        if why := unmet(parameter.when, {**self.fixed, **params}):
            return f"{name} is only searched when {why}"
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
            if parameter.group is not None and parameter.group not in self.groups:
                near = did_you_mean(parameter.group, self.groups)
                names = ", ".join(self.groups) or "none"
                yield (
                    ("parameters", name, "group"),
                    f"there is no group {parameter.group}{near} below `groups`, where there are: {names}",
                )
            for other, value in parameter.when.items():
                if other not in known:
                    why = f"{other} is neither fixed nor a parameter above {name}"
                    yield ("parameters", name, "when", other), why
                elif other in self.parameters and (outside := never_met(self.parameters[other], value)):
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
                if instead := instead_of_secret(name):
                    yield (part, name), f"a secret would be stored with every trial: {instead}"
                elif name == ENGINES and (why := self._no_engines(part)):
                    yield (part, name), why
                elif name in TUNERS_OWN:
                    yield (part, name), f"tuner itself gives {name} to each server: leave it out"
                elif whole := whole_of(name, (*self.fixed, *self.parameters)):
                    yield (part, name), f"this is a part of {whole}, which is also given: leave one of them out"
        for name, fixed in self.fixed.items():
            if isinstance(fixed, str) and (why := not_printable(fixed)):
                yield ("fixed", name), why

    def _no_engines(self, part: str) -> str | None:
        """What is wrong with the numbers of engines, of which vLLM knows nothing and so refuses none."""
        if part == "fixed":
            return not_engines(self.fixed[ENGINES])
        parameter = self.parameters[ENGINES]
        if isinstance(parameter, Categorical):
            return next((why for choice in parameter.choices if (why := not_engines(choice))), None)
        return not_engines(parameter.low)

    def _problems_with_the_card(self) -> Iterator[_Problem]:
        card = self.gpu.capability
        yield from self._problems_with_graphs()
        for name, value in self.fixed.items():
            if why := gpus.why_not(card, name, value):
                yield ("fixed", name), why
        for name, parameter in self.parameters.items():
            if isinstance(parameter, Categorical):
                for index, choice in enumerate(parameter.choices):
                    if why := gpus.why_not(card, name, choice):
                        yield ("parameters", name, "choices", index), why

    def _problems_with_graphs(self) -> Iterator[_Problem]:
        backends = self._values(*gpus.BACKENDS) or (UNSET,)
        if "FULL" in self._values(gpus.MODE) and (why := gpus.why_not_full_graphs(self.gpu.capability, backends)):
            searched = self.parameters.get(gpus.MODE)
            if isinstance(searched, Categorical):
                yield ("parameters", gpus.MODE, "choices", searched.choices.index("FULL")), why
            else:
                yield ("fixed", gpus.MODE), why

    def _values(self, *names: str) -> tuple[Value, ...]:
        """All values that the first of these arguments may have which is fixed or searched."""
        for name in names:
            searched = self.parameters.get(name)
            if isinstance(searched, Categorical):
                return searched.choices
            if name in self.fixed:
                return (self.fixed[name],)
        return ()


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
