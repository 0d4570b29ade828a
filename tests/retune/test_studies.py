"""What a drift leads to: a study in the queue in its hours, and a proposal once it is decided."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, time
from pathlib import Path

import pytest
from record_samples import STUDY
from retuning import WORKLOAD, stored_study, trial

from tuner.errors import RunError, UsageError
from tuner.record.proposals import State, StoredProposal
from tuner.record.queue import CANCELLED, FINISHED, PAUSED, QUEUED, RUNNING, Queue
from tuner.record.store import Store
from tuner.retune.differences import diff_lines
from tuner.retune.hours import Hours, parse_hours
from tuner.retune.proposals import approve, get, listed, log, reject
from tuner.retune.studies import Wanted, draft, proposed_workload, tend, wanted
from tuner.retune.tuned import Tuned, expected_of, tuned_for
from tuner.serve.asked import StudyAsked
from tuner.study.lease import me
from tuner.types import Lengths
from tuner.workload.presets import load_workload
from tuner.workload.stored import workload_json

NEW = replace(WORKLOAD, name="chat-drifted", request_rate=80.0, output_tokens=Lengths(low=200, high=400))
NIGHT, DAY = datetime(2026, 11, 29, 2, 0), datetime(2026, 11, 29, 12, 0)
URL = "http://x:1/metrics"


@pytest.fixture
def store(storage_url: str) -> Iterator[Store]:
    opened = stored_study(storage_url)
    yield opened
    opened.close()


@pytest.fixture
def tuned(store: Store) -> Tuned:
    return tuned_for(store, "prod")


@pytest.fixture
def plan(tuned: Tuned) -> Wanted:
    return wanted(tuned, 12, parse_hours("--hours", "01:00-05:00"), None, None)


def drafted(store: Store, tuned: Tuned, plan: Wanted) -> StoredProposal:
    return draft(store, tuned, (URL,), "output tokens: 300 on average", NEW, expected_of(NEW), plan)


def decided(store: Store, name: str, **settings: int) -> None:
    record = replace(STUDY, name=name, settings={"slos": [], "workload": workload_json(NEW)})
    store.create_or_get_study(record)
    store.finish(name, trial(0, **settings))


def ended(store: Store, study: str, state: str) -> None:
    assert Queue(store).change(study, [QUEUED, RUNNING, PAUSED], state, None, datetime.now(UTC)) is not None


def test_a_study_is_queued_in_its_hours_and_becomes_a_proposal(store: Store, tuned: Tuned, plan: Wanted) -> None:
    told: list[str] = []
    proposal, queue = drafted(store, tuned, plan), Queue(store)
    assert proposal.state is State.TUNING
    assert diff_lines(proposal.workload_changes) == [
        "- requests a second: 40",
        "+ requests a second: 80",
        "- output tokens, mean: 128",
        "+ output tokens, mean: 300",
    ]
    tend(store, tuned, plan, DAY, told.append)
    assert queue.job(proposal.study_after) is None
    tend(store, tuned, plan, NIGHT, told.append)
    job = queue.job(proposal.study_after)
    assert job is not None
    assert (job.state, job.card) == (QUEUED, "t4")
    asked = StudyAsked.model_validate(job.asked, strict=False)
    assert (asked.model, asked.gpu, asked.trials, asked.workload) == ("model", "t4", 12, f"proposal:{proposal.number}")
    decided(store, proposal.study_after, max_num_seqs=256, max_num_batched_tokens=8192)
    ended(store, proposal.study_after, FINISHED)
    tend(store, tuned, plan, DAY, told.append)
    found = get(store, proposal.number)
    assert found.state is State.OPEN
    assert diff_lines(found.settings_changes) == [
        "+ max_num_batched_tokens: 8192",
        "- max_num_seqs: 64",
        "+ max_num_seqs: 256",
    ]
    assert found.verdict
    assert [one.what for one in log(store)] == ["drift found", "study wanted", "study queued", "proposed"]
    assert len(told) == 2


def test_what_runs_beyond_its_hours_is_paused_and_goes_on_the_next_night(
    store: Store, tuned: Tuned, plan: Wanted
) -> None:
    proposal, queue = drafted(store, tuned, plan), Queue(store)
    tend(store, tuned, plan, NIGHT, print)
    tend(store, tuned, plan, DAY, print)
    assert _state(queue, proposal) == PAUSED
    tend(store, tuned, plan, NIGHT, print)
    assert _state(queue, proposal) == QUEUED
    assert queue.claim(me(), datetime.now(UTC)) is not None
    tend(store, tuned, plan, DAY, print)
    job = queue.job(proposal.study_after)
    assert job is not None
    assert (job.state, job.wish) == (RUNNING, "pause")


def test_what_a_person_paused_stays_paused(store: Store, tuned: Tuned, plan: Wanted) -> None:
    proposal, queue = drafted(store, tuned, plan), Queue(store)
    tend(store, tuned, plan, NIGHT, print)
    queue.change(proposal.study_after, [QUEUED], PAUSED, None, datetime.now(UTC))
    tend(store, tuned, plan, NIGHT, print)
    assert _state(queue, proposal) == PAUSED


def _state(queue: Queue, proposal: StoredProposal) -> str:
    job = queue.job(proposal.study_after)
    assert job is not None
    return job.state


def test_a_study_that_was_cancelled_fails_its_proposal(store: Store, tuned: Tuned, plan: Wanted) -> None:
    proposal = drafted(store, tuned, plan)
    tend(store, tuned, plan, NIGHT, print)
    ended(store, proposal.study_after, CANCELLED)
    tend(store, tuned, plan, NIGHT, print)
    assert get(store, proposal.number).state is State.FAILED


def test_the_config_that_is_deployed_already_is_no_proposal(store: Store, tuned: Tuned, plan: Wanted) -> None:
    proposal = drafted(store, tuned, plan)
    tend(store, tuned, plan, NIGHT, print)
    decided(store, proposal.study_after, max_num_seqs=64)
    ended(store, proposal.study_after, FINISHED)
    tend(store, tuned, plan, NIGHT, print)
    assert get(store, proposal.number).state is State.REJECTED
    assert "served best by the config that is deployed" in log(store)[-1].why


def test_one_study_of_the_same_servers_at_a_time(store: Store, tuned: Tuned, plan: Wanted) -> None:
    drafted(store, tuned, plan)
    with pytest.raises(RunError, match="is being tuned already: nothing more is queued"):
        drafted(store, tuned, plan)


def test_the_workload_of_a_job_is_written_for_the_service(
    store: Store, tuned: Tuned, plan: Wanted, tmp_path: Path
) -> None:
    proposal = drafted(store, tuned, plan)
    path = proposed_workload(store, f"proposal:{proposal.number}", tmp_path / "new")
    assert path is not None
    assert load_workload(str(path)) == NEW
    assert proposed_workload(store, "chat", tmp_path) is None
    assert proposed_workload(store, "proposal:x", tmp_path) is None
    with pytest.raises(UsageError, match="has no proposal 99"):
        proposed_workload(store, "proposal:99", tmp_path)


def test_names_do_not_grow_with_each_drift(store: Store, tuned: Tuned, plan: Wanted) -> None:
    again = replace(tuned, record=replace(tuned.record, name="prod-20261129-020000"))
    assert drafted(store, again, plan).study_after.count("-") == 2


@pytest.mark.parametrize(
    ("by", "why"), [("", "x"), ("Ada", "  "), ("A" * 300, "x"), ("A\x1b[2J", "x"), ("Ada", "x" * 3000)]
)
def test_a_person_says_who_and_why(by: str, why: str, store: Store, tuned: Tuned, plan: Wanted) -> None:
    proposal = drafted(store, tuned, plan)
    for call in (approve, reject):
        with pytest.raises(UsageError):
            call(store, proposal.number, by=by, why=why)
    assert listed(store, State.TUNING) == [proposal]


@pytest.mark.parametrize(
    ("text", "inside", "outside"),
    [
        ("01:00-05:00", time(4, 59), time(5, 0)),
        ("22:00-06:00", time(23, 0), time(12, 0)),
        ("18:00-24:00", time(23, 59), time(0, 0)),
    ],
)
def test_hours(text: str, inside: time, outside: time) -> None:
    hours = parse_hours("--hours", text)
    day = datetime(2026, 11, 29)
    assert hours.hold(datetime.combine(day, inside))
    assert not hours.hold(datetime.combine(day, outside))
    assert isinstance(hours, Hours)


@pytest.mark.parametrize("text", ["", "1-5", "25:00-26:00", "01:00", "01:00-05:60", "a:00-b:00"])
def test_what_are_no_hours_is_said(text: str) -> None:
    with pytest.raises(
        UsageError, match=r"--hours .* is no time of day from when to when: give one such as 01:00-05:00"
    ):
        parse_hours("--hours", text)
