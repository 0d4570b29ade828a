"""What the user is told of the space before anything is proposed."""

from types import SimpleNamespace
from typing import Any

import pytest

from tuner.space.parameters import Categorical, Int, Parameter
from tuner.study.proposing import not_there
from tuner.types import Value


@pytest.mark.parametrize(
    ("parameter", "usual", "stands"),
    [
        (Categorical(type="categorical", choices=("TRITON_ATTN", "FLASHINFER")), "FLASH_ATTN", "TRITON_ATTN"),
        (Categorical(type="categorical", choices=("awq", "gptq")), None, "awq"),
        (Categorical(type="categorical", choices=("TRITON_ATTN", "FLASH_ATTN")), "FLASH_ATTN", None),
        (Categorical(type="categorical", choices=("TRITON_ATTN", "none")), "FLASH_ATTN", None),
        (Categorical(type="categorical", choices=("TRITON_ATTN",)), "FLASH_ATTN", None),  # which is what the user wants
        (Categorical(type="categorical", choices=(1, 2)), 8, None),  # the nearest is as good
        (Int(type="int", low=1, high=2), 8, None),
    ],
)
def test_a_word_that_stands_for_another_is_told(parameter: Parameter, usual: Value | None, stands: str | None) -> None:
    setup: Any = SimpleNamespace(space=SimpleNamespace(parameters={"a": parameter}))
    told = list(not_there(setup, {} if usual is None else {"a": usual}))
    expected = f"vLLM's default of a, {usual or 'none'}, is not in the search space: {stands} stands for it"
    assert [text.startswith(expected) for text in told] == ([True] if stands else [])
