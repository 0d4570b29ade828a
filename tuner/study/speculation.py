"""A search space with speculative decoding in; what of it can be searched with this model and workload out, or why it cannot.

A method that needs what is not there leaves the search: a draft model that was not given, layers that the checkpoint does not
have. What was asked for by name is refused instead. It starts nothing, and asks no vLLM.
"""

from collections.abc import Iterator
from pathlib import Path

from tuner.errors import UsageError
from tuner.space.drafting import config_json, method_of, mtp_layers, vocabulary
from tuner.space.gpus import UNSET
from tuner.space.parameters import Categorical, Int, Parameter
from tuner.space.search_space import ALL, SearchSpace
from tuner.space.speculation import (
    METHOD,
    MODEL,
    OF_A_MODEL,
    OF_THE_TEXT,
    TOKENS,
    broken,
    config_of,
    is_mtp,
    is_of_speculation,
    key_of,
    why_not_method,
)
from tuner.space.yaml_file import line_in
from tuner.study.checks import draft_model, groups_of, model_named
from tuner.study.options import Options
from tuner.types import Params, Workload
from tuner.types.settings import list_text

_WAYS_OUT = "take a workload with a dataset, or give what was measured on one as `acceptance_rates` in the workload"


def speculative_space(space: SearchSpace, options: Options, workload: Workload) -> SearchSpace:
    """The space with the methods that can be tried, or without speculation where that has none. Raises UsageError for what was
    asked for and cannot be: by a fixed method, or by a space whose methods all need what is not there."""
    return _Asked(space, options, workload).checked()


