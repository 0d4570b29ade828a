"""Several cards in one command: what is refused before anything begins, and what becomes of the rest."""

from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tuner.errors import RunError, UsageError
from tuner.study.mixed import card_models, studies_on
from tuner.study.options import Options

RAY = Options(engine="sim", gpu="t4,l4", executor="ray")


def studies(options: Options) -> tuple[Options, ...]:
    return studies_on(options, card_models(options, print))


def test_each_card_has_a_study_of_its_own_name() -> None:
    assert [(one.gpu, one.study) for one in studies(RAY)] == [
        ("t4", "sim-t4-DeepSeek-R1-Distill-Qwen-1.5B-chat"),
        ("l4", "sim-l4-DeepSeek-R1-Distill-Qwen-1.5B-chat"),
    ]
    named = studies(replace(RAY, gpu=" t4 , h200", study="mine", trials=3))
    assert [(one.gpu, one.study, one.trials) for one in named] == [("t4", "mine-t4", 3), ("h200", "mine-h200", 3)]


def test_one_card_is_a_usual_study() -> None:
    for options in (
        Options(),
        Options(gpu="t4"),
        replace(RAY, gpu="t4"),
        replace(RAY, gpu="auto", space=Path("x.yaml")),
    ):
        assert card_models(options, print) == (options.gpu,)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (replace(RAY, executor="local"), "--gpu t4,l4: several cards are tuned on a Ray cluster: give --executor ray, too"),
        (replace(RAY, gpu="t4,h20"), r"--gpu t4,h20: there is no search space 'h20' \(did you mean 'h200'\?\): choose one of"),
        (replace(RAY, gpu="t4,l4,t4"), "--gpu t4,l4,t4: t4 is named twice: leave one of them out"),
        (replace(RAY, gpu="t4,cpu"), "--gpu t4,cpu: cpu is no card, and stands alone"),
        (replace(RAY, gpu="auto,t4"), "--gpu auto,t4: auto is no card, and stands alone"),
        (replace(RAY, gpu="t4,"), "--gpu t4,: expected names of cards, such as t4,l4"),
        (replace(RAY, gpu=","), "--gpu ,: expected names of cards"),
        (replace(RAY, space=Path("x.yaml")), r"--space with several cards \(t4, l4\): a search space is that of one card"),
        (replace(RAY, price=2.0), "--price with several cards .*: cards of different models cost differently"),
        (replace(RAY, force_gpu=True), "--force-gpu with several cards .*: each study runs on the cards that it names"),
        (replace(RAY, groups="batch,bitch"), "bitch"),
        (replace(RAY, trials=0), "--trials is 0"),
        (replace(RAY, study="a/b"), "--study 'a/b-t4'"),
        (replace(RAY, engine="replay", surface=Path("x")), "what was recorded is not launched anywhere"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_one_sentence(options: Options, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        studies(options)


@pytest.fixture
def has(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A cluster that has these cards, and these nodes that do not fit."""
    pytest.importorskip("ray", reason="no Ray: pip install 'tuner[ray]'")

    @contextmanager
    def connected(address: str) -> Any:
        yield None

    def has(names: list[str], unfit: list[str]) -> None:
        monkeypatch.setattr("tuner.execute.ray_connection.connection", connected)
        monkeypatch.setattr("tuner.execute.ray_nodes.cards_there", lambda ray, sought: (names, unfit))

    return has


AUTO = Options(gpu="auto", executor="ray")


def test_auto_is_every_card_of_the_cluster_and_who_is_left_out_is_told(has: Any) -> None:
    has(["NVIDIA GeForce GTX 1080", "NVIDIA L4", "Tesla T4"], ["node 10.0.0.9 is left out: it has no vLLM"])
    told = list[str]()
    assert card_models(AUTO, told.append) == ("l4", "t4")
    assert told == [
        "node 10.0.0.9 is left out: it has no vLLM",
        "NVIDIA GeForce GTX 1080 is left out: there is no search space for it: give one with --space FILE, in a study by "
        "itself",
    ]
    has(["Tesla T4"], [])
    assert card_models(AUTO, print) == ("t4",)
    has([], [])
    assert card_models(AUTO, print) == ("cpu",)
    has([], ["node 10.0.0.9 is left out: it has no vLLM"])
    with pytest.raises(
        RunError, match=r"no card of the Ray cluster can be tuned: node 10\.0\.0\.9 is left out: it has no vLLM"
    ):
        card_models(AUTO, print)
