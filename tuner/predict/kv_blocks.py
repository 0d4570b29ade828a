"""A model's shape and settings in; how many blocks, tokens and requests a KV cache of some bytes holds out. Pure.

As vLLM lays the cache out (v1/core/kv_cache_utils.py): layers with the same reach form a group, groups have equally many
layers, and a block belongs to one group. Layers with a sliding window need blocks for the window only. All blocks have the
same bytes: where a token takes less in one kind of layer, a block of that kind holds more tokens.
"""

import math
from dataclasses import dataclass

from tuner.predict.precision import kv_layer_bytes
from tuner.predict.settings import Settings
from tuner.predict.shape import Shape


@dataclass(frozen=True, slots=True)
class KvBlocks:
    """The blocks of one GPU's KV cache."""

    shape: Shape
    settings: Settings

    @property
    def block_bytes(self) -> float:
        """One block: `block_size` tokens in each layer of a group of the kind where a token takes most."""
        return max(self._a_token) * self._group * self.settings.block_size

    @property
    def _a_token(self) -> tuple[float, float]:
        """Bytes of a token in a layer with a window, and in one without; those of the other where there is no such layer."""
        near, far = kv_layer_bytes(self.shape, self.settings)
        return near if self.shape.window_layers else far, far if self._full_layers else near

    def _block_tokens(self, a_token: float) -> int:
        """Tokens that a block holds, of a layer where each takes so many bytes."""
        return self.settings.block_size * max(1, round(max(self._a_token) / a_token))

    @property
    def _full_layers(self) -> int:
        return self.shape.layers - self.shape.window_layers

    @property
    def _group(self) -> int:
        """Layers in a group."""
        counts = [count for count in (self._full_layers, self.shape.window_layers) if count]
        return max(counts) if max(counts) < 1.5 * min(counts) else min(counts)

    def needed(self, length: int) -> int:
        """Blocks of one request of `length` tokens."""
        window, (near, far) = self.shape.window, map(self._block_tokens, self._a_token)
        found = math.ceil(self._full_layers / self._group) * math.ceil(length / far)
        if window is not None and self.shape.window_layers:
            reach = min(window - 1 + self.settings.max_num_batched_tokens, length)
            found += math.ceil(self.shape.window_layers / self._group) * (math.ceil(reach / near) + 1)
        return found

    def tokens(self, cache_bytes: float) -> int:
        """What vLLM reports as the KV cache's size: as many requests as fit, times max_model_len."""
        length = self.settings.max_model_len
        return int(max(0, cache_bytes) // self.block_bytes / self.needed(length) * length)

    def largest_length(self, cache_bytes: float) -> int:
        """The longest single request that fits, at most max_model_len; 0 if none does."""
        blocks = int(max(0, cache_bytes) // self.block_bytes)
        low, high = 0, self.settings.max_model_len
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if self.needed(middle) <= blocks else (low, middle - 1)
        return low
