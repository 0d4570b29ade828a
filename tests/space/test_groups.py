"""Groups of parameters: what a file may say of them, and the spaces that are left of a choice."""

from pathlib import Path

import pytest

from tuner.errors import UsageError
from tuner.space.files import load_space
from tuner.space.search_space import SearchSpace

SPACE = """\
gpu:
  names: [Tesla T4]
  compute_capability: "7.5"
groups:
  batch: {about: steps, worth: always}
  graphs: {about: CUDA graphs, worth: always}
  attention: {about: kernels, worth: long prompts, open: false}
parameters:
  max_num_seqs: {group: batch, type: int, low: 16, high: 512, log: true}
  max_num_batched_tokens: {group: batch, type: int, low: 64, high: 8192}
  enforce_eager: {group: graphs, type: categorical, choices: [false, true]}
  compilation_config.cudagraph_mode:
    {group: graphs, type: categorical, choices: [PIECEWISE, FULL], when: {enforce_eager: false}}
  attention_backend: {group: attention, type: categorical, choices: [none, FLEX_ATTENTION]}
  block_size: {group: attention, type: categorical, choices: [16, 32], when: {attention_backend: FLEX_ATTENTION}}
  stream_interval: {type: int, low: 1, high: 8, when: {attention_backend: none}}
  seed: {type: int, low: 1, high: 8, when: {enforce_eager: true}}
rules:
  - {require: max_num_batched_tokens >= max_num_seqs, because: vLLM refuses}
  - {require: 'compilation_config.cudagraph_mode != "FULL" or block_size == 16', because: an example}
enqueue:
  - {max_num_seqs: 256, enforce_eager: false, compilation_config.cudagraph_mode: FULL}
  - {attention_backend: FLEX_ATTENTION, block_size: 32}
  - {max_num_seqs: 64, attention_backend: FLEX_ATTENTION}
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture
def space(tmp_path: Path) -> SearchSpace:
    return load_space(write(tmp_path, SPACE))


def test_without_a_choice_the_open_groups_and_what_has_no_group(space: SearchSpace) -> None:
    found = space.with_groups()
    assert list(found.groups) == ["batch", "graphs"]
    assert list(found.parameters) == [
        *("max_num_seqs", "max_num_batched_tokens", "enforce_eager", "compilation_config.cudagraph_mode"),
        *("stream_interval", "seed"),
    ]
    assert found.parameters["stream_interval"].when == {}  # the condition is vLLM's default
    assert [rule.names for rule in found.rules] == [("max_num_batched_tokens", "max_num_seqs")]
    assert list(found.enqueue) == [
        {"max_num_seqs": 256, "enforce_eager": False, "compilation_config.cudagraph_mode": "FULL"},
        {"max_num_seqs": 64},
    ]


def test_a_condition_on_a_closed_group_that_is_no_default_closes_the_parameter(space: SearchSpace) -> None:
    found = space.with_groups(["batch", "attention"])
    assert "seed" not in found.parameters
    assert list(found.parameters)[-3:] == ["attention_backend", "block_size", "stream_interval"]
    assert found.enqueue[0] == {"max_num_seqs": 256}


def test_all_and_a_file_without_groups(space: SearchSpace, tmp_path: Path) -> None:
    assert space.with_groups(["all"]) == space
    plain = load_space(write(tmp_path, SPACE.split("groups:")[0] + "parameters: {seed: {type: int, low: 1, high: 2}}"))
    assert plain.with_groups() == plain.with_groups(["all"]) == plain
    with pytest.raises(UsageError, match="--groups batch: the search space mine has no groups"):
        plain.with_groups(["batch"])


def test_what_is_open_is_part_of_the_study_and_what_it_is_called_is_not(space: SearchSpace, tmp_path: Path) -> None:
    digests = {space.with_groups(chosen).digest() for chosen in (None, ["all"], ["batch"], ["graphs"])}
    assert len(digests) == 4
    renamed = load_space(write(tmp_path, SPACE.replace("graphs", "pictures")))
    assert renamed.with_groups().digest() == space.with_groups().digest()


def test_a_file_without_groups_has_the_digest_that_it_had(tmp_path: Path) -> None:
    """Of before there were groups: a study that is stored goes on."""
    text = 'gpu: {names: [Tesla T4], compute_capability: "7.5"}\nparameters: {max_num_seqs: {type: int, low: 1, high: 9}}\n'
    assert load_space(write(tmp_path, text)).digest() == "06f5021f1a6ed9e9"


@pytest.mark.parametrize(
    ("chosen", "why"),
    [
        (
            ["graph"],
            "--groups graph: the search space mine has no such group .did you mean 'graphs'.*batch, graphs, attention, or all",
        ),
        (["batch", "x"], "--groups x: "),
    ],
)
def test_a_group_that_is_not_there(space: SearchSpace, chosen: list[str], why: str) -> None:
    with pytest.raises(UsageError, match=why):
        space.with_groups(chosen)


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        (
            "r: {group: graphs,",
            "r: {group: graph,",
            ":11: .*group: there is no group graph .did you mean 'graphs'.*batch, ",
        ),
        ("{about: steps, worth: always}", "{about: steps}", ":5: groups.batch.worth: this key is required"),
        ("open: false", "closed: true", ":7: groups.attention.closed: unknown key"),
        ("[PIECEWISE, FULL]", "[PIECEWISE, FUL]", ":13: .*FUL is no mode of vLLM .did you mean 'FULL'"),
        ("seed: {type", "compilation_config: {type", ":12: .*mode: this is a part of compilation_config"),
        ("seed: {type", "Compilation.mode: {type", ":17: parameters.Compilation.mode"),
        (
            "compilation_config.cudagraph_mode: FULL}\n",
            "compilation_config: {mode: 3}}\n",
            r":22: .*dotted name, .*\.mode",
        ),
        ("groups:\n", "fixed: {compilation_config: {mode: 3}}\ngroups:\n", r":4: fixed.compilation_config: .*\.mode: "),
        (
            "groups:\n",
            "fixed: {hf_overrides: '{\"a\": 3}'}\ngroups:\n",
            r":4: fixed.hf_overrides: .*dotted name, .*\.a: ",
        ),
        ("groups:\n", "fixed: {cudagraph_capture_sizes: []}\ngroups:\n", ":4: fixed.*sizes: expected a number"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(old: str, new: str, why: str, tmp_path: Path) -> None:
    assert SPACE.count(old) == 1
    with pytest.raises(UsageError, match=why):
        load_space(write(tmp_path, SPACE.replace(old, new)))


def test_lists_are_values(tmp_path: Path) -> None:
    text = SPACE.replace("groups:\n", "fixed: {cudagraph_capture_sizes: [1, 2, 4]}\ngroups:\n")
    assert load_space(write(tmp_path, text)).fixed == {"cudagraph_capture_sizes": "[1, 2, 4]"}


AMPERE = SPACE.replace("Tesla T4", "NVIDIA A10G").replace('"7.5"', '"8.6"')
HOPPER = SPACE.replace("Tesla T4", "NVIDIA H100").replace('"7.5"', '"9.0"')


def test_a_mode_that_the_cards_attention_cannot_capture(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r":13: .*FULL needs attention .* FlashAttention 2 and FlashInfer .* 8\.6"):
        load_space(write(tmp_path, AMPERE.replace("FLEX_ATTENTION", "FLASHINFER")))
    load_space(write(tmp_path, AMPERE))  # flex attention can
    load_space(write(tmp_path, HOPPER.replace("FLEX_ATTENTION", "FLASHINFER")))  # FlashAttention 3 can
    with pytest.raises(UsageError, match="FULL needs attention"):
        load_space("a10g").with_fixed({"attention_backend": "FLASHINFER", "compilation_config.cudagraph_mode": "FULL"})
    load_space("a10g").with_fixed({"attention_backend": "TRITON_ATTN", "compilation_config.cudagraph_mode": "FULL"})
    with pytest.raises(UsageError, match="the CPU engine cannot run compilation_config"):
        load_space("cpu").with_fixed({"compilation_config.cudagraph_mode": "FULL"})
    with pytest.raises(UsageError, match="is a part of compilation_config, and both are given"):
        load_space("t4").with_fixed({"compilation_config": "x"})
