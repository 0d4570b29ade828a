import re
from dataclasses import replace
from io import StringIO

import pytest
from rich.console import Console
from rich.table import Table
from samples import failed, measured, trial

from tuner.cli.display import best_first, listed, trials_table
from tuner.cli.recommendation import recommendation_table
from tuner.cli.result import next_step
from tuner.cli.watch import TerminalWatch
from tuner.decide.objective import OBJECTIVES
from tuner.decide.rank import best
from tuner.decide.verdict import Answer, Decision, Verdict
from tuner.decide.words.settings import settings
from tuner.types import Params, Proposal, Underway

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


@pytest.mark.parametrize("debug", [False, True])
def test_details_are_told_with_debug_only(debug: bool) -> None:
    console = Console(file=StringIO(), width=80)
    with TerminalWatch(console, [THROUGHPUT], 2, "SIMULATED", debug) as watch:
        watch.detail("no prediction: the CPU engine is not modelled")
    assert isinstance(console.file, StringIO)
    shown = "SIMULATED no prediction: the CPU engine is not modelled\n"
    assert console.file.getvalue() == (shown if debug else "")


def test_without_a_terminal_progress_is_one_line_an_event() -> None:
    console = Console(file=StringIO(), width=80)
    with TerminalWatch(console, [THROUGHPUT], 2) as watch:
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
        "launching the defaults again, 1 of at most 2",
    ]


def test_a_continued_study_knows_what_is_finished() -> None:
    console = Console(file=StringIO(), width=120, force_terminal=True)
    with TerminalWatch(console, [THROUGHPUT], 3) as watch:
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
    with TerminalWatch(console, [THROUGHPUT], 40) as watch:
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


def seen_on_a_terminal(verifying: bool) -> str:
    console = Console(file=StringIO(), width=80, force_terminal=True)
    with TerminalWatch(console, [THROUGHPUT], 40) as watch:
        watch.trial_begins(Proposal(number=0, params=DEFAULTS.params, is_default=True), 40)
        if verifying:
            watch.trial_ended(DEFAULTS, DEFAULTS)
            watch.verification_begins("the defaults", 1, 3)
        watch.phase("measuring")
        watch.underway(Underway(past_s=7.2, least_s=12.0, most_s=48.0, tokens_per_s=1234.5))
        watch._progress.refresh()
    shown = console.file
    assert isinstance(shown, StringIO)
    return shown.getvalue()


def test_the_first_trial_has_a_bar_its_throughput_so_far_and_what_is_left() -> None:
    told = seen_on_a_terminal(verifying=False)
    assert "trial 0 (1/40) measuring" in told
    assert "7/48 s, 1,234 tok/s" in told
    assert "40 trials to go" in told
    assert "━" in told
    assert "…" not in told


def test_so_has_the_verification() -> None:
    told = seen_on_a_terminal(verifying=True)
    assert "verifying 1/3 measuring" in told
    assert "1,234 tok/s" in told
    assert "left" in told
    assert "…" not in told


def test_the_ten_best_are_listed_first_and_the_defaults_with_them() -> None:
    trials = [DEFAULTS, *(trial(n, measured(output_throughput=100.0 + n), params={"a": n}) for n in range(1, 15))]
    assert [t.number for t in listed(trials, THROUGHPUT, 3)] == [*range(14, 4, -1), 3, 0]
    assert [t.number for t in best_first([trial(99, failed()), *trials], THROUGHPUT)][-1] == 99


def test_the_one_that_is_recommended_says_so_in_words() -> None:
    rows = text(trials_table([WINNER, DEFAULTS], 1)).splitlines()
    assert rows[1].split()[:2] == ["1", "recommended"]
    assert "recommended" not in rows[2]


def test_the_objective_and_the_slos_have_a_column() -> None:
    limited = replace(trial(1, measured(), params={"a": 2}), violations={"e2e_p50": 0.5})
    header = text(trials_table([limited], None, [OBJECTIVES["goodput"]])).splitlines()[0]
    assert "Goodput req/s" in header
    assert "E2E latency p50 ms" in header


def test_the_recommendation_is_a_diff_to_the_defaults_in_flags() -> None:
    params: Params = {"max_num_seqs": 64, "enforce_eager": False, "quantization": "none", "b": 1}
    defaults = trial(
        0,
        measured(),
        params={"max_num_seqs": 256, "enforce_eager": True, "quantization": "fp8", "b": 1},
        is_default=True,
    )
    chosen = trial(1, measured(), params=params)
    verdict = Verdict(answer=Answer.BETTER, trial=1)
    table = recommendation_table(Decision(chosen=chosen, winner=chosen, defaults=defaults, verdict=verdict))
    assert table is not None
    rows = [re.split(r"  +", line.strip()) for line in text(table).splitlines()]
    assert rows[0] == ["--max-num-seqs 64", "default 256"]
    assert rows[1] == ["--no-enforce-eager", "default True"]
    assert len(rows) == 3
    kept = Decision(chosen=defaults, winner=chosen, defaults=defaults, verdict=verdict)
    assert recommendation_table(kept) is None


def test_the_next_step_is_quoted_and_holds_no_password() -> None:
    assert next_step("sqlite:///tuner.db", "export", "a study; $(x)") == "tuner export 'a study; $(x)'"
    assert next_step("my db.db", "show", "s") == "tuner show s --storage 'my db.db'"
    assert "secret" not in next_step("postgresql://me:secret@host/db", "show", "s")
