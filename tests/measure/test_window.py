from array import array
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tuner.measure.window import ended_in, gaps_s, input_tokens, output_tokens, sent_in
from tuner.types import RequestRecord


def _record(times: Sequence[float], tokens: int, *, sent_s: float = 0.0, error: str | None = None) -> RequestRecord:
    return RequestRecord(
        index=0,
        scheduled_s=0.0,
        sent_s=sent_s,
        ended_s=10.0,
        chunk_times_s=times,
        input_tokens=50,
        output_tokens=tokens,
        error=error,
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


def test_a_request_belongs_to_the_window_it_was_due_in_though_sent_late() -> None:
    late = _record((8.0,), tokens=1, sent_s=7.0)
    assert sent_in([late], 0.0, 1.0) == [late]
    assert sent_in([late], 6.0, 8.0) == []


def test_requests_that_failed_or_are_absent_have_no_tokens() -> None:
    failed = _record((1.0, 2.0), tokens=2, error="cut")
    assert output_tokens([failed], 0.0, 9.0) == 0
    assert input_tokens([failed], 0.0, 9.0) == 0
    assert output_tokens([_record((1.0, 2.0), tokens=2)], 1.0, 1.0) == 0


def test_parts_of_the_window_have_their_own_tokens() -> None:
    records = [_record((0.5, 1.5, 2.5), tokens=5), _record((1.6, 9.0), tokens=2)]
    assert [output_tokens(records, start, start + 1.0) for start in (0.0, 1.0, 2.0)] == [1, 3, 2]
    assert [output_tokens(records, start / 2, (start + 1) / 2) for start in range(6)] == [0, 1, 0, 3, 0, 2]


def test_gaps_are_between_chunks_of_the_same_request() -> None:
    records = [_record((1.0, 1.5, 3.5), tokens=3), _record((2.0,), tokens=1), _record((0.0, 8.0), tokens=2)]
    assert gaps_s(records).tolist() == [0.5, 2.0, 8.0]
    assert gaps_s([]).tolist() == []


def test_arrays_and_tuples_are_alike() -> None:
    times = [1.0, 1.1, 1.7, 2.9]
    of_tuple, of_array = _record(tuple(times), tokens=8), _record(array("d", times), tokens=8)
    assert gaps_s([of_array, of_array]).tolist() == gaps_s([of_tuple, of_tuple]).tolist()
    assert output_tokens([_record(array("d"), tokens=8)], 0.0, 3.0) == 0


@settings(deadline=None)
@given(st.lists(st.floats(0, 10), min_size=1, max_size=20), st.integers(1, 100), st.integers(1, 12))
def test_parts_of_the_window_add_up(times: list[float], tokens: int, parts: int) -> None:
    record = _record(tuple(sorted(times)), max(tokens, len(times)))
    counts = [output_tokens([record], 11.0 * part / parts, 11.0 * (part + 1) / parts) for part in range(parts)]
    assert sum(counts) == pytest.approx(max(tokens, len(times)))
