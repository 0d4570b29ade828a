"""Which launches verify a search, on a real database; the launches themselves are played here."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from faults.lab import Saboteur
from record_samples import STUDY
from samples import failed, measured, trial

from tuner.decide.objective import OBJECTIVES
from tuner.decide.slo import parse_slo
from tuner.decide.verdict import Answer
from tuner.errors import RunError
from tuner.record.store import Store
from tuner.study import verification as verifying
from tuner.study.budget import Budget
from tuner.study.clock import SystemClock
from tuner.study.decided import study_decision
from tuner.study.gate import Gate
from tuner.study.lease import holding
from tuner.types import Command, Failed, FailureKind, Outcome, Params, present

SLO = parse_slo("ttft_p99=500ms")
Play = Callable[[int, str], Outcome]


def finish(store: Store, number: int, outcome: Outcome) -> None:
    missed = {} if isinstance(outcome, Failed) else {SLO.name: SLO.violation(outcome.load)}
    found = replace(trial(number, outcome, is_default=number == 0), violations=missed)
    store.finish("a study", replace(found, command=Command(argv=("vllm", "serve", str(number)))))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """The defaults and a better trial, each with its own command."""
    opened = Store.open(f"sqlite:///{tmp_path / 'x.db'}")
    opened.create_or_get_study(replace(STUDY, objective="throughput", settings={"slos": ["ttft_p99=0.5s"]}))
    for number, throughput in enumerate((100.0, 150.0)):
        finish(opened, number, measured(output_throughput=throughput))
    yield opened
    opened.close()


def alike(number: int, label: str) -> Outcome:
    """Launches whose settings make no difference, and that differ among themselves."""
    return measured(output_throughput=100 + 3 * (len(label) + number + int(label[-1])) % 7)


def as_searched(number: int, label: str) -> Outcome:
    return measured(output_throughput=(100.0 if number == 0 else 150.0) + int(label[-1]) / 10)


def launches(
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
    play: Play = as_searched,
    verify: int = 2,
    budget: Budget | None = None,
    launch_s: float = 60,
) -> list[Any]:
    """What a verification launches: trial, command, and how."""
    found: list[Any] = []

    def run(setup: Any, store: Any, watch: Any, number: int, command: Command, params: Params, **how: Any) -> Outcome:
        found.append((number, command.argv[-1], how))
        return play(number, how["label"])

    setup: Any = SimpleNamespace(
        study="a study",
        verify=verify,
        objectives=(OBJECTIVES["throughput"],),
        constraints=(SLO,),
        clock=SystemClock(),
        logs=Path("logs"),
        guard=None,
    )
    monkeypatch.setattr(verifying, "run_recorded", run)
    verifying.verify(
        setup, store, Saboteur(), budget or Budget(None), lambda trial: launch_s, Gate(setup, store, Saboteur())
    )
    return found


def test_both_are_launched_in_turn_plainly_by_their_own_command(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    found = launches(store, monkeypatch)
    assert [number for number, _, _ in found] == [1, 0, 0, 1]
    assert all(argument == str(number) for number, argument, _ in found)
    assert all(how.get("engine") is None for _, _, how in found)
    assert study_decision(store, "a study").verdict.answer is Answer.BETTER


def test_what_was_verified_is_not_launched_again(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(launches(store, monkeypatch)) == 4
    assert launches(store, monkeypatch) == []


def test_nothing_is_begun_that_would_not_end_in_time(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = iter([0.0, 0.0, 60.0, 120.0])
    found = launches(store, monkeypatch, budget=Budget(150 / 3600, clock=lambda: next(now_s)))
    assert [number for number, _, _ in found] == [1, 0]
    verdict = study_decision(store, "a study").verdict
    assert (verdict.answer, verdict.why) == (
        Answer.NOT_VERIFIED,
        "its verification is not finished: run the same command again",
    )


def test_with_verify_0_nothing_is_launched_again(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    assert launches(store, monkeypatch, verify=0) == []
    assert study_decision(store, "a study").verdict.answer is Answer.NOT_VERIFIED


@pytest.mark.parametrize("kind", [kind for kind in FailureKind if not (kind.is_of_the_settings or kind.is_in_doubt)])
@pytest.mark.parametrize("at", [0, 1])
def test_what_is_nobodys_settings_doing_is_not_kept_as_theirs(
    store: Store, monkeypatch: pytest.MonkeyPatch, kind: FailureKind, at: int
) -> None:
    """The run stops with its sentence, and the same command goes on where it stopped."""

    def broken(number: int, label: str) -> Outcome:
        return Failed(kind=kind, message="pid 77 (not ours)") if number == at else as_searched(number, label)

    with pytest.raises(
        RunError, match=f"trial {at}, launched again: {kind.value}: pid 77 .* run the same command again"
    ):
        launches(store, monkeypatch, broken)
    assert all(not isinstance(v.outcome, Failed) for v in store.verifications("a study"))
    launches(store, monkeypatch)
    assert study_decision(store, "a study").verdict.answer is Answer.BETTER


def test_a_new_leader_has_a_contest_of_its_own_with_new_launches_of_the_defaults(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the machine of another day would be compared: here it is 8 % faster by then, and the settings make no difference."""
    launches(store, monkeypatch, alike, verify=3)
    finish(store, 2, measured(output_throughput=300.0))
    assert "trial 2 looks better by now" in study_decision(store, "a study").verdict.why

    def faster(number: int, label: str) -> Outcome:
        outcome = alike(number, label)
        assert not isinstance(outcome, Failed)
        return measured(output_throughput=1.08 * present(outcome.load.output_throughput))

    found = launches(store, monkeypatch, faster, verify=3)
    assert {number for number, _, _ in found} >= {0, 2}
    assert study_decision(store, "a study").verdict.answer is not Answer.BETTER
    assert [contest.candidates[0] for contest in store.contests("a study")] == [1, 2]


