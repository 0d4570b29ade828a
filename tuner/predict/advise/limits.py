"""A prediction in; what holds it back, the numbers that say so, and the settings that move it out.

A knob is named only where the prediction with it is better. Pure.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from tuner.decide.gain import LEAST_GAIN
from tuner.diagnose.causes import Cause
from tuner.predict.advise.case import Case
from tuner.predict.advise.knobs import Knob, probes
from tuner.predict.memory import Memory
from tuner.predict.prediction import Prediction
from tuner.predict.step import Steps
from tuner.types import Failed, FailureKind, Params, present


class Bottleneck(StrEnum):
    """What there is too little of."""

    WEIGHTS = "weights"  # they do not fit
    MEMORY = "GPU memory"  # the weights fit; activations or CUDA graphs do not
    KV_CACHE = "KV cache"
    BATCH = "batch limit"
    PREFILL = "prefill"
    DECODE = "decode bandwidth"
    OVERHEAD = "step overhead"  # what a step takes beside the weights and the KV cache
    HOST = "EngineCore"
    API_SERVER = "API server"
    LOAD = "load"  # the users ask for less than there is


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """`evidence` has the numbers that say so."""

    bottleneck: Bottleneck
    evidence: str
    knobs: tuple[Knob, ...]


Predict = Callable[[Params], Prediction | Failed]

#: What each is among the causes of docs/diagnosis.md, whose remedies may move it.
CAUSES: Mapping[Bottleneck, Sequence[Cause]] = {
    Bottleneck.WEIGHTS: (Cause.WEIGHTS,),
    Bottleneck.MEMORY: (Cause.MEMORY,),
    Bottleneck.KV_CACHE: (Cause.KV_CACHE,),
    Bottleneck.BATCH: (Cause.BATCH_LIMIT,),
    Bottleneck.PREFILL: (Cause.PREFILL,),
    Bottleneck.DECODE: (Cause.DECODE,),
    Bottleneck.OVERHEAD: (Cause.LAUNCHES, Cause.BATCH_TOO_SMALL, Cause.COMPUTE),
    Bottleneck.HOST: (Cause.LAUNCHES, Cause.SCHEDULER),
    Bottleneck.API_SERVER: (Cause.API_SERVER,),
}
#: A part that works for less of the time is not what limits.
_BUSY = 0.9
#: The KV cache is full when so much of it is taken: the next request does not fit.
_FULL = 0.9
#: Of the sequences that max_num_seqs allows.
_ALL = 0.95
#: Below this share of a decode step, the reading of weights and KV cache is not what it takes its time for.
_READING = 0.4
#: Requests that wait on the mean where there is a queue.
_QUEUE = 0.5


def limit_of(case: Case, params: Params, prediction: Prediction, predict: Predict) -> Limit:
    """What holds these settings back, with the knobs that `predict` says are worth it."""
    bottleneck, evidence = bottleneck_of(case, params, prediction)
    knobs = _knobs(case, params, bottleneck, prediction, predict)
    if bottleneck is Bottleneck.BATCH and not knobs:  # the queue stands in front of a busy GPU
        bottleneck, evidence = _of_the_gpu(case, params, prediction)
        knobs = _knobs(case, params, bottleneck, prediction, predict)
    return Limit(bottleneck=bottleneck, evidence=evidence, knobs=knobs)


def limit_of_start(case: Case, params: Params, memory: Memory | None, failed: Failed) -> Limit:
    """Why a server does not start."""
    evidence = first_sentence(failed.message)
    if memory is not None and memory.weights_bytes >= memory.budget_bytes:
        bottleneck = Bottleneck.WEIGHTS
        weights, budget, total = (n / 2**30 for n in (memory.weights_bytes, memory.budget_bytes, memory.total_bytes))
        evidence = f"{weights:,.1f} GiB of weights on a GPU, of whose {total:,.1f} GiB vLLM may use {budget:,.1f}"
    elif failed.kind is FailureKind.KV_CACHE_TOO_SMALL:
        bottleneck = Bottleneck.KV_CACHE
    else:
        bottleneck = Bottleneck.MEMORY
    knobs = []
    for name, values in probes(case, params, CAUSES[bottleneck]):
        starting = [value for value in values if case.why_not(case.active({**params, name: value})) is None]
        knobs += [Knob(name=name, value=value, gain=None) for value in (starting or values)[:1]]
    return Limit(bottleneck=bottleneck, evidence=evidence, knobs=tuple(knobs))


def first_sentence(text: str) -> str:
    """vLLM goes on with advice."""
    return text.split(". ")[0].rstrip(".")


def bottleneck_of(case: Case, params: Params, p: Prediction) -> tuple[Bottleneck, str]:
    """What these settings are held back by, and the numbers that say so."""
    busiest = max(p.front_busy, p.host_busy, p.gpu_busy)
    queued = p.waiting_mean >= _QUEUE
    served = case.workload.users is None and not case.workload.find_rate and case.objective.maximize
    if not queued and (served or busiest < _BUSY):
        rate, running = p.load.request_throughput, p.running_mean
        return (
            Bottleneck.LOAD,
            f"{rate:,.2f} requests/s are served as they come, {running:,.1f} run at once, none waits",
        )
    if p.front_busy == busiest:
        return (
            Bottleneck.API_SERVER,
            f"the API servers work for {p.front_busy:.0%} of the time, the GPU for {p.gpu_busy:.0%}",
        )
    if p.host_busy == busiest:
        return Bottleneck.HOST, f"EngineCore works for {p.host_busy:.0%} of the time, the GPU for {p.gpu_busy:.0%}"
    if p.preemptions or (queued and p.kv_cache_usage_mean >= _FULL):
        preempted = f", {p.preemptions:,} preemptions for {p.load.completed:,} requests" if p.preemptions else ""
        waiting = f", {p.waiting_mean:,.0f} requests wait while {p.running_mean:,.0f} run"
        return Bottleneck.KV_CACHE, f"{p.kv_cache_usage_mean:.0%} of the KV cache is taken{waiting}{preempted}"
    most = p.settings.max_num_seqs * p.settings.copies
    if queued and p.running_mean >= _ALL * most:
        return Bottleneck.BATCH, f"max_num_seqs {most} run and {p.waiting_mean:,.0f} requests wait"
    return _of_the_gpu(case, params, p)


def _of_the_gpu(case: Case, params: Params, p: Prediction) -> tuple[Bottleneck, str]:
    """Which part of its work takes most of the GPU's time."""
    steps = Steps(shape=case.shape_for(params), gpu=case.space.gpu, settings=p.settings, rates=case.calibration.rates)
    sequences = max(1, round(p.running_mean / p.settings.copies))
    context = p.kv_cache_usage_mean * p.memory.kv_cache_tokens
    each_s = steps.decode(sequences, context).gpu_s
    tokens_per_s = present(p.load.output_throughput) / p.settings.data_parallel_size  # of all engines on a GPU
    decoding = min(1.0, tokens_per_s / sequences * each_s / p.gpu_busy)
    if decoding < 0.5:
        return (
            Bottleneck.PREFILL,
            f"the GPU works for {p.gpu_busy:.0%} of the time, {1 - decoding:.0%} of that on prompts",
        )
    assert case.space.gpu.bandwidth_gb_per_s is not None
    read = p.memory.weights_bytes + context * p.memory.kv_bytes_per_token
    reading_s = read / (case.space.gpu.bandwidth_gb_per_s * 1e9)
    bottleneck = Bottleneck.DECODE if reading_s >= _READING * each_s else Bottleneck.OVERHEAD
    return bottleneck, (
        f"decoding takes {decoding:.0%} of the GPU's time: a step of {sequences} sequences takes {each_s * 1e3:.1f} ms, of"
        f" which reading weights and KV cache at the card's full bandwidth would take {reading_s * 1e3:.1f} ms"
    )


def _knobs(
    case: Case, params: Params, bottleneck: Bottleneck, prediction: Prediction, predict: Predict
) -> tuple[Knob, ...]:
    """Those that are worth it, best first."""
    found = []
    for name, values in probes(case, params, CAUSES.get(bottleneck, ())):
        for value in values:
            told = predict(case.active({**params, name: value}))
            if isinstance(told, Prediction):
                gain = case.objective.gain(case.value(told), case.value(prediction))
                found += [Knob(name=name, value=value, gain=gain)] if gain >= LEAST_GAIN else []
                break
    return tuple(sorted(found, key=lambda knob: -(knob.gain or 0.0)))
