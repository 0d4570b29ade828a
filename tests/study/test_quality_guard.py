"""Whose answers are asked for, and what becomes of a finalist that loses quality, on a real database."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from faults.lab import Saboteur
from record_samples import STUDY
from samples import measured, trial

from tuner.decide.contest import Standing
from tuner.decide.front import front_contest_of, front_decision
from tuner.decide.harm import Harm
from tuner.decide.objective import OBJECTIVES
from tuner.decide.verdict import Answer
from tuner.decide.words.decision import decision_text
from tuner.decide.words.quality import quality_lines, refused_sentences
from tuner.errors import UsageError
from tuner.export.caution import cautions
from tuner.load.questions import read_questions
from tuner.record.store import Store
from tuner.space.files import load_space
from tuner.study import verification as verifying
from tuner.study.budget import Budget
from tuner.study.checks import check_values
from tuner.study.clock import SystemClock
from tuner.study.decided import study_decision
from tuner.study.gate import Gate
from tuner.study.options import Options
from tuner.study.quality import PROBED_LAUNCHES, Guard, lossless, lossless_sentence
from tuner.types import Command, Outcome, Params
from tuner.types.quality import Quality

SETTINGS: dict[int, Params] = {
    0: {"quantization": "none", "max_num_seqs": 256},
    1: {"quantization": "awq", "max_num_seqs": 256},
    2: {"quantization": "none", "max_num_seqs": 64},
}
GUARD = Guard(questions=read_questions())


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """The defaults, a quantized setting that is twice as fast, and another one that is better by half."""
    opened = Store.open(f"sqlite:///{tmp_path / 'x.db'}")
    opened.create_or_get_study(replace(STUDY, objective="throughput", settings={"max_quality_loss": 0.02}))
    for number, throughput in enumerate((100.0, 200.0, 150.0)):
        found = trial(number, measured(output_throughput=throughput), is_default=number == 0)
        command = Command(argv=("vllm", "serve", str(number)))
        opened.finish("a study", replace(found, params=SETTINGS[number], violations={}, command=command))
    yield opened
    opened.close()


def verified(
    store: Store, monkeypatch: pytest.MonkeyPatch, loss: float, guard: Guard | None = GUARD
) -> list[tuple[int, bool]]:
    """The launches of a verification, and whether each was probed; trial 1 foretells the text worse by so much."""
    found: list[tuple[int, bool]] = []

    def run(setup: Any, store: Any, watch: Any, number: int, command: Any, params: Any, **how: Any) -> Outcome:
        found.append((number, how["probe"] is not None))
        outcome = measured(output_throughput=(100.0, 200.0, 150.0)[number] + len(found) / 10)
        share = 1 + loss if number == 1 else 1.0
        noise = [0.0002 * ((7 * n + len(found)) % 5 - 2) for n in range(24)]
        nll = tuple(2.0 * share + one for one in noise)
        asked = Quality(data="d", answers=((1, 2, 3),) * 40, nll=nll)
        return replace(outcome, quality=asked if how["probe"] else None)

    setup: Any = SimpleNamespace(
        study="a study",
        verify=3,
        objectives=(OBJECTIVES["throughput"],),
        constraints=(),
        clock=SystemClock(),
        logs=Path("logs"),
        guard=guard,
    )
    monkeypatch.setattr(verifying, "run_recorded", run)
    verifying.verify(setup, store, Saboteur(), Budget(None), lambda trial: 60, Gate(setup, store, Saboteur()))
    return found


def test_a_finalist_that_loses_too_much_is_refused_and_the_next_one_takes_its_place(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = verified(store, monkeypatch, loss=0.05)
    decided = study_decision(store, "a study")
    assert [number for number, _ in found].count(1) == 1
    assert (decided.verdict.answer, decided.chosen and decided.chosen.number) == (Answer.BETTER, 2)
    assert {side.trial.number: side.standing for side in decided.finalists}[1] is Standing.HARMED
    assert decided.quality[1].harm is Harm.LOSES
    (refused,) = refused_sentences(decided)
    assert refused.startswith("trial 1 is not recommended, for it loses quality (--max-quality-loss 0.02): the NLL")
    assert "+5.00%" in refused


def test_one_that_loses_little_is_recommended_with_a_word_about_it(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = verified(store, monkeypatch, loss=0.004)
    decided = study_decision(store, "a study")
    assert (decided.verdict.answer, decided.verdict.trial) == (Answer.BETTER, 1)
    assert decided.chosen is not None
    (sentence,) = cautions(decided.chosen, decided.defaults, decided.quality)
    assert "trial 1 loses no more quality than is allowed" in sentence
    assert sentence.endswith("quantization=awq can change answers")
    assert "40 of 40 greedy answers" in " ".join(quality_lines(decided.quality[1]))
    assert all(sum(probed for who, probed in found if who == number) <= PROBED_LAUNCHES for number in (0, 1))


def test_where_only_the_lossy_one_is_left_the_defaults_are_kept_and_the_answer_says_why(
    store: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    alone = Store.open(f"sqlite:///{tmp_path / 'alone.db'}")
    alone.create_or_get_study(replace(STUDY, objective="throughput", settings={"max_quality_loss": 0.02}))
    for one in store.trials("a study")[:2]:
        alone.finish("a study", one)
    verified(alone, monkeypatch, loss=0.05)
    decided = study_decision(alone, "a study")
    assert (decided.verdict.answer, decided.chosen and decided.chosen.number) == (Answer.HARMED, 0)
    said = decision_text(decided, OBJECTIVES["throughput"])
    assert said.startswith(
        "Keep vLLM's defaults: trial 1 looked best in the search, but launched again it loses quality"
    )
    alone.close()


def test_what_was_asked_is_stored_and_a_replayed_contest_says_the_same(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    verified(store, monkeypatch, loss=0.05)
    asked = [v.outcome.quality for v in store.verifications("a study") if not isinstance(v.outcome, Exception)]  # type: ignore[union-attr]
    assert all(one is None or len(one.nll) == 24 for one in asked)
    assert sum(one is not None for one in asked) >= 2
    assert verified(store, monkeypatch, loss=0.05) == []
    store.delete_study("a study")


def test_without_a_guard_a_lossy_setting_is_said_not_to_be_checked(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not any(probed for _, probed in verified(store, monkeypatch, loss=0.05, guard=None))
    decided = study_decision(store, "a study")
    assert decided.chosen is not None
    (sentence,) = cautions(decided.chosen, decided.defaults, decided.quality)
    assert "quantization=awq changes the model's answers, and they were not checked" in sentence


def test_only_those_are_asked_whose_settings_can_change_answers() -> None:
    defaults, lossy, plain = (
        replace(trial(number, measured(), is_default=number == 0), params=SETTINGS[number]) for number in range(3)
    )
    usual = SETTINGS[0]
    assert GUARD.is_due(lossy, [lossy, plain], usual, 0)
    assert not GUARD.is_due(lossy, [lossy, plain], usual, PROBED_LAUNCHES)
    assert GUARD.is_due(defaults, [lossy, plain], usual, 1)
    assert not GUARD.is_due(defaults, [plain], usual, 0)
    assert not GUARD.is_due(plain, [lossy, plain], usual, 0)
    assert replace(GUARD, is_asked_for=True).is_due(plain, [plain], usual, 0)


def test_lossless_leaves_out_what_can_change_answers_and_says_so() -> None:
    space = load_space("h200").with_groups(["all"])
    smaller = lossless(space)
    assert set(smaller.parameters) == {
        "max_num_seqs",
        "max_num_batched_tokens",
        "long_prefill_token_threshold",
        "gpu_memory_utilization",
        "enable_prefix_caching",
        "stream_interval",
        "api_server_count",
        "kv_offloading_size",
        "engines_per_gpu",
        "distributed_executor_backend",
    }
    assert set(smaller.groups) == {"batch", "memory", "front_end", "offload", "engines"}
    assert "quantization" in lossless_sentence(space)
    assert lossless_sentence(smaller) == "--lossless: nothing that is open can change answers"
    with pytest.raises(UsageError, match="every parameter of h200 that is open can change answers"):
        lossless(load_space("h200").with_groups(["kernels"]))


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (Options(max_quality_loss=-0.1), "--max-quality-loss is -0.1"),
        (Options(max_quality_loss=float("nan")), "--max-quality-loss is nan"),
        (Options(max_quality_loss=2), "--max-quality-loss is 2"),
        (Options(quality_timeout=0), "--quality-timeout is 0"),
        (Options(quality_cmd="  "), "--quality-cmd is empty"),
        (Options(lossless=True, quantized_model=["awq=/m"]), "leave one of them out"),
    ],
)
def test_options_that_cannot_be_meant_are_refused(options: Options, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        check_values(options)


def test_a_point_of_a_front_that_loses_too_much_is_refused_too() -> None:
    objectives = (OBJECTIVES["throughput"], OBJECTIVES["ttft_p99"])
    trials = [trial(n, measured(output_throughput=100.0 * (n + 1)), is_default=n == 0) for n in range(2)]
    contest = front_contest_of(trials, trials[1:], objectives, (), rounds=3)
    while contest.due:
        number = contest.due[0].number
        nll = tuple(2.0 + 0.2 * number + 0.001 * (n % 3) * number for n in range(24))
        outcome = measured(output_throughput=100.0 * (number + 1))
        contest.take(number, replace(outcome, quality=Quality(data="d", nll=nll)))
    decided = front_decision(trials, contest, objectives, ())
    assert (decided.verdict.answer, decided.chosen) == (Answer.HARMED, trials[0])
    assert "it loses quality" in decision_text(decided, objectives[0])
