"""What was not measured says so before anything else, in every format; what was says nothing."""

import json
from dataclasses import replace

import pytest
import yaml
from samples import COMMAND, FINGERPRINT, chosen, measured, trial

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
    assert not any("SIMULATED" in export(chosen(TRIAL)) for export in EXPORTERS.values())


@pytest.mark.parametrize("word", UNREAL)
def test_the_first_line_says_it(word: str) -> None:
    sentence = unreal_sentence(UNREAL[word])
    assert sentence is not None
    assert sentence.startswith(f"{word}: ")
    told = chosen(TRIAL, fingerprint=UNREAL[word])
    first = {name: export(told).splitlines()[0] for name, export in EXPORTERS.items()}
    assert first.pop("json") == json.dumps({word.lower(): sentence.removeprefix(f"{word}: ")})[:-1] + ","
    assert set(first.values()) == {f"# {sentence}"}


@pytest.mark.parametrize("word", UNREAL)
def test_the_rest_is_what_it_would_be(word: str) -> None:
    unreal, real = chosen(TRIAL, VERDICT, fingerprint=UNREAL[word]), chosen(TRIAL, VERDICT)
    command, text, record = (EXPORTERS[name](unreal) for name in ("command", "yaml", "json"))
    on_card = next(line for line in command.splitlines() if line.startswith("# on the card: "))
    assert on_card.startswith("# on the card: vllm serve some/model --dtype half --max-num-seqs 64")
    assert command.splitlines()[-1] == EXPORTERS["command"](real).splitlines()[-1]
    assert yaml.safe_load(text) == yaml.safe_load(EXPORTERS["yaml"](real))
    assert "measured on" not in text
    parsed = json.loads(record)
    assert next(iter(parsed)) == word.lower()
    assert parsed["argv"][: len(COMMAND.argv)] == list(COMMAND.argv)


@pytest.mark.parametrize("word", UNREAL)
@pytest.mark.parametrize("name", ["compose", "kubernetes", "helm", "kserve", "llm-d"])
def test_what_is_to_be_tried_on_the_card_is_the_release_that_was_meant(word: str, name: str) -> None:
    """Nothing but the comments differs, for the release is the same."""
    unreal = EXPORTERS[name](chosen(TRIAL, VERDICT, fingerprint=UNREAL[word]))
    real = EXPORTERS[name](chosen(TRIAL, VERDICT))
    assert list(yaml.safe_load_all(unreal)) == list(yaml.safe_load_all(real))
    assert f"# gain: {word}, " in unreal or "# gain: not verified" in unreal


def test_a_unit_of_what_never_ran_starts_the_vllm_that_systemd_finds() -> None:
    unit = EXPORTERS["systemd"](chosen(TRIAL, VERDICT, fingerprint=UNREAL["SIMULATED"]))
    assert 'ExecStart="vllm" "serve" "some/model" "--dtype" "half"' in unit
    assert str(COMMAND.argv[0]) not in unit
