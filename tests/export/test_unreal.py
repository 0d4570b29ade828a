"""What was not measured says so before anything else, in every format; what was says nothing."""

import json
from dataclasses import replace

import pytest
import yaml
from samples import COMMAND, FINGERPRINT, measured, trial

from tuner.decide.verdict import Answer, Verdict
from tuner.export.formats import EXPORTERS
from tuner.export.unreal import unreal_sentence

TRIAL = trial(3, measured())
VERDICT = Verdict(answer=Answer.BETTER, trial=3)
UNREAL = {
    "SIMULATED": replace(FINGERPRINT, engine_version="SIMULATED vLLM 0.32", gpu="SIMULATED Tesla T4"),
    "REPLAYED": replace(FINGERPRINT, engine_version="REPLAYED vLLM 0.32, surface abc", gpu="REPLAYED Tesla T4"),
}


def test_only_a_version_that_begins_so_is_unreal() -> None:
    assert unreal_sentence(FINGERPRINT) is None
    assert unreal_sentence(replace(FINGERPRINT, engine_version="0.32.0+SIMULATED")) is None
    assert not any("SIMULATED" in export(TRIAL, FINGERPRINT, "h", 1) for export in EXPORTERS.values())


@pytest.mark.parametrize("word", UNREAL)
def test_the_first_line_says_it(word: str) -> None:
    sentence = unreal_sentence(UNREAL[word])
    assert sentence is not None
    assert sentence.startswith(f"{word}: ")
    first = {name: export(TRIAL, UNREAL[word], "127.0.0.1", 80).splitlines()[0] for name, export in EXPORTERS.items()}
    assert first["command"] == first["yaml"] == f"# {sentence}"
    assert first["json"] == json.dumps({word.lower(): sentence.removeprefix(f"{word}: ")})[:-1] + ","


@pytest.mark.parametrize("word", UNREAL)
def test_the_rest_is_what_it_would_be(word: str) -> None:
    command, text, record = (
        EXPORTERS[name](TRIAL, UNREAL[word], "h", 80, VERDICT) for name in ("command", "yaml", "json")
    )
    assert command.splitlines()[1].startswith("# on the card: vllm serve some/model --dtype half --max-num-seqs 64")
    assert command.splitlines()[2:] == EXPORTERS["command"](TRIAL, FINGERPRINT, "h", 80, VERDICT).splitlines()
    assert yaml.safe_load(text) == yaml.safe_load(EXPORTERS["yaml"](TRIAL, FINGERPRINT, "h", 80, VERDICT))
    assert "measured on" not in text
    parsed = json.loads(record)
    assert next(iter(parsed)) == word.lower()
    assert parsed["argv"][: len(COMMAND.argv)] == list(COMMAND.argv)
