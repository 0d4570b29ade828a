import dataclasses
from pathlib import Path
from typing import Any

import pytest

from tuner.errors import UsageError
from tuner.load.workload import PRESETS, load_workload, max_tokens, with_overrides, workload_hash
from tuner.types import Lengths

GOOD = "api: chat\nusers: 8\ninput_tokens: {low: 64, high: 128}\noutput_tokens: 32\n"


def _file(tmp_path: Path, text: str) -> str:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize("name", ["chat", "long-prompt", "reasoning-r1", "newton-32"])
def test_presets(name: str) -> None:
    assert load_workload(name).name == name


def test_newton_is_32_users_and_exactly_128_tokens() -> None:
    newton = load_workload("newton-32")
    assert (newton.users, newton.output_tokens) == (32, Lengths(low=128, high=128))


def test_reasoning_has_no_system_prompt_and_a_forced_newline_start() -> None:
    reasoning = load_workload("reasoning-r1")
    assert (reasoning.temperature, reasoning.top_p, reasoning.system_prompt) == (0.6, 0.95, None)
    assert (reasoning.response_prefix or "").endswith("\n")
    assert reasoning.stop


def test_a_file_gives_the_rest_its_defaults(tmp_path: Path) -> None:
    workload = load_workload(_file(tmp_path, GOOD))
    assert (workload.name, workload.output_tokens) == ("mine", Lengths(low=32, high=32))
    assert (workload.warmup_s, workload.window_s, workload.stop) == (8.0, 20.0, ())
    assert max_tokens(workload) == 160


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (GOOD + "userz: 3\n", r"mine.yaml:5: userz: unknown key"),
        (GOOD.replace("users: 8", "users: 0"), r"mine.yaml:2: users: "),
        (GOOD.replace("low: 64", "low: 640"), r"mine.yaml:3: input_tokens: low 640 is above high 128"),
        (GOOD.replace("api: chat", "api: completion"), r"mine.yaml:1: api: "),
        (GOOD.replace("users: 8\n", ""), r"mine.yaml:1: users: this key is required"),
        (GOOD + "window_s: .nan\n", r"mine.yaml:5: window_s: "),
        (GOOD.replace("api: chat", "api: completions") + "system_prompt: Hi\n", r"are for `api: chat`"),
        (GOOD.replace("32", "true"), r"mine.yaml:4: output_tokens"),
        ("api: [", r"mine.yaml:1: this is not valid YAML"),
    ],
)
def test_a_bad_file_is_one_sentence_with_its_line(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        load_workload(_file(tmp_path, text))


def test_an_unknown_name_lists_the_presets() -> None:
    with pytest.raises(UsageError, match=r"no workload 'chatt': choose chat, long-prompt, reasoning-r1, newton-32"):
        load_workload("chatt")


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        load_workload(str(tmp_path / "absent.yaml"))


def test_every_field_changes_the_hash() -> None:
    base = PRESETS["reasoning-r1"]
    other: dict[type, Any] = {
        str: "x",
        int: 77,
        float: 0.77,
        tuple: ("x",),
        Lengths: Lengths(low=5, high=6),
        type(None): "x",
    }
    changed = [
        dataclasses.replace(base, **{field.name: other[type(getattr(base, field.name))]})
        for field in dataclasses.fields(base)
    ]
    hashes = {workload_hash(workload) for workload in (base, *changed)}
    assert len(hashes) == len(changed) + 1
    assert workload_hash(PRESETS["chat"]) == workload_hash(dataclasses.replace(PRESETS["chat"]))


def test_overrides() -> None:
    changed = with_overrides(PRESETS["chat"], users=2, warmup_s=0.0, seed=4)
    assert (changed.users, changed.warmup_s, changed.window_s, changed.seed) == (2, 0.0, 20.0, 4)
    with pytest.raises(UsageError, match="users is 0: it must be above 0"):
        with_overrides(PRESETS["chat"], users=0)
    with pytest.raises(UsageError, match="window_s is -1: below 0"):
        with_overrides(PRESETS["chat"], window_s=-1)
