"""A drift in; a study of the new traffic, in the queue of the service in the hours that are allowed, and its proposal, out.

`tend` is called now and then: it queues what waits for its hours, pauses what runs beyond them, and makes a proposal of what
has been decided. All that it needs is in the database, so another watch goes on where a killed one was.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pydantic import JsonValue

from tuner.decide.drift import Expected
from tuner.decide.verdict import Decision
from tuner.decide.words.decision import decision_text
from tuner.errors import RunError, UsageError
from tuner.record.proposals import Decided, Drafted, Proposals, State, StoredProposal
from tuner.record.queue import CANCELLED, FAILED, FINISHED, PAUSED, QUEUED, RUNNING, Job, Queue
from tuner.record.rows import StudyRecord
from tuner.record.store import Store
from tuner.retune.differences import settings_changes, workload_changes
from tuner.retune.hours import Hours
from tuner.retune.proposals import step, tuner_itself
from tuner.retune.tuned import Tuned
from tuner.study.decided import fixed_gpus_of, objectives_of, study_decision
from tuner.types import Workload
from tuner.types.finite import finite
from tuner.workload.presets import workload_yaml
from tuner.workload.stored import stored_workload, workload_json

#: How the queue calls the workload of a proposal; no request can name it.
_PREFIX = "proposal:"
_WAITS = "it waits for the hours that are allowed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a study of new traffic is asked for with: launches, the hours that it may run in (None: all), the card by its search
    space, and the model by its name in the service."""

    trials: int
    gpu: str
    model: str
    hours: Hours | None


def wanted(tuned: Tuned, trials: int, hours: Hours | None, gpu: str | None, model: str | None) -> Wanted:
    """As the study before, where nothing else is said."""
    record = tuned.record
    return Wanted(
        trials=trials, hours=hours, gpu=gpu or record.gpu, model=model or record.model.rstrip("/").rpartition("/")[2]
    )


def draft(
    store: Store,
    tuned: Tuned,
    urls: tuple[str, ...],
    drift: str,
    workload: Workload,
    now_expected: Expected,
    asked: Wanted,
) -> StoredProposal:
    """Note the drift and the study that it calls for. Raises RunError where one of the same servers is under way already."""
    book = Proposals(store)
    if under_way := [one for one in book.listed(State.TUNING) if set(one.urls) & set(urls)]:
        raise RunError(
            f"proposal {under_way[0].number} of the same servers is being tuned already: nothing more is queued"
        )
    now = datetime.now(UTC)
    name = f"{_short(tuned.record.name)}-{now:%Y%m%d-%H%M%S}"
    number = book.draft(
        Drafted(
            urls=urls,
            study_before=tuned.record.name,
            study_after=name,
            drift=drift,
            workload=workload_json(workload),
            workload_changes=workload_changes(tuned.workload, tuned.expected, workload, now_expected),
        ),
        step(None, tuner_itself(), "drift found", drift),
    )
    hours = f", in the hours {asked.hours}" if asked.hours else ""
    book.note(step(number, tuner_itself(), "study wanted", f"{name}: {asked.trials} trials on {asked.gpu}{hours}"))
    return book.get(number)


def tend(store: Store, tuned: Tuned, asked: Wanted, now: datetime, tell: Callable[[str], None]) -> None:
    """See to the proposals whose study is not decided yet. `now` is local time."""
    queue, book = Queue(store), Proposals(store)
    for proposal in book.listed(State.TUNING):
        job = queue.job(proposal.study_after)
        may_run = asked.hours is None or asked.hours.hold(now)
        if job is None:
            if may_run and proposal.study_before == tuned.record.name:
                queue.add(
                    proposal.study_after,
                    _asked(proposal, tuned, asked),
                    _card(tuned, asked),
                    tuner_itself(),
                    datetime.now(UTC),
                )
                tell(f"proposal {proposal.number}: study {proposal.study_after} is queued; `tuner serve` runs it")
                book.note(step(proposal.number, tuner_itself(), "study queued", proposal.study_after))
        elif job.state == FINISHED:
            tell(decide(store, proposal))
        elif job.state in (FAILED, CANCELLED):
            why = f"study {proposal.study_after} {job.state}: {job.message or 'see `tuner studies`'}"
            book.move(proposal.number, State.FAILED, step(proposal.number, tuner_itself(), f"study {job.state}", why))
            tell(f"proposal {proposal.number}: {why}")
        else:
            _keep_hours(queue, job, may_run=may_run)


