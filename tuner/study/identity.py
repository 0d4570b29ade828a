"""A setup in; what is stored of its study before anything is measured, and whether a study may go on with it, out."""

from collections.abc import Sequence

from tuner.errors import UsageError
from tuner.record.rows import StudyRecord
from tuner.study.decided import max_loss_of, slo_texts
from tuner.study.setup import Setup
from tuner.types import Measured, Trial
from tuner.workload.stored import workload_json


def record_of(setup: Setup) -> StudyRecord:
    price = next((one.price_per_hour for one in setup.objectives if one.price_per_hour is not None), None)
    return StudyRecord(
        name=setup.study,
        created_at=setup.clock.now(),
        gpu=setup.space.name,
        model=setup.launcher.model,
        workload=setup.workload.name,
        objective=",".join(one.name for one in setup.objectives),
        direction=",".join("maximize" if one.maximize else "minimize" for one in setup.objectives),
        space_digest=setup.space.digest(),
        space=setup.space.model_dump_json(),
        fingerprint=setup.fingerprint,
        settings={
            "slos": [f"{slo.name}={slo.limit_s}s" for slo in setup.slos],
            "seed": setup.seed,
            "sampler": setup.sampler,
            "verify": setup.verify,
            "start": _start(setup),
            "stop": "auto" if setup.may_stop else "never",
            "workload": workload_json(setup.workload),
            "max_quality_loss": setup.max_quality_loss,
            **({} if price is None else {"price_per_hour": price}),
            **({} if price or setup.price_per_hour is None else {"price_beside": setup.price_per_hour}),
        },
    )


def check_same(stored: StudyRecord, setup: Setup, trials: Sequence[Trial] = ()) -> None:
    """Raises UsageError where `trials` of the stored study would not be comparable with those of this setup."""
    _same_slos(stored, setup)
    _same_start(stored, setup)
    _same_sharing(stored, setup, trials)
    _same_price(stored, setup)
    _same_loss(stored, setup)


def other_sampler(stored: StudyRecord, setup: Setup) -> str | None:
    """What to say of a study that goes on with another sampler: each learns from all trials, whoever proposed them."""
    before = stored.settings.get("sampler", setup.sampler)
    return None if before == setup.sampler else f"begun with --sampler {before}, it goes on with {setup.sampler}"


def _start(setup: Setup) -> str:
    return "warm" if setup.warm else "plain"


def _same_start(stored: StudyRecord, setup: Setup) -> None:
    """Forked servers are slower than plain ones, so their measurements are not ranked together."""
    before = stored.settings.get("start", _start(setup))
    if before != _start(setup):
        raise UsageError(
            f"study {setup.study!r} was begun with --start {before}, whose measurements are not comparable with those of "
            f"--start {_start(setup)}: go on with that, or choose another --study"
        )


def _same_sharing(stored: StudyRecord, setup: Setup, trials: Sequence[Trial]) -> None:
    """Engines that take turns on a GPU do less than those that have it at once, so they are not ranked together."""
    before, now = stored.fingerprint.mps, setup.fingerprint.mps
    have_shared = any(one.command.engines_per_gpu > 1 and isinstance(one.outcome, Measured) for one in trials)
    if before == now or not have_shared:
        return
    ways = "take turns on it", "have it at once, over NVIDIA's multi-process service"
    todo = (
        "go on where nvidia-cuda-mps-control is on the PATH, and without --mps off"
        if before
        else "go on with --mps off"
    )
    raise UsageError(
        f"study {setup.study!r} was begun with engines that share a GPU and {ways[before]}, and now they {ways[now]}: {todo},"
        " or choose another --study"
    )


def _same_price(stored: StudyRecord, setup: Setup) -> None:
    """The cost of all trials of a study is of one price."""
    before, now = (one.settings.get("price_per_hour") for one in (stored, record_of(setup)))
    if before != now:
        raise UsageError(
            f"study {setup.study!r} was begun with GPUs of {before} an hour and not {now}: go on with that --price, or choose"
            " another --study"
        )


def _same_loss(stored: StudyRecord, setup: Setup) -> None:
    """All finalists of a study are judged by one limit."""
    if (before := max_loss_of(stored)) != setup.max_quality_loss:
        raise UsageError(
            f"study {setup.study!r} was begun with --max-quality-loss {before:g} and not {setup.max_quality_loss:g}: go on with"
            " that, or choose another --study"
        )


def _same_slos(stored: StudyRecord, setup: Setup) -> None:
    """Feasible must mean the same for all trials of a study."""
    before, now = slo_texts(stored), slo_texts(record_of(setup))
    if sorted(before) != sorted(now):
        raise UsageError(
            f"study {setup.study!r} was begun with SLOs {', '.join(before) or 'none'} and not {', '.join(now) or 'none'}: "
            "choose another --study"
        )
