"""What can be known to be wrong of speculation in a search space, with its line."""

import re
from pathlib import Path

import pytest

from tuner.errors import UsageError
from tuner.space.files import load_space
from tuner.space.speculation import broken, config_of, said, synthetic
from tuner.types import Value

HEAD = "gpu: {names: []}\n"
SEATS = "parameters:\n  max_num_seqs: {type: int, low: 1, high: 8}\n"
NGRAM: dict[str, Value] = {"speculative_config.method": "ngram", "speculative_config.num_speculative_tokens": 3}


def refused(folder: Path, text: str) -> str:
    path = folder / "mine.yaml"
    path.write_text(HEAD + text)
    with pytest.raises(UsageError) as raised:
        load_space(str(path))
    return str(raised.value).removeprefix(f"{path}:")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (f"fixed: {{spec_tokens: 3}}\n{SEATS}", r"2: .*nothing by which method: add speculative_config.method"),
        (f"{SEATS}  spec_tokens: {{type: int, low: 1, high: 4}}\n", r"4: .*nothing by which method"),
        (f"{SEATS}  speculative_config.prompt_lookup_max: {{type: int, low: 1, high: 4}}\n", r"4: .*by which method"),
        (f"fixed:\n  spec_method: ngram\n  spec_tokens: 0\n{SEATS}", r"4: .* 0 is no speculation"),
        (f"fixed:\n  spec_method: ngram\n  spec_tokens: -1\n{SEATS}", r"4: .*-1 is outside 1\.\.64"),
        (f"fixed:\n  spec_method: ngram\n  spec_tokens: 2.5\n{SEATS}", r"4: .*not a whole number"),
        (
            f"fixed: {{spec_method: ngram}}\n{SEATS}  spec_tokens: {{type: int, low: 0, high: 4}}\n",
            r"5: parameters.spec_tokens.*0 is no speculation",
        ),
        (
            f"fixed: {{spec_method: ngram}}\n{SEATS}  spec_tokens: {{type: int, low: 1, high: 400}}\n",
            r"5: parameters.spec_tokens.high: .*400 is outside",
        ),
        (
            f"fixed: {{spec_method: ngram}}\n{SEATS}  spec_tokens: {{type: categorical, choices: [2, 0]}}\n",
            r"5: .*choices.1.* 0 is no speculation",
        ),
        (f"fixed: {{spec_method: n-gram}}\n{SEATS}", r"2: .*no method 'n-gram' \(did you mean 'ngram'"),
        (
            f"{SEATS}  spec_method: {{type: categorical, choices: [none, egle3]}}\n",
            r"4: .*no method 'egle3' \(did you mean 'eagle3'",
        ),
        (
            "fixed:\n  spec_method: ngram\n  speculative_config.prompt_lookup_min: 5\n"
            f"  speculative_config.prompt_lookup_max: 2\n{SEATS}",
            r"4: .*prompt_lookup_min 5 is above prompt_lookup_max 2",
        ),
        (
            "fixed: {spec_method: ngram, speculative_config.prompt_lookup_min: 5}\n"
            f"{SEATS}  speculative_config.prompt_lookup_max: {{type: int, low: 2, high: 4}}\n",
            r"2: .*prompt_lookup_min 5 is above prompt_lookup_max 4",
        ),
    ],
)
def test_what_no_vllm_takes_is_told_with_its_line(text: str, why: str, tmp_path: Path) -> None:
    assert re.match(why, refused(tmp_path, text)), refused(tmp_path, text)


def test_an_enqueued_point_is_judged_as_a_whole(tmp_path: Path) -> None:
    lookups = "  speculative_config.prompt_lookup_{}: {{type: int, low: 1, high: 9}}\n"
    text = (
        f"fixed: {{spec_method: ngram, spec_tokens: 3}}\n{SEATS}{lookups.format('min')}{lookups.format('max')}enqueue:\n"
        "  - {speculative_config.prompt_lookup_min: 2, speculative_config.prompt_lookup_max: 4}\n"
        "  - {speculative_config.prompt_lookup_min: 4, speculative_config.prompt_lookup_max: 2}\n"
    )
    assert refused(tmp_path, text).startswith("9: ")
    assert "prompt_lookup_min 4 is above prompt_lookup_max 2" in refused(tmp_path, text)


def test_a_point_without_a_searched_method_does_not_speculate(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(
        f"{HEAD}fixed: {{speculative_config.prompt_lookup_max: 4}}\n{SEATS}"
        "  spec_method: {type: categorical, choices: [none, ngram]}\nenqueue:\n  - {max_num_seqs: 4}\n"
    )
    space = load_space(str(path))
    assert space.violations({"max_num_seqs": 2}) == []
    assert space.violations({"max_num_seqs": 2, "spec_method": "ngram"}) == []


def test_three_ways_to_say_it_are_one() -> None:
    short = {"spec_method": "ngram", "spec_tokens": 3}
    text = {"speculative_config": '{"method": "ngram", "num_speculative_tokens": 3}'}
    assert config_of(NGRAM) == config_of(short) == config_of(text) == {"method": "ngram", "num_speculative_tokens": 3}


def test_none_passes_nothing_of_it() -> None:
    off: dict[str, Value] = {**NGRAM, "speculative_config.method": "none", "max_num_seqs": 8}
    assert config_of(off) == {}
    assert said(off) == {"max_num_seqs": 8}
    assert said({**NGRAM, "max_num_seqs": 8}) == {**NGRAM, "max_num_seqs": 8}
    assert said({"speculative_config.prompt_lookup_max": 4, "max_num_seqs": 8}) == {"max_num_seqs": 8}
    assert said({"speculative_config.model": "a-draft"}) == {"speculative_config.model": "a-draft"}
    assert broken(off) == []


def test_an_acceptance_is_replayed_for_what_speculates_only() -> None:
    rates = synthetic((0.7, 0.5, 0.3, 0.2), NGRAM)
    assert rates == {
        "speculative_config.rejection_sample_method": "synthetic",
        "speculative_config.synthetic_acceptance_rates": "[0.7, 0.5, 0.3]",
    }
    assert synthetic(1.8, NGRAM)["speculative_config.synthetic_acceptance_length"] == 1.8
    assert synthetic(1.8, {"max_num_seqs": 8}) == synthetic(None, NGRAM) == {}
