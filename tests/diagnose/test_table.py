"""docs/diagnosis.md is what the code reads: its tables are whole, and a fault in one is a sentence with its line."""

import re
from pathlib import Path
from string import Formatter

import pytest
from conftest import REPOSITORY

from tuner.diagnose.causes import UNMEASURED, Cause
from tuner.diagnose.table import FIELDS, Comparison, Signed, read_table, table_path, the_table
from tuner.errors import RunError
from tuner.predict.advise.limits import CAUSES, Bottleneck
from tuner.space.files import load_space, shipped_spaces
from tuner.space.parameters import Categorical

TEXT = table_path().read_text()
TABLE = the_table()
SPACES = [load_space(name) for name in shipped_spaces()]


def test_every_cause_has_a_rule_and_words() -> None:
    assert {rule.cause for rule in TABLE.rules} == set(Cause) - UNMEASURED
    assert set(TABLE.words) == set(Cause)
    assert set(TABLE.rivals) == set(Cause) - UNMEASURED


def test_every_remedy_is_an_argument_that_some_space_searches_and_a_value_that_it_can_have() -> None:
    for advices in TABLE.remedies.values():
        for advice in advices:
            known = [space.parameters[advice.name] for space in SPACES if advice.name in space.parameters]
            assert known, f"no space searches {advice.name}"
            if isinstance(advice.value, str | bool):
                choices = {c for parameter in known if isinstance(parameter, Categorical) for c in parameter.choices}
                fits = [
                    c for c in choices if c == advice.value or (advice.begins and str(c).startswith(str(advice.value)))
                ]
                assert fits, f"{advice.name} is nowhere {advice.value}"


def test_every_threshold_and_sign_is_used_and_has_a_source() -> None:
    conditions = [one for rule in TABLE.rules for one in rule.when]
    conditions += [one for ways in TABLE.signs.values() for way in ways for one in way.when]
    used = {one.threshold for one in conditions if isinstance(one, Comparison)}
    assert used == set(TABLE.thresholds)
    assert {one.sign for one in conditions if isinstance(one, Signed)} == set(TABLE.signs)
    assert {one.field for one in conditions if isinstance(one, Comparison)} <= FIELDS


def test_rules_have_names_of_their_own_and_ties_are_few() -> None:
    names = [rule.name for rule in TABLE.rules]
    assert len(names) == len(set(names))
    assert not set(names) & {cause.value for cause in Cause}
    for text in [rule.evidence for rule in TABLE.rules] + [
        way.evidence for ways in TABLE.signs.values() for way in ways
    ]:
        assert {name for _, name, _, _ in Formatter().parse(text) if name} <= FIELDS
        assert text, "a finding has evidence"


def test_what_a_prediction_is_limited_by_has_remedies() -> None:
    """There is one list of what moves what: `tuner plan` tries the remedies of the causes."""
    for bottleneck in set(Bottleneck) - {Bottleneck.LOAD}:
        assert any(TABLE.remedies.get(cause) for cause in CAUSES[bottleneck]), bottleneck


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ("`client_marked >= YES`", "`client_marked >= MAYBE`", "'MAYBE' is no threshold"),
        ("`client_marked >= YES`", "`clint_marked >= YES`", "'clint_marked' is no field of the evidence"),
        ("`client_marked >= YES`", "`client_marked is YES`", "'client_marked is YES' is no condition"),
        ("`client_marked >= YES`", "`not client_marked`", "'not client_marked' is no condition"),
        ("| client bound | `client_marked", "| client bond | `client_marked", "'client bond' is no cause"),
        ("`client_marked >= YES` | 0.96 |", "`client_marked >= YES` | 1.5 |", "above 0 and at most 1, not 1.5"),
        ("`client_marked >= YES` | 0.96 |", "`client_marked >= YES` | sure |", "'sure' is no number"),
        ("`client_marked >= YES` | 0.96 |", "`client_marked >= YES` |", "4 cells in a table of 5 columns"),
        ("{client_cpu:.0%} of a core", "{client_cup:.0%} of a core", "client_cup: no field of the evidence"),
        ("{client_cpu:.0%} of a core", "{client_cpu of a core", "cannot be filled in"),
        ("| QUEUE | 0.5 |", "| QUEUE | half |", "'half' is no number"),
        ("| batch limit | max_num_seqs | raise |", "| batch limit | max_num_seqs | push |", "not 'push'"),
        ("| raise | 0.95 |", "| raise | far |", "how far gpu_memory_utilization goes is a number, not 'far'"),
        (
            "| few may run | max_num_seqs",
            "| few may walk | max_num_seqs",
            "'few may walk' is neither a cause nor a rule",
        ),
        ("| cause | words |", "| cause | prose |", "no known table begins with"),
    ],
)
def test_a_malformed_table_is_a_sentence_with_its_line(old: str, new: str, why: str) -> None:
    assert old in TEXT
    with pytest.raises(RunError, match=rf"^d\.md:\d+: .*{re.escape(why)}") as raised:
        read_table(TEXT.replace(old, new, 1), "d.md")
    line = int(str(raised.value).split(":")[1])
    assert new.split("|")[-1].strip() in TEXT.replace(old, new, 1).splitlines()[line - 1]


def test_a_table_that_is_missing_is_named() -> None:
    with pytest.raises(RunError, match=r"^d\.md: there is no table of words$"):
        read_table(TEXT[: TEXT.index("| cause | words |")], "d.md")


def test_the_table_is_found_in_a_checkout_and_beside_the_installed_code(tmp_path: Path) -> None:
    assert table_path(REPOSITORY / "tuner") == REPOSITORY / "docs" / "diagnosis.md"
    (tmp_path / "tuner" / "diagnose").mkdir(parents=True)
    (tmp_path / "tuner" / "diagnose" / "diagnosis.md").write_text(TEXT)
    assert table_path(tmp_path / "tuner") == tmp_path / "tuner" / "diagnose" / "diagnosis.md"