class _Asked:
    """What a space asks for, and where."""

    def __init__(self, space: SearchSpace, options: Options, workload: Workload) -> None:
        self._space, self._options, self._workload = space, options, workload
        self._draft, self._model = draft_model(options), model_named(options.model)
        names = {key_of(name): name for name in (*space.fixed, *space.parameters) if is_of_speculation(name)}
        self._names = {"method": METHOD, "model": MODEL, "num_speculative_tokens": TOKENS, **names}

    def checked(self) -> SearchSpace:
        if "method" in self._searched():
            return self._narrowed()
        self._check_fixed()
        fixed = config_of(self._space.fixed)
        method = str(fixed.get("method") or method_of(str(fixed.get("model")))) if fixed else UNSET
        if self._draft is not None and (method not in OF_A_MODEL or "model" in fixed):
            raise UsageError(
                f"--draft-model {self._draft}: nothing would use it: search space {self._space.name} neither searches nor fixes"
                f" a {METHOD} that takes it (see --groups)"
            )
        if fixed and (why := self._why_not(method)):
            raise self._wrong("method" if "method" in fixed else "model", why)
        return self._space if self._draft is None else self._space.with_fixed({self._names["model"]: self._draft})

    def _narrowed(self) -> SearchSpace:
        """Without the methods that cannot be tried."""
        parameter = self._searched()["method"]
        choices = parameter.choices if isinstance(parameter, Categorical) else ()
        reasons = {str(choice): self._why_not(str(choice)) for choice in choices if choice != UNSET}
        kept = [choice for choice in choices if not reasons.get(str(choice))]
        if self._draft is not None and not any(method in kept for method in OF_A_MODEL):
            why = reasons.get(method_of(self._draft)) or f"search space {self._space.name} has no method that uses it"
            raise UsageError(f"--draft-model {self._draft}: {why}")
        if reasons and all(reasons.values()) and ALL not in (groups_of(self._options) or ()):
            raise self._wrong("method", next(why for why in reasons.values() if why))
        space, users = self._space.with_choices(self._names["method"], kept), [m for m in OF_A_MODEL if m in kept]
        groups = {parameter.group for parameter in space.parameters.values()}
        space = space.model_copy(update={"groups": {name: g for name, g in space.groups.items() if name in groups}})
        if self._draft is None or not users or "model" in self._asked_for():
            return space
        when: Params = {self._names["method"]: users[0] if len(users) == 1 else list_text(users)}
        draft = parameter.model_copy(update={"choices": (self._draft,), "when": when})
        return space.model_copy(update={"parameters": {**space.parameters, self._names["model"]: draft}})

    def _asked_for(self) -> set[str]:
        """The keys of the speculative config that the space names."""
        return {key_of(name) for name in (*self._space.fixed, *self._space.parameters) if is_of_speculation(name)}

    def _check_fixed(self) -> None:
        for key, sentence in broken(self._space.fixed):
            raise self._wrong(key, sentence)
        if (method := config_of(self._space.fixed).get("method")) and (why := why_not_method(method)):
            raise self._wrong("method", why)

    def _why_not(self, method: str) -> str | None:
        """Why a method cannot be tried; None where it can."""
        return next(iter(self._against(method)), None)

    def _against(self, method: str) -> Iterator[str]:
        if method in OF_A_MODEL:
            yield from self._against_draft(method)
        if is_mtp(method) and config_of(self._space.fixed).get("model") is None:
            config = config_json(self._model)
            if config is not None and not mtp_layers(config):
                yield f"{method} needs a checkpoint with layers for it (num_nextn_predict_layers), and {self._model} has none"
            elif config is None and "method" in self._searched():
                yield f"{method} needs a checkpoint with layers for it, and {self._model} is not on this machine to tell"
        yield from self._against_text(method)

    def _against_draft(self, method: str) -> Iterator[str]:
        named = config_of({METHOD: method, **self._space.fixed}).get("model")
        draft = str(named) if named is not None else self._draft
        if draft is None:
            yield f"{method} needs a model that drafts: give it with --draft-model MODEL"
            return
        if named is not None:
            try:
                draft = model_named(draft, self._names["model"])
            except UsageError as error:
                yield str(error)
                return
        if named is None and (own := method_of(draft)) != method:
            yield f"{draft} is for the method {own}"
            return
        sizes = [vocabulary(config) for model in (draft, self._model) if (config := config_json(model)) is not None]
        is_free = self._space.fixed.get("speculative_config.use_heterogeneous_vocab") is True
        if method == "draft_model" and not is_free and len(sizes) == 2 and None not in sizes and sizes[0] != sizes[1]:
            yield f"{draft} has {sizes[0]:,} tokens in its vocabulary and {self._model} {sizes[1]:,}: they must be the same"

    def _against_text(self, method: str) -> Iterator[str]:
        """Drafts of random words are accepted otherwise than those of text: a gain on them is none."""
        workload = self._workload
        if workload.dataset is not None:
            return
        acceptance = workload.acceptance_rates or workload.acceptance_length
        if not acceptance:
            yield f"{method} drafts, and the prompts of workload {workload.name} are random words: {_WAYS_OUT}"
        elif method in OF_THE_TEXT:
            yield (
                f"{method} drafts only where a text repeats itself, which no acceptance that was measured tells of: take a"
                " workload with a dataset"
            )
        elif (tokens := self._tokens()) is None:
            yield f"the acceptance of workload {workload.name} needs the number of drafted tokens: add {TOKENS}"
        elif workload.acceptance_rates and max(tokens) > (known := len(workload.acceptance_rates)):
            yield (
                f"acceptance_rates of workload {workload.name} tell of {known} drafted tokens, and {max(tokens)} are asked"
                " for: give as many rates, or draft fewer"
            )
        elif workload.acceptance_length is not None and min(tokens) != max(tokens):
            yield (
                f"acceptance_length of workload {workload.name} is that of one number of drafted tokens, and"
                f" {min(tokens)} to {max(tokens)} are searched: fix {TOKENS}, or give acceptance_rates"
            )
        elif workload.acceptance_length is not None and workload.acceptance_length > tokens[0] + 1:
            yield (
                f"acceptance_length {workload.acceptance_length:g} of workload {workload.name} is above {tokens[0] + 1}:"
                f" {tokens[0]} drafted tokens bring no more"
            )

    def _tokens(self) -> tuple[int, int] | None:
        """The least and the most tokens of a draft."""
        match self._searched().get("num_speculative_tokens"):
            case Int(low=low, high=high):
                return low, high
            case Categorical(choices=choices):
                numbers = [choice for choice in choices if isinstance(choice, int)]
                return (min(numbers), max(numbers)) if numbers else None
        fixed = config_of({METHOD: "any", **self._space.fixed}).get("num_speculative_tokens")
        return (fixed, fixed) if isinstance(fixed, int) else None

    def _searched(self) -> dict[str, Parameter]:
        return {key_of(name): found for name, found in self._space.parameters.items() if is_of_speculation(name)}

    def _wrong(self, key: str, why: str) -> UsageError:
        """With where it was said."""
        name = self._names.get(key, key)
        if any(text.partition("=")[0] == name for text in self._options.engine_arg):
            return UsageError(f"--engine-arg {name}: {why}")
        part = "fixed" if name in self._space.fixed else "parameters"
        if self._options.space is None:
            return UsageError(f"search space {self._space.name}: {name}: {why}")
        path = Path(self._options.space)
        return UsageError(f"{path}:{line_in(path, [(part, name)]) or 1}: {part}.{name}: {why}")
