"""What the makers of reasoning models say of how to ask them: which models it is for, and that the preset follows it."""

from dataclasses import replace
from pathlib import Path

import pytest
from commands import tuner

from tuner.workload.advice import ADVICE, PRESET_MODELS, advice_for, advice_lines, departures, preset_notes
from tuner.workload.presets import PRESETS


@pytest.mark.parametrize(
    ("model", "family"),
    [
        ("deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B", "DeepSeek-R1 and its distills"),
        ("/models/DeepSeek-R1-0528/", "DeepSeek-R1 and its distills"),
        ("Qwen/QwQ-32B", "QwQ"),
        ("Qwen/Qwen3-8B", "Qwen3, thinking"),
        ("Qwen/Qwen3-30B-A3B-Thinking-2507", "Qwen3, thinking"),
        ("openai/gpt-oss-20b", "gpt-oss"),
        ("Qwen/Qwen3-30B-A3B-Instruct-2507", None),
        ("Qwen/Qwen3-8B-Base", None),
        ("Qwen/Qwen3-Embedding-0.6B", None),
        ("meta-llama/Llama-3.1-8B-Instruct", None),
        ("demo", None),
        ("", None),
    ],
)
def test_a_model_is_known_by_its_name(model: str, family: str | None) -> None:
    advice = advice_for(model)
    assert (advice and advice.family) == family


def test_every_advice_says_where_it_is_from_and_is_in_its_own_range() -> None:
    for advice in ADVICE:
        assert advice.source.startswith("https://")
        assert advice_lines(advice)[0].endswith(f"({advice.source}):")
        low, high = advice.temperatures or (advice.temperature, advice.temperature)
        assert low <= advice.temperature <= high


@pytest.mark.parametrize("name", PRESET_MODELS)
def test_a_preset_sends_what_its_makers_advise(name: str) -> None:
    advice = advice_for(PRESET_MODELS[name])
    assert advice is not None
    assert departures(PRESETS[name], advice) == []
    assert set(advice.ends) == set(PRESETS[name].stop)


def test_what_a_workload_does_otherwise_is_said() -> None:
    preset = PRESETS["reasoning-r1"]
    other = replace(preset, temperature=0.0, top_p=1.0, system_prompt="Be brief.", response_prefix=None)
    said = " ".join(preset_notes(other))
    for text in ("temperature 0, not 0.5 to 0.7", "top_p 1, not 0.95", "a system prompt", "begin with '<think>\\n'"):
        assert text in said
    assert preset_notes(PRESETS["chat"]) == []


def test_the_advice_is_shown_with_the_preset(tmp_path: Path) -> None:
    said = tuner(tmp_path, "workload", "show", "reasoning-r1").stdout
    for text in (
        "temperature 0.5 to 0.7 (0.6 is recommended)",
        "no system prompt",
        "\\boxed{}",
        "several runs, and their mean",
    ):
        assert text in said
    assert "# " not in tuner(tmp_path, "workload", "show", "chat").stdout