def _keep_hours(queue: Queue, job: Job, *, may_run: bool) -> None:
    """Pause and resume only what the hours are the reason for: what a person paused stays paused."""
    now = datetime.now(UTC)
    if may_run and job.state == PAUSED and job.message == _WAITS:
        queue.change(job.study, [PAUSED], QUEUED, None, now)
    elif not may_run and job.state == QUEUED:
        queue.change(job.study, [QUEUED], PAUSED, _WAITS, now)
    elif not may_run and job.state == RUNNING and job.wish is None:
        queue.change(job.study, [RUNNING], RUNNING, _WAITS, now, wish="pause")


def decide(store: Store, proposal: StoredProposal) -> str:
    """Make an open proposal of a decided study, or reject it where nothing is better; what became of it, in a sentence."""
    book = Proposals(store)
    record, found = store.study(proposal.study_after), study_decision(store, proposal.study_after)
    before = study_decision(store, proposal.study_before).chosen
    told = _answer(record, found)
    if found.chosen is None or before is None:
        why = told if found.chosen is None else f"study {proposal.study_before} has nothing to deploy any more"
        book.move(proposal.number, State.FAILED, step(proposal.number, tuner_itself(), "nothing to propose", why))
        return f"proposal {proposal.number}: nothing to propose: {why}"
    changes = settings_changes(before.command, found.chosen.command)
    if not changes:
        why = f"the new traffic is served best by the config that is deployed: {told}"
        book.move(proposal.number, State.REJECTED, step(proposal.number, tuner_itself(), "nothing to change", why))
        return f"proposal {proposal.number}: {why}"
    gain = finite(found.verdict.gain.gain) if found.verdict.gain is not None and found.winner == found.chosen else None
    decided = Decided(verdict=told, gain=gain, trial=found.chosen.number, settings_changes=changes)
    book.decide(proposal.number, decided, step(proposal.number, tuner_itself(), "proposed", told))
    return f"proposal {proposal.number} is ready: {told}: `tuner proposals {proposal.number}` shows it"


def _answer(record: StudyRecord, found: Decision) -> str:
    """What the study says, in its own words."""
    return decision_text(found, objectives_of(record)[0], record.fingerprint.unreal)


def proposed_workload(store: Store, name: str, folder: Path) -> Path | None:
    """The file of the workload that a job calls `name`, written into `folder`; None for a name that is no proposal's."""
    digits = name.removeprefix(_PREFIX)
    if digits == name or not digits.isdecimal():
        return None
    workload = stored_workload({**Proposals(store).get(int(digits)).workload})
    if workload is None:
        raise UsageError(f"the workload of proposal {digits} was written by another tuner: watch again")
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{workload.name}.yaml"
    path.write_text(workload_yaml(workload, f"The traffic of proposal {digits}"), encoding="utf-8")
    return path


def _asked(proposal: StoredProposal, tuned: Tuned, asked: Wanted) -> Mapping[str, JsonValue]:
    """As the service's closed record has it."""
    record = tuned.record
    price = record.settings.get("price_per_hour")
    each = price / fixed_gpus_of(record) if isinstance(price, int | float) else None
    return {
        "model": asked.model,
        "gpu": asked.gpu,
        "workload": f"{_PREFIX}{proposal.number}",
        "trials": asked.trials,
        "study": proposal.study_after,
        "engine": _engine(tuned),
        "objective": [*record.objective.split(",")],
        "slo": [*tuned.slos],
        **({} if each is None else {"price": each}),
    }


def _engine(tuned: Tuned) -> str:
    return "sim" if tuned.record.fingerprint.unreal else "vllm"


def _card(tuned: Tuned, asked: Wanted) -> str:
    """As the service calls it: a simulated card is not a real one."""
    return f"sim {asked.gpu}" if _engine(tuned) == "sim" else asked.gpu


def _short(name: str) -> str:
    """Of a study of a drift the first name, so that names do not grow with each."""
    kept = "".join(letter if letter.isascii() and (letter.isalnum() or letter in "._-") else "-" for letter in name)
    parts = kept.split("-")
    while len(parts) > 2 and parts[-1].isdecimal() and parts[-2].isdecimal() and len(parts[-2]) == 8:
        parts = parts[:-2]
    return ("-".join(parts).lstrip("._-") or "study")[:80]
