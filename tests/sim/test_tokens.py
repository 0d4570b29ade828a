from hypothesis import given
from hypothesis import strategies as st

from tuner.sim.tokens import Tokenizer

LARGE = Tokenizer(151_936)


@given(st.lists(st.integers(256, 8191), max_size=50))
def test_words_of_ids_are_those_ids(ids: list[int]) -> None:
    """What tuner.load.tokenizer needs: words that stay one token each, alone and between others."""
    assert LARGE.encode(LARGE.decode(ids)) == ids


def test_a_small_vocabulary_has_only_its_own_words() -> None:
    small = Tokenizer(300)
    assert small.decode([256, 299, 300, 9000]) == " w256 w299"
    assert max(small.encode("w256 w299 w300 w9000 another")) < 300
    assert small.answer_word


def test_other_words_count_by_their_length() -> None:
    assert [len(LARGE.encode(text)) for text in ("the", "word", "words", "extraordinary", "")] == [1, 1, 2, 4, 0]
    assert LARGE.encode("the") * 2 == LARGE.encode("the the")


def test_a_chat_that_goes_on_begins_with_what_was_said() -> None:
    """Else a conversation would find nothing in the prefix cache."""
    first = {"messages": [{"role": "user", "content": "w300 w301"}]}
    said = [*first["messages"], {"role": "assistant", "content": " w400 w401"}, {"role": "user", "content": "w500"}]
    before = LARGE.encode_chat(first)
    after = LARGE.encode_chat({"messages": said})
    assert after[: len(before) + 2] == [*before, 400, 401]


def test_a_message_that_is_to_be_continued_has_no_end() -> None:
    said = [{"role": "user", "content": "w300"}, {"role": "assistant", "content": "w301"}]
    ended = LARGE.encode_chat({"messages": said, "add_generation_prompt": False})
    going_on = {"messages": said, "add_generation_prompt": False, "continue_final_message": True}
    assert LARGE.encode_chat(going_on) == ended[:-1]
    assert LARGE.encode_chat({"messages": [{"role": "user", "content": [{"type": "text", "text": "w300"}]}]})[2] == 300
