"""What a real vLLM answers to tuner's questions: a model agrees with itself, a damaged one is refused."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from damaging import damaged
from serving import vllm

from tuner.decide.harm import MAX_LOSS, Harm, judged
from tuner.decide.quality import LEVEL
from tuner.load.probing import ANSWER_TOKENS, probe
from tuner.load.questions import read_questions
from tuner.load.target import find_target
from tuner.types.quality import Quality


def asked(url: str) -> Quality:
    async def ask() -> Quality:
        return await probe(await find_target(url, None, None), read_questions())

    return asyncio.run(ask())


@pytest.fixture(scope="module")
def probes(
    vllm_url: str, engine_python: Path, demo_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Quality, Quality, Quality]]:
    """The model twice, and the damaged one."""
    folder = tmp_path_factory.mktemp("damaged")
    with vllm(engine_python, damaged(demo_model, folder / "model"), folder) as url:
        yield asked(vllm_url), asked(vllm_url), asked(url)


@pytest.mark.engine
def test_a_server_answers_all_and_agrees_with_itself(probes: tuple[Quality, Quality, Quality]) -> None:
    base, again, _ = probes
    assert (base.untold, base.are_tokens) == ((), True)
    assert all(answer is not None and 0 < len(answer) <= ANSWER_TOKENS for answer in base.answers)
    assert all(value is not None and 0 < value < 20 for value in base.nll)
    found = judged([base, again], [again])
    assert found is not None
    assert found.loss is not None
    assert found.agreement is not None
    assert found.harm is Harm.UNHARMED
    assert abs(found.loss.loss) < 0.001
    assert found.agreement.share > 0.8
    assert found.apart is not None
    assert found.apart > LEVEL


@pytest.mark.engine
def test_damaged_weights_are_told_apart_and_refused(probes: tuple[Quality, Quality, Quality]) -> None:
    base, again, other = probes
    found = judged([base, again], [other])
    assert found is not None
    assert found.loss is not None
    assert found.harm is Harm.LOSES
    assert found.loss.low > MAX_LOSS
    assert found.apart is not None
    assert found.apart <= LEVEL
