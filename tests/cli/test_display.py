from io import StringIO

from rich.console import Console
from rich.table import Table
from samples import failed, measured, trial

from tuner.cli.display import settings, trials_table
from tuner.cli.watch import TerminalWatch
from tuner.decide.objective import OBJECTIVES
from tuner.decide.rank import best
from tuner.types import Proposal

THROUGHPUT = OBJECTIVES["throughput"]
DEFAULTS = trial(0, measured(output_throughput=100.0, ttft_s=0.5), params={"a": 1, "b": 0.92}, is_default=True)
WINNER = trial(1, measured(output_throughput=150.0, ttft_s=0.1), params={"a": 2, "b": 0.92})


def text(table: Table) -> str:
    console = Console(width=200, file=StringIO())
    console.print(table)
    shown = console.file
    assert isinstance(shown, StringIO)
    return shown.getvalue()


def test_settings_show_only_what_differs_from_the_defaults() -> None:
    assert settings({"a": 2, "b": 0.92}) == "a=2 b=0.92"
    assert settings({"a": 2, "b": 0.92}, {"a": 1, "b": 0.92}) == "a=2"


def test_a_failed_trial_has_dashes_and_no_numbers() -> None:
    row = text(trials_table([DEFAULTS, WINNER, trial(2, failed(), params={"a": 3, "b": 0.92})], 1)).splitlines()[-1]
    assert row.split() == ["2", "out", "of", "memory", "-", "-", "-", "-", "a=3"]


def test_without_a_terminal_progress_is_one_line_an_event() -> None:
    console = Console(file=StringIO(), width=80)
    with TerminalWatch(console, THROUGHPUT, 2) as watch:
        watch.trial_begins(Proposal(number=0, params=DEFAULTS.params, is_default=True), 2)
        watch.phase("starting vLLM")
        watch.trial_ended(DEFAULTS, best([DEFAULTS], THROUGHPUT))
        watch.trial_begins(Proposal(number=1, params=WINNER.params), 2)
        watch.trial_ended(trial(1, failed()), DEFAULTS)
        watch.verification_begins("the defaults", 1, 2)
    shown = console.file
    assert isinstance(shown, StringIO)
    assert shown.getvalue().splitlines() == [
        "trial 0: vLLM defaults: a=1 b=0.92",
        "trial 0: measured, 100.0 tok/s, 0 s, best so far",
        "trial 1: a=2",
        "trial 1: out of memory: CUDA out of memory",
        "launching the defaults again, round 1, at most 2",
    ]


def test_a_continued_study_knows_what_is_finished() -> None:
    console = Console(file=StringIO(), width=120, force_terminal=True)
    with TerminalWatch(console, THROUGHPUT, 3) as watch:
        watch.study_continues([DEFAULTS], DEFAULTS)
        watch.trial_begins(Proposal(number=1, params=WINNER.params), 3)
        watch.phase("measuring")
        watch._progress.refresh()
        watch.trial_ended(WINNER, WINNER)
        watch.trial_begins(Proposal(number=2, params={"a": 3, "b": 0.92}), 3)
        watch.phase("warm-up")
        watch._progress.refresh()
    shown = console.file
    assert isinstance(shown, StringIO)
    told = shown.getvalue()
    assert "1 of 3 trials are finished already" in told
    assert "trial 1: a=2\n" in told  # only what differs from the defaults that were measured before
    assert "trial 1 (2/3) measuring" in told
    assert "trial 2 (3/3) warm-up" in told
    assert "<1 min left" in told


def test_on_a_terminal_phase_best_and_time_left_are_shown() -> None:
    console = Console(file=StringIO(), width=120, force_terminal=True)
    with TerminalWatch(console, THROUGHPUT, 40) as watch:
        watch.trial_begins(Proposal(number=0, params=DEFAULTS.params, is_default=True), 40)
        watch.trial_ended(DEFAULTS, best([DEFAULTS], THROUGHPUT))
        watch.trial_begins(Proposal(number=1, params=WINNER.params), 40)
        watch.phase("measuring")
        watch._progress.refresh()
    shown = console.file
    assert isinstance(shown, StringIO)
    last = shown.getvalue()
    assert "trial 1 (2/40) measuring" in last
    assert "best 100.0 tok/s" in last
    assert "left" in last
