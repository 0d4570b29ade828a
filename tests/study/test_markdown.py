"""Whatever a text holds, its Markdown shows just that text."""

import re

import pytest

from tuner.study.markdown import fenced, plain, table


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("<img src=x onerror=alert(1)>", r"\<img src=x onerror=alert(1)\>"),
        ("# no heading", r"\# no heading"),
        ("- no list\n- at all", r"\- no list - at all"),
        ("1. no list", r"1\. no list"),
        ("[no](javascript:x) `code` $x$ *a* _b_", r"\[no\](javascript:x) \`code\` \$x\$ \*a\* \_b\_"),
        ("a|b &lt; \\", r"a\|b \&lt; \\"),
        ("colour \x1b[31mred\x1b[0m \x00", "colour red"),
        ("-5 % and 3.5 tok/s", "-5 % and 3.5 tok/s"),
        ("3.5 tok/s", "3.5 tok/s"),
        ("---", r"\---"),
    ],
)
def test_words_are_words(text: str, shown: str) -> None:
    assert plain(text) == shown


@pytest.mark.parametrize("text", ["a\nb", "```\n<script>\n```", "````", "`" * 12 + "\n# x"])
def test_a_block_ends_where_it_should(text: str) -> None:
    found = fenced(text).splitlines()
    fence = re.match("`+", found[0])
    assert fence is not None
    assert found[0] == f"{fence[0]}text"
    assert found[-1] == fence[0]
    assert "\n".join(found[1:-1]) == text
    assert not any(line.startswith(fence[0]) for line in found[1:-1])


def test_a_table_has_as_many_cells_as_its_header() -> None:
    assert table(("", "a|b"), [("x", "1"), ("y", "<b>")]) == "\n".join(
        [r"|  | a\|b |", "| --- | --- |", "| x | 1 |", r"| y | \<b\> |"]
    )
