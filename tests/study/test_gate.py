"""Whose doing a failure is, by evidence: launches are played, the database is real."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from faults.lab import Saboteur
from record_samples import STUDY
from samples import measured, trial

from tuner.errors import RunError
from tuner.record.store import Store
from tuner.study import gate as gating
from tuner.study.gate import Gate, refuse_what_is_not_of_the_settings
from tuner.types import Command, Failed, FailureKind, Outcome

UNKNOWN = Failed(kind=FailureKind.CRASHED, message="RuntimeError: nobody knows 0x7f12 of 4 GiB", starting=True)
NO_MEMORY = Failed(kind=FailureKind.HOST_MEMORY, message="it was ended by SIGKILL", starting=True)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store.open(f"sqlite:///{tmp_path / 'x.db'}")
    opened.create_or_get_study(replace(STUDY, objective="throughput"))
    yield opened
    opened.close()


def gate_with(store: Store, monkeypatch: pytest.MonkeyPatch, defaults: Outcome) -> tuple[Gate, list[str]]:
    """A gate that finds the defaults so; and the labels of the launches that it asked for."""
    asked: list[str] = []

    def run(*arguments: Any, label: str, is_short: bool) -> Outcome:
        assert is_short
        asked.append(label)
        return defaults

    monkeypatch.setattr(gating, "run_recorded", run)
    launcher = SimpleNamespace(command=lambda params: Command(argv=("vllm", "serve")))
    setup: Any = SimpleNamespace(study="a study", launcher=launcher)
    return Gate(setup, store, Saboteur()), asked


def test_an_unknown_failure_of_a_setting_is_its_own_if_the_defaults_start(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are asked once for each cause, whatever its numbers are."""
    gate, asked = gate_with(store, monkeypatch, measured())
    assert gate.judged(UNKNOWN, is_default=False) is UNKNOWN
    alike = replace(UNKNOWN, message="RuntimeError: nobody knows 0x8888 of 5.5 GiB")
    assert gate.judged(alike, is_default=False) is alike
    assert asked == ["-beside-1"]
    gate.judged(replace(UNKNOWN, message="RuntimeError: another"), is_default=False)
    assert asked == ["-beside-1", "-beside-2"]


@pytest.mark.parametrize(
    ("defaults", "kind"),
    [
        (UNKNOWN, FailureKind.DEFAULTS_FAIL),
        (Failed(kind=FailureKind.HOST, message="no compiler", starting=True), FailureKind.HOST),
        (Failed(kind=FailureKind.GPU_FAILED, message="ECC", starting=True), FailureKind.GPU_FAILED),
        (Failed(kind=FailureKind.OUT_OF_MEMORY, message="too long", starting=True), FailureKind.CRASHED),
    ],
)
def test_it_is_nobodys_if_the_defaults_fail_alike(
    store: Store, monkeypatch: pytest.MonkeyPatch, defaults: Failed, kind: FailureKind
) -> None:
    gate, _ = gate_with(store, monkeypatch, defaults)
    judged = gate.judged(UNKNOWN, is_default=False)
    assert isinstance(judged, Failed)
    assert judged.kind is kind
    if kind is not FailureKind.CRASHED:
        assert defaults.message in judged.message
        with pytest.raises(
            RunError, match="run the same command again once that is mended: this launch is not counted"
        ):
            refuse_what_is_not_of_the_settings(judged, "trial 3")


def test_what_the_defaults_fail_by_is_nobodys_settings(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    gate, asked = gate_with(store, monkeypatch, measured())
    for failed, kind in ((UNKNOWN, FailureKind.DEFAULTS_FAIL), (NO_MEMORY, FailureKind.HOST_MEMORY)):
        judged = gate.judged(failed, is_default=True)
        assert isinstance(judged, Failed)
        assert judged.kind is kind
        assert not judged.kind.is_of_the_settings
    assert asked == []


def test_a_host_without_memory_is_the_settings_doing_only_where_the_defaults_start(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    starts, _ = gate_with(store, monkeypatch, measured())
    judged = starts.judged(NO_MEMORY, is_default=False)
    assert isinstance(judged, Failed)
    assert judged.kind is FailureKind.OUT_OF_MEMORY
    fails, _ = gate_with(store, monkeypatch, NO_MEMORY)
    judged = fails.judged(NO_MEMORY, is_default=False)
    assert isinstance(judged, Failed)
    assert judged.kind is FailureKind.HOST_MEMORY


def test_a_death_under_load_is_the_settings_unless_the_stored_defaults_died_of_it(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, asked = gate_with(store, monkeypatch, measured())
    died = replace(UNKNOWN, starting=False, log_tail="the end of a log")
    assert gate.judged(died, is_default=False) is died
    store.finish("a study", replace(trial(0, died, is_default=True)))
    judged = gate.judged(died, is_default=False)
    assert isinstance(judged, Failed)
    assert judged.kind is FailureKind.DEFAULTS_FAIL
    assert asked == []


@pytest.mark.parametrize("kind", [kind for kind in FailureKind if not kind.is_in_doubt])
def test_what_is_known_needs_no_evidence(store: Store, monkeypatch: pytest.MonkeyPatch, kind: FailureKind) -> None:
    gate, asked = gate_with(store, monkeypatch, measured())
    known = Failed(kind=kind, message="known", starting=True)
    assert gate.judged(known, is_default=False) is known
    assert asked == []
