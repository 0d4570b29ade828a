"""What of speculation a model and a workload let be searched, and the sentence for what was asked for and cannot be."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tuner.errors import UsageError
from tuner.launch.vllm import VllmLauncher
from tuner.space.search_space import SearchSpace
from tuner.study.options import Options
from tuner.study.setup import choose_space, vllm_launcher
from tuner.types import Value

SPACE = """\
gpu: {names: []}
parameters:
  max_num_seqs: {type: int, low: 1, high: 8}
  speculative_config.method:
    type: categorical
    choices: [none, ngram, draft_model, eagle, eagle3, mtp]
  speculative_config.num_speculative_tokens:
    {type: int, low: 1, high: 4, when: {speculative_config.method: [ngram, draft_model, eagle, eagle3, mtp]}}
  speculative_config.prompt_lookup_max:
    {type: int, low: 2, high: 5, when: {speculative_config.method: ngram}}
enqueue:
  - {speculative_config.method: ngram, speculative_config.num_speculative_tokens: 3}
"""
FIXED = """\
gpu: {names: []}
fixed:
  speculative_config.method: METHOD
  speculative_config.num_speculative_tokens: 3
parameters:
  max_num_seqs: {type: int, low: 1, high: 8}
"""
LOAD = "api: chat\nusers: 2\noutput_tokens: 8\n"
TEXT = f"{LOAD}dataset: talks.jsonl\n"
RANDOM = f"{LOAD}input_tokens: 8\n"
METHOD: dict[str, Value] = {
    "speculative_config.method": "draft_model",
    "speculative_config.num_speculative_tokens": 2,
}
Ask = Callable[..., SearchSpace]


def model(folder: Path, **config: Any) -> str:
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"model_type": "qwen2", "vocab_size": 100, **config}))
    return str(folder)


@pytest.fixture
def ask(tmp_path: Path) -> Ask:
    """The space that is searched, of the text of a space, a workload's and further options."""
    (tmp_path / "talks.jsonl").write_text('{"prompt": "Say it again.", "output": "It."}\n')
    folder = model(tmp_path / "model")

    def asked(space: str = SPACE, workload: str = TEXT, **options: Any) -> SearchSpace:
        (tmp_path / "mine.yaml").write_text(space)
        (tmp_path / "load.yaml").write_text(workload)
        given = Options(space=tmp_path / "mine.yaml", workload=str(tmp_path / "load.yaml"), model=folder)
        return choose_space(replace(given, **options), [])

    return asked


def methods(space: SearchSpace) -> list[object]:
    found = space.parameters.get("speculative_config.method")
    return list(getattr(found, "choices", ()))


def refusal(ask: Ask, *arguments: str, **options: Any) -> str:
    with pytest.raises(UsageError) as raised:
        ask(*arguments, **options)
    assert "\n" not in str(raised.value)
    return re.sub(r"\S*/", "", str(raised.value))


def test_what_the_model_and_the_user_give_is_searched(ask: Ask, tmp_path: Path) -> None:
    assert methods(ask()) == ["none", "ngram"]
    draft = model(tmp_path / "small", architectures=["Qwen2ForCausalLM"])
    assert methods(ask(draft_model=draft)) == ["none", "ngram", "draft_model"]
    head = model(tmp_path / "head", architectures=["LlamaForCausalLMEagle3"])
    assert methods(ask(draft_model=head)) == ["none", "ngram", "eagle3"]
    mtp = model(tmp_path / "mtp", num_nextn_predict_layers=1)
    assert methods(ask(model=mtp)) == ["none", "ngram", "mtp"]


def test_a_draft_model_is_a_setting_of_what_uses_one(ask: Ask, tmp_path: Path) -> None:
    """So a study knows it, and one with another draft model is another study."""
    draft = model(tmp_path / "small")
    space, point = ask(draft_model=draft), dict[str, Value](METHOD)
    assert not space.violations({**point, "speculative_config.model": draft})
    assert space.violations({**point, "speculative_config.model": "another"})
    assert space.digest() != ask(draft_model=model(tmp_path / "other")).digest()
    for method in ("ngram", "none"):
        assert space.violations({**point, "speculative_config.method": method, "speculative_config.model": draft})
    fixed = ask(FIXED.replace("METHOD", "draft_model"), draft_model=draft)
    assert fixed.fixed["speculative_config.model"] == draft
    launcher = VllmLauncher(python=Path("python"), model="m", fixed=space.fixed)
    assert launcher.arguments({**point, "speculative_config.model": draft})[-2:] == (
        "--speculative-config.model",
        draft,
    )
    off: dict[str, Value] = {**point, "speculative_config.method": "none", "speculative_config.model": "none"}
    assert launcher.arguments(off) == ("m",)


