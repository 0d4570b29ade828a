"""docs/quality.md says what the code does."""

import re
import shlex
from dataclasses import fields

from conftest import REPOSITORY

from tuner.decide.harm import MAX_LOSS, Harm
from tuner.decide.quality import LEAST_PIECES, LEVEL, POWER
from tuner.load.probing import _AT_ONCE, ANSWER_TOKENS
from tuner.load.questions import read_questions
from tuner.space.answers import KEEPS, LOSSY, ROUNDING
from tuner.study.options import Options
from tuner.study.quality import PROBED_LAUNCHES

TEXT = (REPOSITORY / "docs" / "quality.md").read_text()
FLAT = " ".join(TEXT.split())


def rows(title: str) -> list[list[str]]:
    section = TEXT.split(f"{title}\n")[1].split("\n#")[0]
    return [
        [cell.strip() for cell in line.strip("|").split(" | ")] for line in section.splitlines() if line[:2] == "| "
    ]


def test_its_options_and_their_defaults_are_those_of_the_command() -> None:
    told = {row[0].strip("`-"): row[1] for row in rows("# Answers unharmed")[1:]}
    default = Options()
    assert set(told) == {"max-quality-loss", "lossless", "quality-data", "quality-cmd", "quality-timeout"}
    assert (told["max-quality-loss"], default.max_quality_loss) == ("0.02", MAX_LOSS)
    assert float(told["quality-timeout"]) == default.quality_timeout
    assert (default.lossless, default.quality_cmd, default.quality_data) == (False, None, None)


def test_its_commands_have_options_that_exist() -> None:
    known = {field.name.replace("_", "-") for field in fields(Options)}
    for line in re.findall(r"^\$ (.+)$", TEXT, re.MULTILINE):
        program, command, *words = shlex.split(line, comments=True)
        assert (program, command) == ("tuner", "optimize")
        assert {word[2:] for word in words if word.startswith("--")} <= known


def test_its_lists_are_those_of_the_code() -> None:
    lossy, rounding, _ = rows("## What can change answers")[1:]
    assert set(re.findall(r"`(\w+)`", lossy[1])) <= set(LOSSY)
    assert set(re.findall(r"`(\w+)`", rounding[1])) <= set(ROUNDING)
    assert KEEPS


def test_its_numbers_are_those_of_the_code() -> None:
    shipped = read_questions()
    assert (
        f"{len(shipped.prompts)} questions, {ANSWER_TOKENS} tokens each at temperature 0, {_AT_ONCE} at a time" in FLAT
    )
    assert f"{len(shipped.texts)} pieces" in FLAT
    assert (PROBED_LAUNCHES, LEAST_PIECES, LEVEL, POWER) == (2, 8, 0.025, 0.8)
    assert "Eight pieces and eight questions are the least" in FLAT


def test_every_judgement_is_there() -> None:
    assert {row[0] for row in rows("## What is decided")[1:]} == {harm.value for harm in Harm}
