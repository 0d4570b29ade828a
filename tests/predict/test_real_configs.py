"""The published config.json of the most used models: read rightly, or refused with the true reason.

real_configs.json has the fields that matter of each, with `kv_bytes`, what a token's keys and values take in 16 bits, and `how`
that is reckoned; `billions` are the parameters of the text model as its maker or the hub says, `window_layers` the layers with
a sliding window, `max_positions` vLLM's longest sequence; `guess` says that the family is counted like another. Or `refused`:
a part of the reason.
"""

import json
import math
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from predict.test_families import kv_bytes
from predict.test_shape import model
from tuner.errors import UsageError
from tuner.predict.families import KNOWN, UNGATED
from tuner.predict.shape import read_shape

ENTRIES: list[dict[str, Any]] = json.loads(Path(__file__).with_name("real_configs.json").read_text(encoding="utf-8"))
NESTED = ("text_config", "llm_config", "language_config")
READ = [pytest.param(entry, id=entry["name"]) for entry in ENTRIES if "kv_bytes" in entry]
REFUSED = [pytest.param(entry, id=entry["name"]) for entry in ENTRIES if "refused" in entry]


def test_the_table_is_whole() -> None:
    assert len(ENTRIES) >= 60
    assert len(READ) + len(REFUSED) == len(ENTRIES)
    assert max(Counter(entry["name"] for entry in ENTRIES).values()) == 1


@pytest.mark.parametrize("entry", READ)
def test_a_published_config_is_read_rightly(entry: dict[str, Any], tmp_path: Path) -> None:
    shape = read_shape(model(tmp_path, entry["config"]))
    terms = [[int(factor) for factor in term.split("*")] for term in entry["how"].split("+")]
    assert sum(map(math.prod, terms)) == entry["kv_bytes"]
    assert kv_bytes(shape) == entry["kv_bytes"]
    assert shape.window_layers == entry.get("window_layers", shape.window_layers)
    assert shape.max_positions == entry.get("max_positions", shape.max_positions)
    if "billions" in entry:
        assert shape.parameters / 1e9 == pytest.approx(entry["billions"], rel=0.015)


@pytest.mark.parametrize("entry", READ)
def test_no_family_is_counted_like_another_without_a_word(entry: dict[str, Any], tmp_path: Path) -> None:
    shape = read_shape(model(tmp_path, entry["config"]))
    assert shape.is_guess == entry.get("guess", False)


@pytest.mark.parametrize("entry", READ)
def test_a_name_that_nobody_knows_is_said_to_be_a_guess(entry: dict[str, Any], tmp_path: Path) -> None:
    config = {**entry["config"], "architectures": ["NobodysForCausalLM"], "model_type": "nobodys"}
    nested = [name for name, value in config.items() if isinstance(value, dict) and name in NESTED]
    for name in nested:
        config[name] = {**config[name], "architectures": None, "model_type": "nobodys_text"}
    try:
        shape = read_shape(model(tmp_path, config))
    except UsageError:
        return
    assert shape.is_guess


@pytest.mark.parametrize("entry", REFUSED)
def test_a_published_config_is_refused_with_the_true_reason(entry: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(UsageError) as refused:
        read_shape(model(tmp_path, entry["config"]))
    said = str(refused.value)
    assert entry["refused"] in said
    assert str(tmp_path / "config.json") in said
    assert "\n" not in said
    for blame in ("must be", "there is no "):  # the published file is right
        assert blame not in said


def test_the_families_that_are_known_are_named_once() -> None:
    assert not KNOWN & UNGATED