def test_random_words_are_refused_with_the_way_out(ask: Ask) -> None:
    why = refusal(ask, SPACE, RANDOM)
    assert why.startswith(
        "mine.yaml:4: parameters.speculative_config.method: ngram drafts, and the prompts of workload"
    )
    assert "take a workload with a dataset, or give what was measured on one as `acceptance_rates`" in why
    assert refusal(ask, FIXED.replace("METHOD", "ngram"), RANDOM).startswith("mine.yaml:3: fixed.speculative_config")
    plain = SPACE.partition("  speculative")[0]
    given = ("speculative_config.method=ngram", "speculative_config.num_speculative_tokens=3")
    assert refusal(ask, plain, RANDOM, engine_arg=given).startswith("--engine-arg speculative_config.method: ngram")
    short = ("spec_method=ngram", "spec_tokens=3")
    assert refusal(ask, plain, RANDOM, engine_arg=short).startswith("--engine-arg spec_method: ngram drafts")
    assert ask(plain, TEXT, engine_arg=given).fixed["speculative_config.method"] == "ngram"
    assert ask(plain, RANDOM).parameters.keys() == {"max_num_seqs"}


def test_an_acceptance_that_was_measured_opens_what_always_drafts(ask: Ask, tmp_path: Path) -> None:
    draft = model(tmp_path / "small")
    rates = f"{RANDOM}acceptance_rates: [0.8, 0.6, 0.4, 0.3]\n"
    space = ask(SPACE, rates, draft_model=draft)
    assert methods(space) == ["none", "draft_model"]
    assert not space.enqueue
    options = Options(workload=str(tmp_path / "load.yaml"), model=str(tmp_path / "model"), draft_model=draft)
    launcher = vllm_launcher(options, space, Path("python"))
    point: dict[str, Value] = {"speculative_config.method": "draft_model"}
    command = launcher.command({**point, "speculative_config.num_speculative_tokens": 2})
    assert not [word for word in command.argv if "synthetic" in word]
    assert launcher.replayed(command) == (
        *("--speculative-config.rejection_sample_method", "synthetic"),
        *("--speculative-config.synthetic_acceptance_rates", "[0.8, 0.6]"),
    )
    assert launcher.replayed(launcher.command({"speculative_config.method": "none"})) == ()
    assert "ngram drafts only where a text repeats itself" in refusal(ask, FIXED.replace("METHOD", "ngram"), rates)


@pytest.mark.parametrize(
    ("acceptance", "why"),
    [
        ("acceptance_rates: [0.8, 0.6]", "tell of 2 drafted tokens, and 4 are asked for"),
        ("acceptance_length: 1.8", "is that of one number of drafted tokens, and 1 to 4 are searched"),
    ],
)
def test_an_acceptance_must_tell_of_every_number_of_drafts(acceptance: str, why: str, ask: Ask, tmp_path: Path) -> None:
    draft = model(tmp_path / "small")
    assert why in refusal(ask, SPACE, f"{RANDOM}{acceptance}\n", draft_model=draft)


@pytest.mark.parametrize(
    ("key", "why"),
    [
        ("acceptance_length: 4.5", r"mine.yaml:3: .*4.5 .* is above 4: 3 drafted tokens bring no more"),
        ("acceptance_length: 0.9", r"load.yaml:5: acceptance_length: .*at least 1"),
        ("acceptance_rates: [0.5, 0.6, 0.1]", r"load.yaml:5: acceptance_rates: .*0.6 is above 0.5 before it"),
        ("acceptance_rates: [1.5, 0.6, 0.1]", r"load.yaml:5: acceptance_rates.*at most 1"),
        ("acceptance_rates: 0.5", r"load.yaml:5: acceptance_rates: expected a list"),
        ("dataset: talks.jsonl\nacceptance_length: 1.5", r"load.yaml:\d: .*does not go with `dataset`"),
        ("acceptance_length: 1.5\nacceptance_rates: [0.5]", r"load.yaml:6: .*does not go with `acceptance_length`"),
    ],
)
def test_what_no_acceptance_can_be_is_told(key: str, why: str, ask: Ask, tmp_path: Path) -> None:
    draft = model(tmp_path / "small")
    space, random = FIXED.replace("METHOD", "draft_model"), RANDOM
    if "dataset" in key:
        random = LOAD
    assert re.match(why, refusal(ask, space, f"{random}{key}\n", draft_model=draft))


