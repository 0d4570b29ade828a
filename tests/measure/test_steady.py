import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tuner.measure.steady import batches, ended_in, input_tokens, output_tokens, sent_in
from tuner.types import RequestRecord


def _record(times: tuple[float, ...], tokens: int) -> RequestRecord:
    return RequestRecord(
        index=0, sent_s=0.0, ended_s=10.0, chunk_times_s=times, input_tokens=50, output_tokens=tokens, error=None
    )


def test_the_first_chunk_is_one_token_and_the_rest_is_even() -> None:
    record = _record((1.0, 2.0, 3.0), tokens=9)
    assert output_tokens([record], 0.0, 1.5) == 1
    assert output_tokens([record], 1.5, 2.5) == 4
    assert output_tokens([record], 0.0, 9.0) == 9
    assert output_tokens([_record((1.0,), tokens=9)], 0.5, 1.5) == 9


def test_the_window_has_its_start_and_not_its_end() -> None:
    record = _record((1.0, 2.0), tokens=2)
    assert output_tokens([record], 1.0, 2.0) == 1
    assert input_tokens([record], 1.0, 2.0) == 50
    assert input_tokens([record], 0.0, 1.0) == 0
    assert sent_in([record], 0.0, 1.0) == [record]
    assert sent_in([record], 0.1, 1.0) == []
    assert ended_in([record], 5.0, 10.0) == []
    assert ended_in([record], 10.0, 11.0) == [record]


@settings(deadline=None)
@given(st.lists(st.floats(0, 10), min_size=1, max_size=20), st.integers(1, 100), st.integers(1, 12))
def test_parts_of_the_window_add_up(times: list[float], tokens: int, parts: int) -> None:
    record = _record(tuple(sorted(times)), tokens)
    rates = batches([record], 0.0, 11.0, parts)
    assert sum(rates) * 11.0 / parts == pytest.approx(tokens if len(times) > 1 or tokens else 1)
