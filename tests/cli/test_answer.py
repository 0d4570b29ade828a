from dataclasses import replace
from io import StringIO

import pytest
from rich.console import Console
from rich.table import Table
from samples import failed, measured, trial

from tuner.cli.answer import comparison_table
from tuner.decide.contest import Side
from tuner.decide.gain import Enough, Gain
from tuner.decide.objective import OBJECTIVES
from tuner.decide.verdict import Answer, Decision, Missed, Verdict
from tuner.decide.words.answer import answer_text

THROUGHPUT, TTFT = OBJECTIVES["throughput"], OBJECTIVES["ttft_p99"]
DEFAULTS = trial(0, measured(output_throughput=100.0, ttft_s=0.5), params={"a": 1, "b": 0.92}, is_default=True)
WINNER = trial(1, measured(output_throughput=150.0, ttft_s=0.1), params={"a": 2, "b": 0.92})
GAIN = Gain(gain=0.5, low=0.45, high=0.55, noise=0.02, p_better=0.001, p_worse=0.999, least_seen=0.04)


def text(table: Table) -> str:
    console = Console(width=200, file=StringIO())
    console.print(table)
    shown = console.file
    assert isinstance(shown, StringIO)
    return shown.getvalue()


def found(answer: Answer, **verdict: object) -> Decision:
    chosen = WINNER if answer in (Answer.BETTER, Answer.ALONE, Answer.NOT_VERIFIED) else DEFAULTS
    said = replace(Verdict(answer=answer, trial=1, launches=2, defaults=3), **verdict)  # type: ignore[arg-type]
    return Decision(chosen=chosen, winner=WINNER, defaults=DEFAULTS, verdict=said)


def test_before_and_after() -> None:
    shown = text(comparison_table(DEFAULTS, WINNER))
    assert "100.0 tok/s" in shown
    assert "150.0 tok/s" in shown
    assert "+50.0%" in shown
    assert "500.0 ms" in shown
    assert "-80.0% faster" in shown
    assert "GPU" not in shown  # there was none: absent, not 0


def test_before_and_after_prefer_what_was_launched_again_and_show_how_far_it_spreads() -> None:
    again = [(0, measured(output_throughput=t)) for t in (90.0, 94.0)] + [(1, measured(output_throughput=138.0))]
    shown = text(comparison_table(DEFAULTS, WINNER, again))
    assert "mean of 2 and 1 new launches" in " ".join(shown.split())
    assert "92.0 tok/s ±2.0" in shown
    assert "138.0 tok/s" in shown
    assert "+50.0%" in shown
    only_one = text(comparison_table(DEFAULTS, WINNER, again[:1]))
    assert "150.0 tok/s" in only_one
    assert "as the search measured them" in " ".join(only_one.split())


@pytest.mark.parametrize(
    ("decision", "said"),
    [
        (
            found(Answer.BETTER, gain=GAIN),
            "Trial 1 is better than vLLM's defaults: launched again, its throughput is 50.0% higher "
            "(95 % interval +45.0% to +55.0%) (2 launches against 3 of the defaults, which differ by 2.0% among themselves).",
        ),
        (
            found(Answer.WORSE, gain=replace(GAIN, gain=-0.1, low=-0.12, high=-0.08)),
            "Keep vLLM's defaults: trial 1 looked best in the search, but launched again, its throughput is 10.0% lower "
            "(95 % interval -12.0% to -8.0%) (2 launches against 3 of the defaults, which differ by 2.0% among themselves).",
        ),
        (
            found(Answer.ALONE, why="the defaults miss an SLO"),
            "Deploy trial 1: it was verified on its own, in 2 launches, because the defaults miss an SLO.",
        ),
        (
            found(Answer.NOT_TOLD_APART, gain=replace(GAIN, gain=0.01)),
            "Keep vLLM's defaults: trial 1 looked best in the search, but launched again the two cannot be told apart: "
            "a gain of less than 4% would not have been seen (2 launches against 3 of the defaults, which differ by 2.0% among "
            "themselves).",
        ),
        (
            found(Answer.NOT_TOLD_APART, gain=replace(GAIN, least_seen=2.2), is_cut_short=True, enough=Enough(5, 0.1)),
            "Keep vLLM's defaults: trial 1 looked best in the search, but launched again the two cannot be told apart: "
            "a gain of less than 220% would not have been seen, and the same command with --verify 5 would see one of 10% "
            "(2 launches against 3 of the defaults, which differ by 2.0% among themselves).",
        ),
        (
            found(Answer.NOT_TOLD_APART, gain=replace(GAIN, gain=0.01, least_seen=4.07, noise=0.3), is_cut_short=True),
            "Keep vLLM's defaults: trial 1 looked best in the search, but launched again the two cannot be told apart: "
            "a gain of less than 407% would not have been seen, and more --verify alone would not help: measure longer "
            "(--window) (2 launches against 3 of the defaults, which differ by 30.0% among themselves).",
        ),
        (
            found(Answer.MISSES, is_cut_short=True),
            "Keep vLLM's defaults: trial 1 looked best in the search, but launched again it stayed too near its limit to be "
            "relied on. More launches may show that it can: the same command with more --verify.",
        ),
        (
            found(Answer.CRASHED, failure=failed()),
            "Keep vLLM's defaults: trial 1 looked best in the search, but launched again it ended as out of memory "
            "in launch 2: CUDA out of memory.",
        ),
        (
            found(Answer.MISSES, missed=(Missed(slo="ttft_p99", limit_s=0.5, worst_s=0.61, times=1, launches=3),)),
            "Keep vLLM's defaults: trial 1 looked best in the search, but launched again it missed ttft_p99 in 1 of 3 "
            "launches, at the worst with 610 ms of 500 ms.",
        ),
        (
            found(Answer.NOT_VERIFIED, why="see --verify"),
            "Trial 1 is the best that was measured, and is not verified: see --verify.",
        ),
        (
            found(Answer.NOTHING_BETTER, why="no other trial has ended"),
            "Keep vLLM's defaults: no other trial has ended.",
        ),
        (
            replace(found(Answer.NOTHING_BETTER, why="no trial could be measured"), chosen=None),
            "Nothing to recommend: no trial could be measured.",
        ),
    ],
)
def test_each_answer_has_its_own_sentence(decision: Decision, said: str) -> None:
    assert answer_text(decision, THROUGHPUT) == said
    assert answer_text(decision, THROUGHPUT, "SIMULATED") == f"SIMULATED: {said}"


def test_a_latency_is_lower_or_higher_and_has_no_sign() -> None:
    better = answer_text(found(Answer.BETTER, gain=Gain(gain=0.25)), TTFT)
    assert "its ttft_p99 is 20.0% lower (faster)" in better  # 0.8 of it: 1 / 1.25
    worse = answer_text(found(Answer.WORSE, gain=Gain(gain=-0.2)), TTFT)
    assert "its ttft_p99 is 25.0% higher (slower)" in worse


def test_when_all_finalists_failed_their_number_is_told() -> None:
    sides = tuple(Side(replace(WINNER, number=n), [failed()]) for n in (1, 2, 3))
    said = answer_text(replace(found(Answer.CRASHED, failure=failed()), finalists=sides, chosen=None), THROUGHPUT)
    assert said.startswith("Nothing to recommend: trial 1 looked best")
    assert said.endswith("; so did the next 2 of the search's best.")