def test_a_length_is_enough_for_one_number_of_drafts(ask: Ask, tmp_path: Path) -> None:
    draft = model(tmp_path / "small")
    space = ask(FIXED.replace("METHOD", "draft_model"), f"{RANDOM}acceptance_length: 2.5\n", draft_model=draft)
    assert space.fixed["speculative_config.method"] == "draft_model"


@pytest.mark.parametrize(
    ("method", "options", "why"),
    [
        ("draft_model", {}, "draft_model needs a model that drafts: give it with --draft-model MODEL"),
        ("eagle", {}, "eagle needs a model that drafts"),
        ("medusa", {}, "medusa needs a model that drafts"),
        ("mtp", {}, "mtp needs a checkpoint with layers for it"),
        ("deepseek_mtp", {}, "deepseek_mtp needs a checkpoint with layers for it"),
        ("eagle", {"draft_model": "small"}, "small is for the method draft_model"),
        ("draft_model", {"draft_model": "other"}, "other has 200 tokens in its vocabulary and model 100"),
        ("draft_model", {"draft_model": "gone"}, "--draft-model gone: there is no such folder"),
        ("ngram", {"draft_model": "small"}, "nothing would use it"),
    ],
)
def test_what_is_missing_is_told(method: str, options: dict[str, str], why: str, ask: Ask, tmp_path: Path) -> None:
    model(tmp_path / "small")
    model(tmp_path / "other", vocab_size=200)
    given = {name: str(tmp_path / value) for name, value in options.items()}
    assert why in refusal(ask, FIXED.replace("METHOD", method), **given)


def test_a_draft_that_the_space_names_is_looked_at_too(ask: Ask, tmp_path: Path) -> None:
    space = FIXED.replace("METHOD", f"draft_model\n  speculative_config.model: {tmp_path}/gone")
    assert "speculative_config.model gone: there is no such folder" in refusal(ask, space)
    model(tmp_path / "gone", vocab_size=7)
    assert "gone has 7 tokens in its vocabulary" in refusal(ask, space)


def test_a_space_whose_methods_all_need_what_is_not_there_is_refused(ask: Ask) -> None:
    heads = SPACE.partition("  speculative_config.prompt")[0].replace("ngram, draft_model, eagle,", "eagle,")
    why = refusal(ask, heads)
    assert why.startswith("mine.yaml:4: parameters.speculative_config.method: eagle needs a model that drafts")


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (("spec_tokens=3",), "--engine-arg spec_tokens: num_speculative_tokens says how to speculate"),
        (
            ("spec_method=ngram", "spec_tokens=0"),
            "--engine-arg spec_tokens: num_speculative_tokens 0 is no speculation",
        ),
        (("spec_method=n-gram", "spec_tokens=2"), "--engine-arg spec_method: vLLM has no method 'n-gram'"),
        (
            (
                "speculative_config.method=ngram",
                "speculative_config.prompt_lookup_min=4",
                "speculative_config.prompt_lookup_max=2",
            ),
            "--engine-arg speculative_config.prompt_lookup_min: prompt_lookup_min 4 is above",
        ),
    ],
)
def test_arguments_are_checked_as_a_space_is(given: tuple[str, ...], why: str, ask: Ask) -> None:
    assert refusal(ask, SPACE.partition("  speculative")[0], engine_arg=given).startswith(why)


def test_a_draft_model_that_nothing_uses_is_told(ask: Ask, tmp_path: Path) -> None:
    draft = model(tmp_path / "small")
    plain = SPACE.partition("  speculative")[0]
    assert "nothing would use it: search space mine neither searches nor fixes" in refusal(
        ask, plain, draft_model=draft
    )
    head = model(tmp_path / "head", architectures=["MedusaModel"])
    assert "has no method that uses it" in refusal(ask, SPACE, draft_model=head)


def test_the_group_is_closed_and_opens_by_its_name(ask: Ask, tmp_path: Path) -> None:
    def chosen(workload: str, groups: str | None) -> SearchSpace:
        (tmp_path / "load.yaml").write_text(workload)
        load = str(tmp_path / "load.yaml")
        return choose_space(Options(gpu="cpu", groups=groups, workload=load, model=str(tmp_path / "model")), [])

    assert "speculation" not in chosen(RANDOM, None).groups
    assert methods(chosen(TEXT, "batch,speculation")) == ["none", "ngram"]
    assert "speculation" in chosen(TEXT, "all").groups
    everything = chosen(RANDOM, "all")
    assert "speculation" not in everything.groups
    assert not [name for name in everything.parameters if name.startswith("speculative_config")]
    with pytest.raises(UsageError, match=r"search space cpu: .*method: ngram drafts, and the prompts"):
        chosen(RANDOM, "batch,speculation")