def test_a_raised_verify_goes_on_with_the_same_contest(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def near(number: int, label: str) -> Outcome:
        return measured(output_throughput=100 + 20 * (int(label[-1]) % 2) + (4 if number else 0))

    first = launches(store, monkeypatch, near, verify=2)
    more = launches(store, monkeypatch, near, verify=4)
    assert len(first) == 4
    assert [how["label"] for _, _, how in more] == ["-verify-3", "-verify-3", "-verify-4", "-verify-4"]
    assert [contest.rounds for contest in store.contests("a study")] == [4]


def test_defaults_that_miss_the_slo_when_launched_again_leave_a_study_that_can_be_read(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def miss(number: int, label: str) -> Outcome:
        return as_searched(number, label) if number else measured(output_throughput=100.0, ttft_s=0.9)

    launches(store, monkeypatch, miss, verify=3)
    found = study_decision(store, "a study")
    assert found.chosen is not None
    assert (found.chosen.number, found.verdict.answer) == (1, Answer.ALONE)


def test_defaults_that_crash_at_each_launch(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(number: int, label: str) -> Outcome:
        return as_searched(number, label) if number else failed()

    launches(store, monkeypatch, crash, verify=3)
    verdict = study_decision(store, "a study").verdict
    assert (verdict.answer, verdict.why) == (Answer.ALONE, "the defaults failed when they were launched again")


def test_a_study_whose_every_finalist_fails(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    finish(store, 2, measured(output_throughput=140.0))

    def crash(number: int, label: str) -> Outcome:
        return failed() if number else as_searched(number, label)

    found = launches(store, monkeypatch, crash, verify=3)
    assert {number for number, _, _ in found} == {0, 1, 2}
    kept = study_decision(store, "a study")
    assert kept.chosen is not None
    assert (kept.chosen.number, kept.verdict.answer) == (0, Answer.CRASHED)


def test_where_the_defaults_miss_the_slo_in_the_search_the_winner_is_verified(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = Store.open(f"sqlite:///{tmp_path / 'y.db'}")
    opened.create_or_get_study(replace(STUDY, objective="throughput", settings={"slos": ["ttft_p99=0.5s"]}))
    finish(opened, 0, measured(output_throughput=200.0, ttft_s=0.9))
    finish(opened, 1, measured(output_throughput=150.0, ttft_s=0.3))

    def play(number: int, label: str) -> Outcome:
        return (
            measured(output_throughput=150.0, ttft_s=0.3) if number else measured(output_throughput=200.0, ttft_s=0.9)
        )

    found = launches(opened, monkeypatch, play, verify=3)
    assert [number for number, _, _ in found].count(1) == 2
    decision = study_decision(opened, "a study")
    assert (decision.verdict.answer, decision.verdict.launches) == (Answer.ALONE, 2)
    opened.close()


def test_a_study_that_runs_is_said_to_and_asks_for_nothing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who looks on from outside has nothing to do; whoever runs it says in the end what is left."""
    watching = Store.open(store.url, read_only=True)
    with holding(store, "a study"):
        verdict = study_decision(watching, "a study").verdict
        assert (verdict.answer, verdict.why) == (Answer.NOT_VERIFIED, "the study still runs")
        assert study_decision(store, "a study").verdict.why == "it was not launched again: see --verify"
        launches(store, monkeypatch, verify=3)
        verdict = study_decision(watching, "a study").verdict
        assert (verdict.answer, verdict.why) == (Answer.BETTER, "the study still runs")
    assert study_decision(watching, "a study").verdict.why == ""
    watching.close()
