"""What a rule of a search space may say, and means."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuner.space.files import load_space
from tuner.space.rules import Rule
from tuner.types import Params


@pytest.mark.parametrize(
    ("require", "point", "holds"),
    [
        ("a * 2 + 1 <= b - 3 // 2", {"a": 1, "b": 4}, True),
        ("a <= b <= c", {"a": 1, "b": 3, "c": 2}, False),
        ("not (a == 'x' and b)", {"a": "x", "b": True}, False),
        ("a != 'x' or b % 32 == 0", {"a": "x", "b": 64}, True),
        ("-a < 0 < 1 / a", {"a": 2}, True),
        ("a >= b", {"a": 1}, True),
    ],
)
def test_a_rule_is_an_expression(require: str, point: dict[str, bool | int | float | str], holds: bool) -> None:
    assert Rule(require=require, because="x").holds(point) is holds


@pytest.mark.parametrize(
    "require",
    [
        "__import__('os').system('true')",
        "a.b() > 1",
        "a[0] > 1",
        "[a for a in b]",
        "lambda: 1",
        "a ** 9 > 1",
        "a << 9 > 1",
        "a in b",
        "(a := 1) > 0",
        "f'{a}' == 'x'",
        "a > None",
        "a > 1j",
        "a if b else c",
        "a; b",
        "",
        "\0",
        "(" * 299,
        "a" * 301,
    ],
)
def test_anything_else_is_no_rule(require: str) -> None:
    with pytest.raises(ValueError, match="require"):
        Rule(require=require, because="x")


NAMES = {"a": 3, "b": 7, "c": 2.5}
numbers = st.recursive(
    st.sampled_from([*NAMES, "1", "2.5", "10"]),
    lambda inner: st.builds("({} {} {})".format, inner, st.sampled_from(["+", "-", "*", "/", "//", "%"]), inner),
    max_leaves=6,
)
booleans = st.recursive(
    st.builds("{} {} {}".format, numbers, st.sampled_from(["<", "<=", ">", ">=", "==", "!="]), numbers),
    lambda inner: (
        st.builds("({} {} {})".format, inner, st.sampled_from(["and", "or"]), inner)
        | st.builds("(not {})".format, inner)
    ),
    max_leaves=4,
)


@given(booleans.filter(lambda text: len(text) <= 300))
def test_a_rule_means_what_python_means(text: str) -> None:
    rule = Rule(require=text, because="x")
    try:
        expected = eval(text, {}, dict(NAMES))
    except ZeroDivisionError:
        with pytest.raises(ZeroDivisionError):
            rule.holds(NAMES)
    else:
        assert rule.holds(NAMES) is expected


@given(st.text(max_size=40))
def test_any_text_is_a_rule_or_a_plain_refusal(text: str) -> None:
    try:
        names = Rule(require=text, because="x").names
    except ValueError:
        return
    assert all(part.isidentifier() for name in names for part in name.split("."))


T4 = load_space("t4")


@given(seqs=st.integers(1, 600), tokens=st.integers(1, 9000), percent=st.integers(80, 100))
def test_a_point_is_valid_exactly_when_it_is_inside_and_keeps_the_rules(seqs: int, tokens: int, percent: int) -> None:
    point = {"max_num_seqs": seqs, "max_num_batched_tokens": tokens, "gpu_memory_utilization": percent / 100}
    valid = 8 <= seqs <= 512 and 512 <= tokens <= 8192 and 85 <= percent <= 95 and tokens >= seqs
    assert (T4.violations(point) == []) is valid


def test_a_rule_names_a_part_of_a_nested_config() -> None:
    rule = Rule(
        require="not enforce_eager or compilation_config.cudagraph_mode == 'NONE' or a.b.c > 1", because="no graphs"
    )
    assert rule.names == ("enforce_eager", "compilation_config.cudagraph_mode", "a.b.c")
    point: Params = {"enforce_eager": True, "compilation_config.cudagraph_mode": "FULL", "a.b.c": 1}
    assert not rule.holds(point)
    assert rule.holds({**point, "a.b.c": 2})
    assert rule.holds({"enforce_eager": True})


@pytest.mark.parametrize("text", ["'a'.upper", "(1).real > 0", "(a + b).c == 1", "a.b() > 1", "a.__class__.b[0] == 1"])
def test_a_dot_is_a_part_of_a_name_and_nothing_else(text: str) -> None:
    with pytest.raises(ValueError, match=r"a dot stands in|has something else"):
        Rule(require=text, because="x")
