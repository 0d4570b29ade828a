"""Lists are what the store has, page by page, and read no measurement."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import pytest
from record_samples import COMMAND, MEASURED, NOW, STUDY, a_trial, launch

from tuner.record.listing import (
    Listed,
    defaults_params,
    last_trial,
    launches,
    listed,
    names,
    records,
    stamps,
    trial_lines,
)
from tuner.record.queue import Queue
from tuner.record.rows import Verification
from tuner.record.store import Store
from tuner.study.lease import me
from tuner.types import Failed, FailureKind, Mark, Proposal, Resolved, Twin

OOM = Failed(kind=FailureKind.OUT_OF_MEMORY, message="no memory left")


@pytest.fixture
def store(storage_url: str) -> Iterator[Store]:
    opened = Store.open(storage_url)
    yield opened
    opened.close()


def test_studies_and_what_was_asked_for_are_one_list_the_newest_first(store: Store) -> None:
    for number in range(5):
        store.create_or_get_study(replace(STUDY, name=f"s{number}", created_at=NOW + timedelta(seconds=number // 2)))
    Queue(store).add("asked", {}, "t4", "ann", NOW + timedelta(seconds=1, microseconds=1))
    Queue(store).add("s4", {}, "t4", "ann", NOW - timedelta(seconds=1))  # begun later than it was asked for
    expected = ["asked", "s3", "s2", "s1", "s0", "s4"]
    assert [one.name for one in listed(store, 10)] == expected
    pages, after = [], None
    while page := listed(store, 2, after):
        pages += [one.name for one in page]
        after = page[-1]
    assert pages == expected
    assert listed(store, 10, Listed(name="", since=NOW - timedelta(days=1))) == []
    assert names(store) == sorted(expected)


def test_records_come_with_who_runs_them(store: Store) -> None:
    store.create_or_get_study(STUDY)
    assert records(store, ["a study", "nope"]) == {"a study": (STUDY, None)}
    store.take("a study", me(), None, NOW)
    assert records(store, ["a study"])["a study"][1] == store.holder("a study")


def test_a_stamp_changes_with_all_that_decides(store: Store) -> None:
    store.create_or_get_study(STUDY)
    seen = [stamps(store, ["a study", "nope"])]
    assert list(seen[0]) == ["a study"]
    proposal, resolved = Proposal(number=0, params={}, is_default=True), Resolved(settings={}, digest="d")
    store.begin("a study", proposal, COMMAND, resolved, NOW)
    seen.append(stamps(store, ["a study"]))
    store.finish("a study", a_trial(0))
    seen.append(stamps(store, ["a study"]))
    store.finish("a study", replace(a_trial(1, Failed(kind=FailureKind.REJECTED, message="no")), attempts=0))
    seen.append(stamps(store, ["a study"]))
    assert (seen[-1]["a study"].finished, seen[-1]["a study"].launched) == (2, 1)
    store.begin_contest("a study", [0], 2, NOW)
    seen.append(stamps(store, ["a study"]))
    run = Verification(
        round=1, role="defaults", trial_number=0, command=COMMAND, outcome=MEASURED, started_at=NOW, ended_at=NOW
    )
    store.add_verification("a study", run)
    seen.append(stamps(store, ["a study"]))
    assert len({str(one) for one in seen}) == len(seen)


def test_a_line_has_what_is_shown_of_its_trial(store: Store) -> None:
    store.create_or_get_study(STUDY)
    marked = replace(a_trial(0), outcome=replace(MEASURED, marks=(Mark.UNSTEADY, Mark.IMPRECISE)))
    twin = replace(a_trial(2), outcome=Twin(equals=0, why="alike"), attempts=0, violations={})
    for trial in (marked, a_trial(1, OOM), twin):
        store.finish("a study", trial)
    store.begin(
        "a study",
        Proposal(number=3, params={"a": 1}, is_default=False),
        COMMAND,
        Resolved(settings={}, digest="d"),
        NOW,
    )
    zero, one, two, three = trial_lines(store, "a study", 10)
    assert (zero.metrics, zero.marks, zero.failure) == (MEASURED.metrics(), ("unsteady", "imprecise"), None)
    assert (zero.params, zero.is_default, zero.violations) == (marked.params, True, {"ttft_p99": -0.25})
    assert (one.failure, one.metrics, one.state) == (("out of memory", "no memory left"), {}, "finished")
    assert (two.equals, two.attempts, two.failure) == (0, 0, None)
    assert (three.state, three.ended_at, three.params) == ("running", None, {"a": 1})
    assert [line.number for line in trial_lines(store, "a study", 2, after=0)] == [1, 2]
    assert trial_lines(store, "nope", 2) == []
    assert (last_trial(store, "a study"), last_trial(store, "nope")) == (2, -1)
    assert defaults_params(store, "a study") == marked.params
    assert defaults_params(store, "nope") is None


def test_launches_are_counted(store: Store) -> None:
    store.create_or_get_study(STUDY)
    store.finish("a study", a_trial(0))
    assert launches(store) == 0
    launch(store, me())
    assert launches(store) == 1
