"""The shape of a decoder: its sizes in, how many parameters it has, and where, out. Pure; it knows no files and no bytes."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Experts:
    """A mixture of experts in `layers` of the layers: each token goes through `active` of `count` experts, and through a
    shared one of width `shared_intermediate` (0: none). The other layers are dense."""

    count: int
    active: int
    intermediate: int
    shared_intermediate: int
    layers: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Mla:
    """Multi-head latent attention (DeepSeek): a token leaves one latent vector and one rotary key, shared by all heads."""

    kv_lora_rank: int
    rope_dim: int
    q_lora_rank: int | None
    v_head_dim: int
    nope_dim: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What a decoder is made of. `intermediate` is the width of a dense layer's MLP, which has three matrices if `gated`.

    `window_layers` of the layers keep only the last `window` tokens. `dtype_bytes` is the checkpoint's.
    `checkpoint_quantization` is how the stored weights are quantized, `stored_bytes` how many bytes of them vLLM loads: None
    without the files. `assumed` has one sentence for each thing that was taken for granted."""

    architecture: str
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int
    vocab: int
    tied: bool
    dtype_bytes: float = 2.0
    gated: bool = True
    experts: Experts | None = None
    mla: Mla | None = None
    window_layers: int = 0
    window: int | None = None
    checkpoint_quantization: str | None = None
    stored_bytes: int | None = None
    max_positions: int
    assumed: tuple[str, ...] = ()

    @property
    def attention_matrices(self) -> tuple[int, ...]:
        """The sizes of one layer's attention matrices as vLLM keeps them (query, key and value are one), in parameters."""
        if self.mla is None:
            projected = self.heads + 2 * self.kv_heads
            return self.hidden * projected * self.head_dim, self.heads * self.head_dim * self.hidden
        mla = self.mla
        queries = self.heads * (mla.nope_dim + mla.rope_dim)
        rank = mla.q_lora_rank
        query = (self.hidden * queries,) if rank is None else (self.hidden * rank, rank * queries)
        latent = self.hidden * (mla.kv_lora_rank + mla.rope_dim)
        up = mla.kv_lora_rank * self.heads * (mla.nope_dim + mla.v_head_dim)
        return (*query, latent, up, self.heads * mla.v_head_dim * self.hidden)

    @property
    def mlp_matrices(self) -> tuple[int, ...]:
        """The same of a dense layer's MLP (gate and up are one)."""
        return (1 + self.gated) * self.hidden * self.intermediate, self.hidden * self.intermediate

    @property
    def dense_layers(self) -> int:
        return self.layers - (self.experts.layers if self.experts else 0)

    @property
    def expert_parameters(self) -> int:
        """All routed experts of all layers."""
        moe = self.experts
        return 0 if moe is None else moe.layers * moe.count * 3 * self.hidden * moe.intermediate

    @property
    def layer_parameters(self) -> float:
        """Of one layer, the mean over all of them."""
        dense = self.layers * (sum(self.attention_matrices) + 2 * self.hidden) + self.dense_layers * sum(
            self.mlp_matrices
        )
        moe = self.experts
        shared = 0 if moe is None else moe.layers * self.hidden * (3 * moe.shared_intermediate + moe.count)
        return (dense + shared + self.expert_parameters) / self.layers

    @property
    def head_parameters(self) -> int:
        """The output head, which vLLM's online quantization leaves alone."""
        return self.vocab * self.hidden

    @property
    def embedding_parameters(self) -> int:
        """The embedding and the output head, which are one if `tied`."""
        return self.head_parameters * (1 if self.tied else 2)

    @property
    def parameters(self) -> int:
        return round(self.layers * self.layer_parameters) + self.embedding_parameters + self.hidden

    @property
    def matmul_parameters(self) -> int:
        """What one token is multiplied with: of the experts only the active ones; the output head, but not the embedding."""
        moe = self.experts
        idle = 0 if moe is None else self.expert_parameters * (moe.count - moe.active) // moe.count
        return round(self.layers * (self.layer_parameters - 2 * self.hidden)) - idle + self.head_parameters
