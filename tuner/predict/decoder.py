"""The shape of a decoder: its sizes in, how many parameters it has, and where, out. Pure; it knows no files and no bytes."""

from dataclasses import dataclass

#: How the sentence in `Shape.assumed` begins for a family of models or a quantization that is a guess.
UNKNOWN = "tuner does not know"


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
class Quantized:
    """How a checkpoint stores the layers' matrices: `weight_bytes` each, but for the share of each part that stays in 16 bits.
    `fp8_kv`: it says of itself that its keys and values are kept in 8 bits, which vLLM obeys."""

    weight_bytes: float
    attention: float = 0.0
    mlp: float = 0.0
    experts: float = 0.0
    shared: float = 0.0
    fp8_kv: bool = False

    def kept(self, part: str) -> float:
        """The share of "attention", "mlp", "experts" or "shared" in 16 bits."""
        return {"attention": self.attention, "mlp": self.mlp, "experts": self.experts, "shared": self.shared}[part]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What a decoder is made of. `intermediate` is the width of a dense layer's MLP, which has three matrices if `gated`.

    `window_layers` of the layers keep only the last `window` tokens. Layers without a window have `global_kv_heads` heads of
    `global_head_dim` where these are not None. `rotary_positions` is the length of the table of rotary embeddings where it is
    not `max_positions`. `dtype_bytes` is the checkpoint's. `checkpoint_quantization` is how the stored weights are quantized,
    `quantized` what is known of it, `stored_bytes` how many bytes of them vLLM loads: None without the files.
    `tower_parameters` are those of encoders of pictures and sound beside the decoder. `assumed` has one sentence for each thing
    that was taken for granted."""

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
    global_kv_heads: int | None = None
    global_head_dim: int | None = None
    rotary_positions: int | None = None
    tower_parameters: int = 0
    checkpoint_quantization: str | None = None
    quantized: Quantized | None = None
    stored_bytes: int | None = None
    max_positions: int
    assumed: tuple[str, ...] = ()

    @property
    def is_guess(self) -> bool:
        """Whether it is of a kind that tuner does not know, and counted like another."""
        return any(said.startswith(UNKNOWN) for said in self.assumed)

    @property
    def attention_matrices(self) -> tuple[int, ...]:
        """The sizes of one layer's attention matrices as vLLM keeps them (query, key and value are one), in parameters."""
        if self.mla is None:
            return self._attention(self.kv_heads, self.head_dim)
        mla = self.mla
        queries = self.heads * (mla.nope_dim + mla.rope_dim)
        rank = mla.q_lora_rank
        query = (self.hidden * queries,) if rank is None else (self.hidden * rank, rank * queries)
        latent = self.hidden * (mla.kv_lora_rank + mla.rope_dim)
        up = mla.kv_lora_rank * self.heads * (mla.nope_dim + mla.v_head_dim)
        return (*query, latent, up, self.heads * mla.v_head_dim * self.hidden)

    @property
    def global_layers(self) -> int:
        """Layers that have heads of their own number and size (Gemma 4): those without a window."""
        unlike = self.global_kv_heads is not None or self.global_head_dim is not None
        return self.layers - self.window_layers if unlike and self.mla is None else 0

    @property
    def global_heads(self) -> tuple[int, int]:
        """KV heads of the layers without a window, and their size."""
        return self.global_kv_heads or self.kv_heads, self.global_head_dim or self.head_dim

    @property
    def attention(self) -> tuple[tuple[int, tuple[int, ...]], ...]:
        """How many layers have attention matrices of which sizes."""
        own = self.global_layers
        kinds = ((self.layers - own, self.attention_matrices), (own, self._attention(*self.global_heads)))
        return tuple((count, matrices) for count, matrices in kinds if count)

    @property
    def attention_parameters(self) -> int:
        return sum(count * sum(matrices) for count, matrices in self.attention)

    @property
    def shared_parameters(self) -> int:
        """The experts that all tokens go through."""
        moe = self.experts
        return 0 if moe is None else moe.layers * 3 * self.hidden * moe.shared_intermediate

    def _attention(self, kv_heads: int, head_dim: int) -> tuple[int, ...]:
        return self.hidden * (self.heads + 2 * kv_heads) * head_dim, self.heads * head_dim * self.hidden

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
        dense = self.attention_parameters + self.layers * 2 * self.hidden + self.dense_layers * sum(self.mlp_matrices)
        moe = self.experts
        routers = 0 if moe is None else moe.layers * self.hidden * moe.count
        return (dense + routers + self.shared_parameters + self.expert_parameters) / self.layers

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
