"""What is shown of a study beside its numbers: from our tables alone, in words that say what is real, verified and why."""

import gzip
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from record_samples import COMMAND, NOW, STUDY, TIMELINE
from samples import FINGERPRINT, failed, measured

from tuner.propose.shown import Shown
from tuner.record.rows import Verification
from tuner.record.store import Store
from tuner.study import showing
from tuner.study.showing import MOST_NOTES, Showing, shown_of
from tuner.types import Failed, FailureKind, Mark, Outcome, Params, ProcessId, Trial, Twin

DEFAULTS: Params = {"max_num_seqs": 256, "quantization": "none"}


@pytest.fixture
def store(storage_url: str) -> Iterator[Store]:
    opened = Store.open(storage_url)
    opened.create_or_get_study(STUDY)
    yield opened
    opened.close()


def finish(store: Store, number: int, outcome: Outcome | Twin, **params: object) -> None:
    trial = Trial(
        number=number,
        params={**DEFAULTS, **params},  # type: ignore[dict-item]
        is_default=number == 0,
        resolved={},
        command=COMMAND,
        outcome=outcome,
        violations={},
        started_at=NOW,
        ended_at=NOW + timedelta(seconds=60),
    )
    store.finish(STUDY.name, trial)


def note(store: Store, number: int) -> str:
    return shown_of(store, STUDY.name).trials[number].note


def test_each_trial_says_what_it_is_and_why_it_failed(store: Store) -> None:
    finish(store, 0, replace(measured(), timeline=TIMELINE))
    finish(store, 1, measured(output_throughput=150.0, marks=(Mark.CLIENT_BOUND,)), quantization="fp8")
    tail = "\n".join(f"line {n}" for n in range(100)) + "\nVLLM_API_KEY=correct-horse-battery"
    finish(store, 2, Failed(kind=FailureKind.CRASHED, message="<b>it</b> died", log_tail=tail), max_num_seqs=1)
    finish(store, 3, Twin(equals=0, why="alike"))
    assert "vLLM's defaults:\n\n```text\nmax_num_seqs=256\nquantization=none\n```" in note(store, 0)
    faster = note(store, 1)
    assert "```text\nquantization=fp8\n```" in faster  # what differs
    assert "**client bound**" in faster
    crashed = note(store, 2)
    assert r"**Why it failed** (crashed): \<b\>it\</b\> died" in crashed
    assert "line 99\nVLLM_API_KEY=***\n```" in crashed
    assert "line 60\n" not in crashed
    assert 3 not in shown_of(store, STUDY.name).trials  # a twin has nothing of its own
    assert not any("SIMULATED" in one.note for one in shown_of(store, STUDY.name).trials.values())


def test_the_study_says_its_answer_what_it_rests_on_and_how_to_export_it(store: Store) -> None:
    finish(store, 0, measured())
    finish(store, 1, measured(output_throughput=150.0), quantization="fp8")
    found = shown_of(store, STUDY.name)
    assert found.attributes["verified"] is False
    assert found.attributes["recommended"] == "trial 1"
    assert str(found.attributes["verdict"]).startswith("Trial 1 is the best that was measured, and is not verified")
    assert found.attributes["reality"] == "measured: the servers ran"
    assert "tuner export 'a study' --format yaml" in found.note
    assert "| Output throughput | 100.0 tok/s | 150.0 tok/s | +50.0% |" in found.note
    assert "changes the model's answers" in found.note
    store.begin_contest(STUDY.name, [1], 3, NOW)
    for round in (1, 2, 3):
        for role, number, rate in (("defaults", 0, 100.0), ("finalist", 1, 150.0)):
            outcome = measured(output_throughput=rate + round / 10)
            named = {"round": round, "role": role, "trial_number": number, "command": COMMAND, "outcome": outcome}
            store.add_verification(STUDY.name, Verification(**named, started_at=NOW, ended_at=NOW))  # type: ignore[arg-type]
    found = shown_of(store, STUDY.name)
    assert found.attributes["verified"] is True
    assert "Trial 1 is better than vLLM's defaults" in found.note
    assert "recommended" in found.trials[1].note


def test_what_is_not_real_says_so_first_everywhere(store: Store) -> None:
    unreal = replace(FINGERPRINT, engine_version="SIMULATED vLLM 0.32")
    store.create_or_get_study(replace(STUDY, name="sim", fingerprint=unreal))
    finish(store, 0, measured())
    trial = store.trials(STUDY.name)[0]
    store.finish("sim", trial)
    found = shown_of(store, "sim")
    assert str(found.attributes["reality"]).startswith("SIMULATED: ")
    assert next(iter(found.attributes)) == "reality"
    for text in (found.note, found.trials[0].note):
        assert text.startswith("**SIMULATED: no GPU and no vLLM has run")


def test_files_are_listed_of_what_has_them(store: Store) -> None:
    finish(store, 0, replace(measured(), timeline=TIMELINE))
    finish(store, 1, failed())
    me = ProcessId(1, 1.0)
    for number, name in ((0, "trial-0.log"), (1, "trial-1.log"), (0, "trial-0-verify-1.log")):
        named = {"tuner": me, "leader": me, "processes": [me], "start": "plain", "port": 1, "started_at": NOW}
        store.record_launch(STUDY.name, number, log=Path("/x") / name, **named)  # type: ignore[arg-type]
    found = shown_of(store, STUDY.name).trials
    assert [one.filename for one in found[0].artifacts] == [
        *("trial-0.log", "trial-0-verify-1.log", "trial-0-timeline.svg", "trial-0-timeline.json")
    ]
    assert [one.filename for one in found[1].artifacts] == ["trial-1.log"]


def test_a_very_long_study_has_notes_of_its_first_trials_and_of_what_is_recommended(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(showing, "MOST_NOTES", 2)
    for number in range(5):
        finish(store, number, measured(output_throughput=100.0 + 30 * (number == 4)), max_num_seqs=number + 1)
    assert [*shown_of(store, STUDY.name).trials] == [0, 1, 4]
    assert MOST_NOTES > 2


def test_a_database_of_the_second_schema_is_shown_too(tmp_path: Path) -> None:
    file = tmp_path / "old.db"
    packed = Path(__file__).parents[1] / "record" / "databases" / "0002.db.gz"
    file.write_bytes(gzip.decompress(packed.read_bytes()))
    store = Store.open(f"sqlite:///{file}", read_only=True)
    found = shown_of(store, "old")
    assert [*found.trials] == [0, 1, 2, 3, 4]
    assert not any(one.filename.endswith(".svg") for shown in found.trials.values() for one in shown.artifacts)
    assert str(found.attributes["reality"]).startswith("SIMULATED")
    store.close()


def test_while_a_study_runs_little_time_goes_into_it(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(showing, "monotonic", lambda: clock[0])
    written: list[Shown] = []

    def write(shown: Shown) -> None:
        clock[0] += 1.0
        written.append(shown)

    finish(store, 0, measured())
    shows = Showing(store, STUDY.name, write)
    for _ in range(100):
        shows.maybe()
        clock[0] += 1.0
    assert 4 <= len(written) <= 6
    shows.now()
    assert len(written) <= 7
