"""A search space, a model's shape and a workload in; for any settings, whether they start and what users would see, out.

It knows what cannot be predicted at all, and says so; it does not know which settings are worth asking for.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import islice
from math import inf
from statistics import fmean

from tuner.decide.objective import COST, Objective
from tuner.decide.rate_search import Bisection
from tuner.decide.slo import Slo, constraints, limits, violations
from tuner.errors import UsageError
from tuner.predict.arguments import BACKEND, EXECUTOR
from tuner.predict.conversations import conversations
from tuner.predict.margin import Verdict
from tuner.predict.memory import Memory, predict_memory
from tuner.predict.prediction import Calibration, Prediction, predict
from tuner.predict.settings import LATEST, Settings, Version, resolve
from tuner.predict.shape import Shape
from tuner.predict.unpredicted import UNPREDICTED, with_unpredicted
from tuner.space.gpus import UNSET
from tuner.space.search_space import SearchSpace
from tuner.space.speculation import METHOD
from tuner.types import Failed, Params, Workload, present
from tuner.workload.arrivals import schedule
from tuner.workload.lengths import mean
from tuner.workload.presets import max_tokens

#: Who is told what is being done, and how many of how many steps are done.
Tell = Callable[[str, int, int], None]

#: Requests over which the mean length of a workload is taken.
_DRAWN = 1000
#: Of a trace: the fewest requests that say something, and the most that are simulated.
_FEWEST, OF_A_TRACE = 20, 2000
#: An open loop whose requests end more slowly than this share of the rate is too much for the server.
_KEPT_UP = 0.9
#: How close the highest rate is looked for: finer than the predictions are right.
RATE_RESOLUTION = 0.1


@dataclass(frozen=True, kw_only=True)
class Case:
    """What is asked. `space` has what the user fixed; `quantized` are the shapes of checkpoints that are quantized already, by
    quantization; `arrivals` are those of a trace, in seconds; `version` is vLLM's."""

    space: SearchSpace
    shape: Shape
    workload: Workload
    objective: Objective
    slos: Sequence[Slo] = ()
    quantized: Mapping[str, Shape] = field(default_factory=dict)
    arrivals: Sequence[float] | None = None
    calibration: Calibration = field(default_factory=Calibration)
    version: Version = LATEST

    @property
    def card(self) -> str:
        return self.space.gpu.names[0]

    @property
    def constraints(self) -> tuple[Slo, ...]:
        """The SLOs that settings must meet."""
        return constraints((self.objective,), self.slos)

    def check(self) -> None:
        """Raises UsageError for what cannot be predicted."""
        gpu, workload = self.space.gpu, self.workload
        if gpu.capability is None:
            raise UsageError("the CPU engine is not modelled: choose a GPU (--gpu t4, for example; see `tuner spaces`)")
        known = {
            "memory_gib": gpu.memory_gib,
            "bandwidth_gb_per_s": gpu.bandwidth_gb_per_s,
            "tflops.fp16": gpu.tflops.get("fp16"),
        }
        if missing := [name for name, value in known.items() if value is None]:
            raise UsageError(
                f"the search space {self.space.name} lacks gpu.{missing[0]}: give it, from the card's data sheet"
            )
        if workload.dataset is not None:
            raise UsageError(
                f"workload {workload.name} takes its prompts from {workload.dataset.path}, whose lengths in tokens only the"
                " model's tokenizer knows: give a workload with input_tokens"
            )
        if self.arrivals is not None and len(self.arrivals) < _FEWEST:
            raise UsageError(
                f"the trace of workload {workload.name} has {len(self.arrivals)} requests: give one of at least {_FEWEST}"
            )
        if itl := [slo.name for slo in self.slos if slo.metric.startswith("itl")]:
            raise UsageError(f"--slo {itl[0]}: ITL is not predicted; limit TPOT, the mean of a request's")
        if not self.objective.is_of_the_load:
            raise UsageError(
                f"--objective {self.objective.name}: what a GPU draws is not predicted: choose another one"
            )
        if workload.output_tokens.high == 1 and self.objective.metric.startswith("tpot"):
            raise UsageError(
                f"workload {workload.name} has answers of one token, which have no TPOT: choose another objective"
            )

    @cached_property
    def mean_tokens(self) -> float:
        """Of a request, prompt and answer together."""
        asks = islice(conversations(self.workload, 0), 1, _DRAWN + 1)  # the first answer is cut
        return fmean(ask.input_tokens + ask.output_tokens for ask in asks)

    @property
    def longest_tokens(self) -> int:
        longest = max_tokens(self.workload)
        assert longest is not None  # no dataset: see check
        return longest

    @cached_property
    def _mean_output(self) -> float:
        return mean(self.workload.output_tokens)

    @property
    def _rate(self) -> float | None:
        """Requests a second that arrive whatever the server does; None in a closed loop, and where it is looked for."""
        if self.arrivals:
            return len(self.arrivals) / max(self.arrivals[-1], 1e-9)
        return None if self.workload.find_rate else self.workload.request_rate

    def default_params(self) -> Params:
        """The searched parameters as vLLM resolves them when none is given. Raises UsageError where it refuses."""
        settings = self.settings({})
        if isinstance(settings, Failed):
            raise UsageError(f"vLLM refuses this whatever else is set: {settings.message}")
        if self.longest_tokens > settings.max_model_len:
            raise UsageError(
                f"workload {self.workload.name} has requests of {self.longest_tokens} tokens and max_model_len is"
                f" {settings.max_model_len}: raise --max-model-len or take a shorter workload"
            )
        told = {METHOD: UNSET, BACKEND: UNSET, EXECUTOR: UNSET, **with_unpredicted(settings, {})}
        return self.active({name: value for name, value in told.items() if name in self.space.parameters})

    def active(self, params: Params) -> Params:
        """Without the parameters that do not count beside the others, in the space's order."""
        counted = self.space.active(params)
        return {name: params[name] for name in self.space.parameters if name in params and name in counted}

    def settings(self, params: Params) -> Settings | Failed:
        shape, launched = self.launched(params)
        return resolve(launched, shape, self.space.gpu, self.version)

    def memory(self, params: Params) -> Memory | Failed:
        """Failed where vLLM refuses the arguments; else what it makes of the memory, which may be `failed` too."""
        shape, launched = self.launched(params)
        settings = resolve(launched, shape, self.space.gpu, self.version)
        if isinstance(settings, Failed):
            return settings
        return predict_memory(shape, self.space.gpu, settings, self.calibration.memory, self.version)

    def why_not(self, params: Params) -> Failed | None:
        """Why a server with these settings may not start; None if it would."""
        found = self.memory(params)
        return found if isinstance(found, Failed) else found.at_worst

    def verdict(self, params: Params) -> Verdict:
        """Whether a server with these settings would start."""
        found = self.memory(params)
        return Verdict.FAILS if isinstance(found, Failed) else found.verdict

    def breaks_rule(self, params: Params) -> bool:
        """Whether a rule of the space forbids it; the defaults may lie outside of its ranges."""
        point = {**self.space.fixed, **params}
        try:
            return not all(rule.holds(point) for rule in self.space.rules)
        except (TypeError, ZeroDivisionError, OverflowError):
            return True

    def predict(self, params: Params, requests: int | None = None) -> Prediction | Failed:
        """What users would see over at least `requests` requests; with `find_rate` at the highest rate that meets the SLOs, or
        the lowest tried where none does."""
        if not self.workload.find_rate:
            return self._predict(self.workload, params, requests)
        assert self.workload.request_rate is not None
        search, found = Bisection(self.workload.request_rate, RATE_RESOLUTION), dict[float, Prediction]()
        while (rate := search.next()) is not None:
            told = self._predict(replace(self.workload, request_rate=rate), params, requests)
            if isinstance(told, Failed):
                return told
            found[rate] = told
            search.tell(rate, met=not self.missed(told) and present(told.load.request_throughput) >= _KEPT_UP * rate)
        return found[search.highest_met or min(found)]

    def missed(self, prediction: Prediction) -> float:
        """By how much the SLOs are missed altogether, as fractions of their limits; 0 is met."""
        return sum(max(0.0, by) for by in violations(prediction.load, self.constraints).values())

    def value(self, prediction: Prediction) -> float:
        """Of the objective. In an open loop, throughput is what was asked for as soon as that is served: the rest is chance."""
        rate = self._rate
        load = prediction.load
        if rate is not None and self.objective.is_throughput and present(load.request_throughput) >= _KEPT_UP * rate:
            load = replace(load, request_throughput=rate, output_throughput=rate * self._mean_output)
        value = self.objective.of_load(load)
        if value is None and self.objective.metric == COST:
            return inf  # nothing is served
        assert value is not None  # see check
        return value

    def shape_for(self, params: Params) -> Shape:
        """Of the checkpoint that these settings load."""
        return self.launched(params)[0]

    def launched(self, params: Params) -> tuple[Shape, Params]:
        """As `tuner optimize` launches it, less what is searched and has no formula: a checkpoint that is quantized says so
        itself."""
        searched = {name: value for name, value in params.items() if name not in UNPREDICTED}
        given = {**self.space.fixed, **searched}
        if (shape := self.quantized.get(str(given.get("quantization")))) is not None:
            del given["quantization"]
            return shape, given
        return self.shape, given

    def _predict(self, workload: Workload, params: Params, requests: int | None) -> Prediction | Failed:
        shape, launched = self.launched(params)
        if self.arrivals is not None:
            requests = min(requests or OF_A_TRACE, len(self.arrivals) * 3 // 4)  # the rest is warm-up
        found = predict(
            shape,
            self.space.gpu,
            launched,
            workload,
            calibration=self.calibration,
            offsets=self._offsets(workload),
            limits=limits(self.slos),
            requests=requests,
            version=self.version,
        )
        if isinstance(found, Failed):
            return found
        return replace(found, load=replace(found.load, request_rate=workload.request_rate))

    def _offsets(self, workload: Workload) -> Iterable[float] | None:
        if self.arrivals is not None:
            return self.arrivals
        return None if workload.request_rate is None else (arrival.offset_s for arrival in schedule(workload))
