"""What is written of a study as it happens, and read back."""

import json
from pathlib import Path

import pytest
from record_samples import a_trial

from tuner.errors import RunError
from tuner.study import events
from tuner.study.events import Begin, End, EventLog, Note, State, events_in
from tuner.study.watch import Both
from tuner.types import Failed, FailureKind, Proposal, Underway

OWN = "it ended by an error of its own (ZeroDivisionError): its log has more"


def test_what_a_watch_is_told_comes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "EVERY_S", 0.0)
    file = tmp_path / "x.jsonl"
    with EventLog(file, lambda: 0.5) as log:
        log.study_continues([a_trial(0)], None)
        log.trial_begins(Proposal(number=1, params={}, is_default=False), 5)
        log.phase("measuring")
        log.underway(Underway(past_s=1.0, least_s=2.0, most_s=9.0, tokens_per_s=44.0))
        log.trial_ended(a_trial(1, Failed(kind=FailureKind.CRASHED, message="gone")), None)
        log.detail("not told")
        log.end("finished")
    begin, *told = events_in(file.read_bytes())
    assert isinstance(begin, Begin)
    assert told == [
        Note(text="1 trial is finished already"),
        State(phase="proposing", trial=1, of=5),
        State(phase="measuring", trial=1, of=5),
        State(phase="measuring", trial=1, of=5, past_s=1.0, most_s=9.0, output_throughput=44.0, gpu_utilization=0.5),
        Note(text="trial 1: crashed: gone"),
        End(how="finished"),
    ]
    assert file.stat().st_mode & 0o077 == 0


def test_states_under_way_are_few(tmp_path: Path) -> None:
    file = tmp_path / "x.jsonl"
    with EventLog(file) as log:
        log.phase("measuring")
        for _ in range(1000):
            log.underway(Underway(past_s=1.0, least_s=2.0, most_s=9.0, tokens_per_s=44.0))
    assert len(events_in(file.read_bytes())) < 10


@pytest.mark.parametrize(
    ("error", "end"),
    [
        (KeyboardInterrupt(), End(how="interrupted")),
        (RunError("no card"), End(how="failed", message="no card")),
        (
            ZeroDivisionError("x"),
            End(how="failed", message=OWN),
        ),
    ],
)
def test_however_it_ends_that_is_written_once(tmp_path: Path, error: BaseException, end: End) -> None:
    file = tmp_path / "x.jsonl"
    with pytest.raises(type(error)), EventLog(file):
        raise error
    assert events_in(file.read_bytes())[-1] == end


def test_what_is_no_event_is_left_out() -> None:
    assert events_in(b'{"event":"note","text":"a"}\nnonsense\n{"event":"else"}\n{"event":"no') == [Note(text="a")]


def test_a_file_that_cannot_be_written_changes_nothing(tmp_path: Path) -> None:
    with EventLog(tmp_path / "none" / "x.jsonl") as log:
        log.note("a")
    with Path("/dev/full").open() as _, EventLog(Path("/dev/full")) as log:
        log.note("a")


def test_two_are_told_the_same(tmp_path: Path) -> None:
    files = tmp_path / "a", tmp_path / "b"
    with EventLog(files[0]) as first, EventLog(files[1]) as second:
        both = Both(first, second)
        both.note("a")
        both.phase("p")
        both.trial_begins(Proposal(number=1, params={}, is_default=False), 5)
        both.verification_begins("defaults", 1, 2)
        both.study_continues([], None)
        both.trial_ended(a_trial(1), None)
        both.underway(Underway(past_s=1.0, least_s=None, most_s=None, tokens_per_s=None))
        both.detail("d")
    texts = [[json.loads(line) for line in file.read_text().splitlines()] for file in files]
    assert texts[0] == texts[1]
    assert len(texts[0]) >= 5
