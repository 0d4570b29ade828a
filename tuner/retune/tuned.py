"""A stored study in; what its config was tuned for, of one server, as far as /metrics can tell it, out."""

import random
from dataclasses import dataclass

from tuner.decide.drift import Expected, Lengths
from tuner.errors import UsageError
from tuner.record.rows import StudyRecord
from tuner.record.store import Store
from tuner.study.decided import slo_texts, study_decision
from tuner.types import Measured, Trial, Workload
from tuner.workload.lengths import draw
from tuner.workload.stored import stored_workload
from tuner.workload.trace import read_trace

#: Requests drawn of a workload to know its lengths: their mean is then known to about a hundredth.
_DRAWN = 10_000
_LONGEST_TRACE = 200_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuned:
    """What is deployed: trial `chosen` of the study `record`, tuned for `workload`, expected of one server as `expected`."""

    record: StudyRecord
    chosen: Trial
    workload: Workload
    expected: Expected
    slos: tuple[str, ...]


def tuned_for(store: Store, study: str) -> Tuned:
    """Raises UsageError where there is no such study, or it has nothing to deploy, or is too old to know its workload."""
    record = store.study(study)
    chosen = study_decision(store, study).chosen
    if chosen is None:
        raise UsageError(
            f"study {study!r} has no trial that was measured and meets its SLOs: nothing of it is deployed"
        )
    workload = stored_workload(record.settings.get("workload"))
    if workload is None:
        raise UsageError(f"study {study!r} does not know its workload, an older tuner wrote it: tune again")
    return Tuned(
        record=record,
        chosen=chosen,
        workload=workload,
        expected=expected_of(workload, chosen),
        slos=tuple(slo_texts(record)),
    )


def expected_of(workload: Workload, chosen: Trial | None = None) -> Expected:
    """Of a trace what is in its file; of a rate that was looked for the one that was found. What prefix caching found is what
    it found when the chosen trial was measured."""
    measured = chosen.outcome if chosen is not None and isinstance(chosen.outcome, Measured) else None
    rate, inputs, outputs = workload.request_rate, None, None
    if workload.trace is not None:
        rate, inputs, outputs = _of_trace(workload)
    else:
        inputs, outputs = _drawn(workload)
    if workload.find_rate and measured is not None and measured.load.request_rate is not None:
        rate = measured.load.request_rate
    return Expected(
        rate=rate,
        concurrency=None if workload.users is None or workload.think_time_s else float(workload.users),
        inputs=inputs,
        outputs=outputs,
        prefix_share=_prefix_share(measured),
    )


def _drawn(workload: Workload) -> tuple[Lengths | None, Lengths | None]:
    """Of a conversation each prompt holds all that was said before it; of a dataset only a tokenizer knows the prompts."""
    rng = random.Random(0)
    inputs: list[int] = []
    outputs: list[int] = []
    while len(outputs) < _DRAWN:
        before = 0
        for _ in range(draw(workload.turns, rng) if workload.turns is not None else 1):
            prompt, answer = draw(workload.input_tokens, rng), draw(workload.output_tokens, rng)
            inputs.append(before + prompt)
            outputs.append(answer)
            before += prompt + answer
    known = None if workload.dataset is not None else _sorted(inputs)
    return known, _sorted(outputs)


def _of_trace(workload: Workload) -> tuple[float | None, Lengths | None, Lengths | None]:
    if workload.trace is None or not workload.trace.path.is_file():
        return None, None, None
    arrivals = [arrival for arrival, _ in zip(read_trace(workload.trace), range(_LONGEST_TRACE), strict=False)]
    last_s = arrivals[-1].offset_s if arrivals else 0.0
    inputs = [arrival.input_tokens for arrival in arrivals if arrival.input_tokens is not None]
    outputs = [arrival.output_tokens for arrival in arrivals if arrival.output_tokens is not None]
    rate = len(arrivals) / last_s if last_s > 0 else None
    return rate, _sorted(inputs), _sorted(outputs)


def _sorted(tokens: list[int]) -> Lengths | None:
    return Lengths(tokens=tuple(sorted(tokens))) if tokens else None


def _prefix_share(measured: Measured | None) -> float | None:
    server = measured.server if measured is not None else None
    if server is None or not server.prefix_cache_queries or server.prefix_cache_hits is None:
        return None
    return server.prefix_cache_hits / server.prefix_cache_queries
