"""Names that Kubernetes takes, of names that people give."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tuner.export.labels import dns_label

_RFC_1035 = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")


@settings(deadline=None)
@given(text=st.text(), longest=st.integers(24, 63))
def test_any_text_becomes_a_label(text: str, longest: int) -> None:
    label = dns_label(text, longest)
    assert _RFC_1035.fullmatch(label)
    assert len(label) <= longest
    assert dns_label(label, longest) == label


@settings(deadline=None)
@given(one=st.text(), other=st.text())
def test_two_texts_keep_two_names(one: str, other: str) -> None:
    assert (dns_label(one) == dns_label(other)) == (one == other) or other == dns_label(one) or one == dns_label(other)


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("t4-demo-chat", "t4-demo-chat"),
        ("A b/ü", "a-b-u-ca3c2a"),
        ("1x", "vllm-1x-"),
        ("模型", "vllm-"),
        ("-", "vllm-"),
    ],
)
def test_it_stays_what_it_was_as_far_as_it_can(text: str, label: str) -> None:
    assert dns_label(text).startswith(label)
