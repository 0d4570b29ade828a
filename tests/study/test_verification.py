"""Which launches verify a winner, on a real database; the launches themselves are played here."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from faults.lab import Saboteur
from record_samples import STUDY
from samples import measured, trial

from tuner.decide.objective import OBJECTIVES
from tuner.record.store import Store
from tuner.study import verification as verifying
from tuner.study.budget import Budget
from tuner.study.clock import SystemClock
from tuner.types import Command, Measured, Params


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """The defaults and a better trial, each with its own command."""
    opened = Store.open(f"sqlite:///{tmp_path / 'x.db'}")
    opened.create_or_get_study(STUDY)
    for number, throughput in enumerate((100.0, 150.0)):
        found = trial(number, measured(output_throughput=throughput), is_default=number == 0)
        opened.finish("a study", replace(found, command=Command(argv=("vllm", "serve", str(number)))))
    yield opened
    opened.close()


def launches(store: Store, monkeypatch: pytest.MonkeyPatch, budget: Budget, launch_s: float = 60) -> list[Any]:
    """What a verification of two rounds launches: trial, command, and how."""
    found: list[Any] = []

    def play(setup: Any, store: Any, watch: Any, number: int, command: Command, params: Params, **how: Any) -> Measured:
        found.append((number, command.argv[-1], how))
        return measured()

    setup: Any = SimpleNamespace(
        study="a study", verify=2, objective=OBJECTIVES["throughput"], constraints=(), clock=SystemClock()
    )
    monkeypatch.setattr(verifying, "run_recorded", play)
    verifying.verify(setup, store, Saboteur(), budget, launch_s)
    return found


def test_both_are_launched_in_turn_plainly_by_their_own_command(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    found = launches(store, monkeypatch, Budget(None))
    assert [number for number, _, _ in found] == [1, 0, 0, 1]
    assert all(argument == str(number) for number, argument, _ in found)
    assert all(how.get("engine") is None for _, _, how in found)


def test_what_was_verified_is_not_launched_again(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(launches(store, monkeypatch, Budget(None))) == 4
    assert launches(store, monkeypatch, Budget(None)) == []


def test_nothing_is_begun_that_would_not_end_in_time(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = iter([0.0, 0.0, 60.0, 120.0])
    found = launches(store, monkeypatch, Budget(150 / 3600, clock=lambda: next(now_s)))
    assert [number for number, _, _ in found] == [1, 0]
