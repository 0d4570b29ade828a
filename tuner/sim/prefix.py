"""Prompts in, how many of their first tokens the KV cache still has out. Pure.

vLLM caches whole blocks, each known by its tokens and all before it, and forgets those that were not used for the longest time
(vllm/v1/core/kv_cache_utils.py, block_pool.py). Here a block is kept as long as the cache has room for so many blocks at all:
what running requests take is not counted against it.
"""

from collections import OrderedDict
from collections.abc import Sequence


class PrefixCache:
    """The blocks of a KV cache. With `blocks` 0 nothing is ever found."""

    def __init__(self, block_size: int, blocks: int) -> None:
        self._block_size, self._blocks = block_size, blocks
        self._known: OrderedDict[int, None] = OrderedDict()
        self.queries = self.hits = 0  # in tokens

    def find(self, tokens: Sequence[int]) -> int:
        """How many of the first tokens are cached; at least the last token has to be computed."""
        if not self._blocks:
            return 0
        found = 0
        for number in _hashes(tokens[:-1], self._block_size):
            if number not in self._known:
                break
            self._known.move_to_end(number)
            found += self._block_size
        self.queries += len(tokens)
        self.hits += found
        return found

    def keep(self, tokens: Sequence[int]) -> None:
        """They have been computed."""
        if not self._blocks:
            return
        for number in _hashes(tokens, self._block_size):
            self._known[number] = None
            self._known.move_to_end(number)
        while len(self._known) > self._blocks:
            self._known.popitem(last=False)


def _hashes(tokens: Sequence[int], size: int) -> list[int]:
    found, before = [], 0
    for at in range(size, len(tokens) + 1, size):
        before = hash((before, *tokens[at - size : at]))
        found.append(before)
    return found
