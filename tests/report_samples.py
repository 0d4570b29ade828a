"""Studies that reports are made of: a small one that never changes, and what is wrong or strange in others."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from math import sin
from pathlib import Path

from samples import FINGERPRINT, NOW, failed, load_metrics, measured
from samples import trial as sample

from tuner.record.rows import StudyRecord, Verification
from tuner.record.store import Store
from tuner.report.content import Report
from tuner.study.reported import report_of
from tuner.types import (
    Command,
    Estimate,
    Failed,
    FailureKind,
    Fingerprint,
    Mark,
    Measured,
    Outcome,
    Params,
    Predicted,
    Resolved,
    Timeline,
    Trial,
)
from tuner.types.settings import flag
from tuner.workload.presets import PRESETS
from tuner.workload.stored import workload_json

DEFAULTS: Params = {"max_num_seqs": 256, "enable_prefix_caching": True, "quantization": "none"}
#: Names that try to leave the place where they are shown.
ABUSE = (
    "<script>alert(1)</script>",
    "\"><img src=x onerror=alert(1)>'",
    "--><b>comment",
    "</title></style><h1>out",
    "\u202egnp.exe\u202c \u05e9\u05dc\u05d5\u05dd \u2066",
    "\x1b[31mred\x1b[0m\x07\x00",
    "| `a` | **b** | [x](javascript:1) @everyone #1",
    "]]>&amp;{{7*7}}${1}",
    "\r\n# heading\n\n---\n",
    "\ud800 lone",
)


def timeline(throughput: float, samples: int = 40) -> Timeline:
    """A warm-up that rises for 10 s, and a window of 30 s."""
    t_s = tuple(float(second) for second in range(samples))
    rates = tuple(throughput * min(1.0, (s + 1) / 10) * (1 + 0.03 * sin(s)) for s in t_s)
    return Timeline(
        t_s=t_s,
        window_begin_s=samples / 4,
        window_end_s=float(samples),
        output_throughput=rates,
        running=tuple(min(64.0, 8 * s) for s in t_s),
        waiting=tuple(None if s == 5 else 0.0 for s in t_s),
        kv_cache_usage=tuple(min(0.6, 0.05 * s) for s in t_s),
    )


def outcome(throughput: float, ttft_s: float = 0.2, *, marks: tuple[Mark, ...] = (), drawn: bool = True) -> Measured:
    found = measured(output_throughput=throughput, ttft_s=ttft_s, marks=marks)
    return replace(found, timeline=timeline(throughput) if drawn else None)


def trial(number: int, params: Params, result: Outcome, **more: object) -> Trial:
    """Of these settings, the others as in the defaults; a minute after the one before."""
    full = {**DEFAULTS, **params}
    words = [word for name, value in full.items() for word in flag(name, value)]
    command = Command(argv=("vllm", "serve", "some/model", *words), model="some/model", settings=full)
    begun = NOW + timedelta(minutes=number)
    known = replace(
        sample(number, result, params=full, is_default=number == 0),
        command=command,
        resolved=full,
        started_at=begun,
        ended_at=begun + timedelta(seconds=50),
        violations={"ttft_p99": result.load.ttft_s.p99 / 0.5 - 1} if _has_ttft(result) else {},  # type: ignore[union-attr,operator]
    )
    return replace(known, **more)  # type: ignore[arg-type]


def _has_ttft(result: Outcome) -> bool:
    return isinstance(result, Measured) and result.load.ttft_s is not None


def predicted(value: float) -> Predicted:
    return Predicted(
        known="card", metrics={"output_throughput": Estimate(value=value, low=value / 1.2, high=value * 1.2)}
    )


TRIALS = (
    trial(0, {}, outcome(1000.0), predicted=predicted(1100.0)),
    trial(1, {"max_num_seqs": 512}, outcome(1250.0), predicted=predicted(1200.0)),
    trial(2, {"max_num_seqs": 1024}, failed(), predicted=predicted(1300.0)),
    trial(3, {"enable_prefix_caching": False}, outcome(1004.0)),
    trial(4, {"max_num_seqs": 512, "quantization": "fp8"}, outcome(1500.0, 0.9), predicted=predicted(1000.0)),
    trial(5, {"max_num_seqs": 64}, replace(outcome(700.0, marks=(Mark.STOPPED_EARLY,)), at_best=1.1)),
)
#: Trial, round, output tokens a second.
AGAIN = ((1, 1, 1240.0), (0, 1, 990.0), (0, 2, 1010.0), (1, 2, 1260.0), (1, 3, 1250.0), (0, 3, 1000.0))


def record(name: str, **more: object) -> StudyRecord:
    found = StudyRecord(
        name=name,
        created_at=NOW,
        gpu="t4",
        model="some/model",
        workload="chat",
        objective="throughput",
        direction="maximize",
        space_digest="123",
        space="{}",
        fingerprint=FINGERPRINT,
        settings={
            "slos": ["ttft_p99=0.5s"],
            "sampler": "model",
            "start": "plain",
            "workload": workload_json(PRESETS["chat"]),
        },
    )
    return replace(found, **more)  # type: ignore[arg-type]


def stored(
    store: Store,
    study: StudyRecord,
    trials: Sequence[Trial] = TRIALS,
    again: Sequence[tuple[int, int, float]] = AGAIN,
    rounds: int = 5,
) -> None:
    """The study with these trials, its best launched again beside the defaults."""
    store.create_or_get_study(study)
    for one in trials:
        store.finish(study.name, one)
    if again:
        store.begin_contest(
            study.name, [number for number in dict.fromkeys(n for n, _, _ in again) if number], rounds, NOW
        )
    by_number = {one.number: one for one in trials}
    for place, (number, round, throughput) in enumerate(again):
        launched = Verification(
            round=round,
            role="finalist" if number else "defaults",
            trial_number=number,
            command=by_number[number].command,
            outcome=outcome(throughput),
            started_at=NOW + timedelta(hours=1, minutes=place),
            ended_at=NOW + timedelta(hours=1, minutes=place, seconds=50),
        )
        store.add_verification(study.name, launched)


def database(folder: Path, name: str = "small") -> Store:
    return Store.open(f"sqlite:///{folder / f'{name}.db'}")


def reported(folder: Path, study: StudyRecord, *made: object, **more: object) -> Report:
    """The report of a study that is stored first; of a version and a moment that never change."""
    store = database(folder)
    stored(store, study, *made, **more)  # type: ignore[arg-type]
    found = replace(report_of(store, study.name, NOW + timedelta(hours=2)), tuner_version="1.2.3")
    store.close()
    return found


def begun(store: Store, study: str, number: int) -> None:
    """A trial that has not ended."""
    from tuner.types import Proposal

    one = trial(number, {"max_num_seqs": 128}, outcome(1.0))
    proposal = Proposal(number=number, params=one.params)
    store.begin(study, proposal, one.command, Resolved(settings=one.resolved, digest="x"), NOW)


def simulated(fingerprint: Fingerprint = FINGERPRINT, word: str = "SIMULATED") -> Fingerprint:
    return replace(fingerprint, engine_version=f"{word} vLLM 0.32.0", gpu=f"{word} Tesla T4", gpu_count=0, driver=None)


def crash(message: str, log: str = "") -> Failed:
    return Failed(kind=FailureKind.CRASHED, message=message, log_tail=log)


def without_ttft(throughput: float) -> Measured:
    """As a recording that tells throughput alone."""
    load = replace(load_metrics(output_throughput=throughput), ttft_s=None, tpot_s=None, itl_s=None, e2el_s=None)
    return replace(measured(output_throughput=throughput), load=load, server=None, client=None)
