from tuner.sim.prefix import PrefixCache

PROMPT = list(range(100))


def test_whole_blocks_of_what_was_computed_are_found() -> None:
    cache = PrefixCache(16, 100)
    assert cache.find(PROMPT) == 0
    cache.keep(PROMPT)
    assert cache.find(PROMPT) == 96
    assert cache.find([*PROMPT[:50], *PROMPT]) == 48
    assert cache.find([7, *PROMPT]) == 0
    assert (cache.queries, cache.hits) == (100 + 100 + 150 + 101, 96 + 48)


def test_the_last_token_is_always_computed() -> None:
    cache = PrefixCache(16, 100)
    cache.keep(PROMPT[:64])
    assert cache.find(PROMPT[:64]) == 48
    assert cache.find(PROMPT[:65]) == 64


def test_what_was_not_used_for_the_longest_time_is_forgotten() -> None:
    cache = PrefixCache(16, 4)
    first, second = [1] * 32, [2] * 32
    cache.keep(first)
    cache.keep(second)
    assert cache.find([*first, 0]) == 32  # used again
    cache.keep([3] * 16)
    assert cache.find([*second, 0]) == 0  # its first block went
    assert cache.find([*first, 0]) == 32


def test_without_a_cache_nothing_is_asked() -> None:
    cache = PrefixCache(16, 0)
    cache.keep(PROMPT)
    assert cache.find(PROMPT) == 0
    assert cache.queries == 0
