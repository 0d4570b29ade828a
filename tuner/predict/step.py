"""A model's shape, a card and settings in; how long one step of vLLM's engine takes out. Pure.

A step is a roofline with kernel efficiencies (S. Williams et al., Roofline, CACM 2009), without its corner: a matrix
multiplication reads its weights and computes, and the two overlap in part; decode attention reads the KV cache; around them
stand costs for each layer, for each collective of tensor parallelism, and what the host does for each sequence while the GPU
works (asynchronous scheduling). With speculative decoding a step checks the drafts of each sequence, and makes several tokens.
It knows nothing of requests, queues or memory limits.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import NamedTuple

from tuner.predict.decoder import Shape
from tuner.predict.precision import bytes_per_weight, computes_in_fp8, kv_bytes_per_token
from tuner.predict.settings import Settings, capture_sizes
from tuner.predict.sharing import of_a_copy, of_a_stage, sharing_copies
from tuner.space.gpus import WITH_NVLINK, Capability, Gpu
from tuner.space.speculation import OF_THE_TEXT

_US = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class Kernels:
    """What kernels reach of a card's data sheet, as shares: of the bandwidth while weights of 16 or 8 bits are read, of
    the arithmetic in 16 or 8 bits."""

    weights16: float
    weights8: float
    compute16: float
    compute8: float


#: Medians over LLM shapes (n, k >= 2048) of vLLM's kernels in AIConfigurator's measured tables
#: (github.com/ai-dynamo/aiconfigurator, systems/data): A100 with vLLM 0.14, H100, H200 and L40S with 0.24.
#: Nobody published 7.5 (T4): A100's shares stand in for it.
KERNELS: Mapping[Capability, Kernels] = {
    (7, 5): Kernels(weights16=0.67, weights8=0.60, compute16=0.72, compute8=0.60),
    (8, 0): Kernels(weights16=0.67, weights8=0.60, compute16=0.82, compute8=0.60),
    (8, 6): Kernels(weights16=0.75, weights8=0.68, compute16=0.72, compute8=0.60),
    (8, 9): Kernels(weights16=0.78, weights8=0.68, compute16=0.65, compute8=0.48),
    (9, 0): Kernels(weights16=0.74, weights8=0.52, compute16=0.80, compute8=0.57),
    (10, 0): Kernels(weights16=0.74, weights8=0.60, compute16=0.75, compute8=0.60),
    (12, 0): Kernels(weights16=0.78, weights8=0.71, compute16=0.78, compute8=0.70),
}


#: The cards that these were measured on; those of other capabilities stand in for others.
MEASURED: Mapping[Capability, tuple[str, ...]] = {
    (8, 0): ("A100",),
    (8, 9): ("L40S",),
    (9, 0): ("H100", "H200"),
    (12, 0): ("RTX PRO 6000",),
}


#: How likely a draft token is accepted if those before it were, where nobody measured it: by text that is found again, by a
#: model (guesses; published for models: 0.6 to 0.8).
ACCEPTED_OF_THE_TEXT, ACCEPTED_OF_A_MODEL = 0.2, 0.6


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """Every constant of the step and of the processes around it.

    The first four scale all that is of a kind; calibration learns them: `kernels` is what the GPU reaches of `KERNELS` in
    whole steps (more is faster); `launch` scales the time for starting kernels, `host` EngineCore's, `front` the API servers'
    (more is slower). They and the others were fitted by least squares on the training halves of our own measurements and of
    P-PAS in benchmarks/data (vLLM 0.25.1; benchmarks/predict/fit.py); they hold for hosts like that of
    `tuner.predict.host.REFERENCE`.
    """

    kernels: float = 0.89
    launch: float = 1.0
    host: float = 1.0
    front: float = 1.0
    #: Share of the bandwidth that decode attention reaches (the tables of `KERNELS`: 0.58-0.77 at 512 and more tokens).
    kv_bandwidth: float = 0.87
    #: How far reading and computing overlap: their times make a norm of this exponent; 1 is one after the other, much is the
    #: longer of both.
    overlap: float = 2.0
    #: Share of the arithmetic that prefill attention reaches at 1,000 tokens. It grows with their 0.4th power up to 0.6: the
    #: same tables have 0.28 at 1,000, 0.5 at 4,000 and 0.57 at 8,000. Of a chunk late in a prompt, the tokens that count are
    #: between its own and those of all before it: by this share of the way, in logarithms.
    attention_compute: float = 0.365
    attention_context: float = 0.05
    #: What Triton's attention reaches of FlashAttention's.
    triton_attention: float = 0.30
    #: GPU time of a layer's small kernels, and the bytes that a token moves through a layer outside its multiplications, in
    #: hidden sizes of 16 bits.
    layer_s: float = 15.4 * _US
    activations: float = 22.0
    #: GPU time of a step outside its layers (embedding, sampling, copies), and of each sequence in it.
    step_s: float = 390 * _US
    sequence_s: float = 1.0 * _US
    #: EngineCore's time to start a layer's kernels: with prompts in a CUDA graph in pieces around attention; in compiled pieces
    #: beyond the largest graph; in eager mode, and there with weights in fp8, whose activations are quantized by more kernels.
    piecewise_layer_s: float = 245 * _US
    compiled_layer_s: float = 560 * _US
    eager_layer_s: float = 493 * _US
    eager_fp8_layer_s: float = 640 * _US
    compiled_fp8_layer_s: float = 570 * _US
    #: EngineCore, while the GPU works on the step before: a step, each sequence in it, and a request that is admitted.
    schedule_s: float = 2.4e-3
    schedule_sequence_s: float = 21 * _US
    admit_s: float = 115 * _US
    #: What of a step's time of EngineCore is left where the model runs in a process of its own: of two launches on an H200 with
    #: FULL graphs, which had steps of 7.8 and 7.5 ms so, and of 8.4 ms in one process.
    worker: float = 0.92
    #: EngineCore, for a sequence whose text is searched for a draft (ngram).
    ngram_s: float = 20 * _US
    #: One all-reduce of a ring (2 (n - 1) / n of the bytes pass each link: nccl-tests, doc/PERFORMANCE.md): its latency, and
    #: the bandwidth of the link between two GPUs, NVLink. Over PCIe, guesses for 16 lanes of its 4th generation (31.5 GB/s).
    collective_s: float = 10 * _US
    link_gb_per_s: float = 250.0
    pcie_collective_s: float = 30 * _US
    pcie_gb_per_s: float = 20.0
    #: By how much longer the GPU takes for kernels of several processes, which it does in turns: of five launches of two
    #: engines on an H200, whose limit was the GPU; and at once, over NVIDIA's multi-process service: of one launch of three
    #: (docs/sizes.md).
    shared: float = 1.3
    shared_at_once: float = 1.0
    #: An API server: a request until it is in the engine, and the turns of the event loop that takes; a token; a chunk sent.
    request_s: float = 0.71e-3
    request_turns: float = 17.0
    token_s: float = 26 * _US
    chunk_s: float = 57 * _US


class Duration(NamedTuple):
    """Of one step: how long the GPU works on it, and how long EngineCore."""

    gpu_s: float
    host_s: float


@dataclass(frozen=True, kw_only=True)
class Steps:
    """The steps of one server. A simulation asks for thousands: what does not change from one to the next is counted once."""

    shape: Shape
    gpu: Gpu
    settings: Settings
    rates: Rates = field(default_factory=Rates)

    @cached_property
    def tokens_a_step(self) -> float:
        """What a sequence that decodes gets in a step on the mean: more than one with speculative decoding, vLLM's mean
        acceptance length. Where nobody gives it, it is a guess."""
        settings = self.settings
        if not settings.speculative_tokens:
            return 1.0
        if settings.speculative_acceptance_length is not None:
            return settings.speculative_acceptance_length
        rate = ACCEPTED_OF_THE_TEXT if settings.speculative_method in OF_THE_TEXT else ACCEPTED_OF_A_MODEL
        return sum(rate**position for position in range(settings.speculative_tokens + 1))

    def decode(self, sequences: int, context_tokens: float) -> Duration:
        """So much of a step as gives `sequences` one token each; they have `context_tokens` in the KV cache altogether."""
        whole, each = self.step(sequences, context_tokens, ()), self.tokens_a_step
        return whole if each == 1 else Duration(whole.gpu_s / each, whole.host_s / each)

    def step(self, sequences: int, context_tokens: float, prefill: Sequence[tuple[int, int]]) -> Duration:
        """A whole one, with prefill: chunks of (tokens, tokens before them). In a pipeline it is a round, in which each
        sequence passes all stages once."""
        settings, rates = self.settings, self.rates
        if settings.pipeline_parallel_size > 1:
            return self._round(sequences, context_tokens, prefill)
        checked = sequences * (1 + settings.speculative_tokens)
        tokens = checked + sum(chunk for chunk, _ in prefill)
        outputs = checked + len(prefill)
        gpu_s = (
            self._multiply_s(tokens, outputs)
            + self._attention_s(context_tokens, prefill)
            + self._layers_s(tokens)
            + self._collectives_s(tokens)
            + self._shared_experts_s(tokens)
            + self._drafts_s(sequences)
            + rates.step_s
            + rates.sequence_s * outputs
        )
        schedule_s = (
            rates.schedule_s
            + rates.schedule_sequence_s * (sequences + len(prefill))
            + rates.admit_s * len(prefill)
            + (rates.ngram_s * sequences if settings.speculative_method == "ngram" else 0.0)
        )
        host_s = rates.host * schedule_s + rates.launch * self._launch_s(tokens, bool(prefill))
        return Duration(gpu_s, rates.worker * host_s if settings.has_worker else host_s)

    def duration_s(self, step: Duration, turns: int = 1) -> float:
        """From one step to the next: with asynchronous scheduling EngineCore prepares one while the GPU works on another. So
        many engines as there are `turns` work on the GPU, each on steps like this."""
        gpu_s = self.on_gpu_s(step, turns)
        if self.settings.async_scheduling or self.settings.pipeline_parallel_size > 1:
            return max(turns * gpu_s, step.host_s)
        return max(turns * gpu_s, gpu_s + step.host_s)

    def on_gpu_s(self, step: Duration, turns: int) -> float:
        """How long the GPU works on it, beside the kernels of other engines or of none."""
        return step.gpu_s * (self.rates.shared if turns > 1 else 1.0)

    def _round(self, sequences: int, context_tokens: float, prefill: Sequence[tuple[int, int]]) -> Duration:
        """vLLM keeps as many batches in flight as there are stages (config/vllm.py, max_concurrent_batches): each of them
        passes one stage after another, and the slowest stage sets the pace. Batches are taken to be alike, so of a prompt each
        has its part."""
        stages = self.settings.pipeline_parallel_size
        batches = max(1, min(stages, sequences + len(prefill)))
        part = (
            -(-sequences // batches),
            context_tokens / batches,
            [(-(-chunk // batches), before) for chunk, before in prefill],
        )
        whole, stage = self._unpiped.step(*part), self._stage.step(*part)
        tokens = part[0] * (1 + self.settings.speculative_tokens) + sum(chunk for chunk, _ in part[2])
        hop_s = self._latency_s + tokens * self.shape.hidden * 2 / self._link
        passed_s = whole.gpu_s + (stages - 1) * hop_s
        return Duration(max(passed_s, batches * (stage.gpu_s + hop_s)), batches * stage.host_s)

    @cached_property
    def _unpiped(self) -> "Steps":
        """All stages on one GPU."""
        return replace(self, settings=replace(self.settings, pipeline_parallel_size=1))

    @cached_property
    def _stage(self) -> "Steps":
        """The stage with the head, as a server of its own."""
        return replace(self._unpiped, shape=of_a_stage(self.shape, self.settings.pipeline_parallel_size))

    def _multiply_s(self, tokens: int, outputs: int) -> float:
        """All matrix multiplications: each step reads the weights once; the head computes for tokens that are sampled only."""
        if not tokens:
            return 0.0
        body_s = self._both_s(
            self._layer_bytes * self._read_experts(tokens * self._sharing) / self._weights_per_s,
            2 * self._body * tokens / self.settings.tensor_parallel_size / self._compute_per_s,
        )
        return (body_s + self._wide_s(self._head, outputs)) / self.rates.kernels

    def _wide_s(self, parameters: float, tokens: int) -> float:
        """A multiplication with so many weights of 16 bits."""
        share = self.settings.tensor_parallel_size
        return self._both_s(
            parameters * 2 / share / self._wide_weights_per_s,
            2 * parameters * tokens / share / self._wide_compute_per_s,
        )

    def _both_s(self, read_s: float, compute_s: float) -> float:
        """Of a multiplication that reads and computes."""
        longer, shorter = (read_s, compute_s) if read_s > compute_s else (compute_s, read_s)
        overlap = self.rates.overlap
        return longer * math.pow(1 + math.pow(shorter / longer, overlap), 1 / overlap)

    def _drafts_s(self, sequences: int) -> float:
        """Drafting by weights: a layer and the head for each draft token (EAGLE, MTP). A draft model's are not known here: the
        same stands for them."""
        drafts, method = self.settings.speculative_tokens, self.settings.speculative_method
        if not drafts or not sequences or method in OF_THE_TEXT:
            return 0.0
        one_s = self._wide_s(self.shape.head_parameters + self.shape.layer_parameters, sequences)
        return drafts * (one_s / self.rates.kernels + self.rates.layer_s)

    def _read_experts(self, tokens: int) -> float:
        """The share of the layers' weights that a step reads: of the experts only those that a token was sent to."""
        experts = self._held.experts
        if experts is None:
            return 1.0
        hit = 1 - (1 - experts.active / experts.count) ** tokens
        return (self._weights - self._expert_weights * (1 - hit)) / self._weights

    def _attention_s(self, context_tokens: float, prefill: Sequence[tuple[int, int]]) -> float:
        of_backend = self.rates.triton_attention if self.settings.attention_backend == "TRITON_ATTN" else 1.0
        found = context_tokens * self._kv_bytes / (self._bandwidth * self.rates.kv_bandwidth)
        for chunk, before in prefill:
            # scores and values: 4 operations for each head, channel, and pair of tokens under the causal mask
            pairs = chunk * before + chunk * (chunk + 1) / 2
            operations = 4 * self.shape.layers * self.shape.heads * self.shape.head_dim * pairs
            tokens = chunk * ((before + chunk) / chunk) ** self.rates.attention_context
            reached = min(0.6, self.rates.attention_compute * (tokens / 1000) ** 0.4)
            found += operations / self.settings.tensor_parallel_size / (self._flops16 * reached)
        return found / (self.rates.kernels * of_backend)

    def _layers_s(self, tokens: int) -> float:
        moved = tokens * self.rates.activations * self.shape.hidden * 2 / self._bandwidth
        return self.shape.layers * (self.rates.layer_s + moved / self.rates.kernels)

    def _launch_s(self, tokens: int, mixed: bool) -> float:
        """What EngineCore takes to start the kernels; a whole graph is nothing, and a part of `schedule_s`. Steps with prompts
        are captured whole in FULL mode alone (config/compilation.py, CUDAGraphMode)."""
        mode, rates = self._mode, self.rates
        layer_s = rates.compiled_fp8_layer_s if self._is_fp8 else rates.compiled_layer_s
        if self.settings.enforce_eager:
            layer_s = rates.eager_fp8_layer_s if self._is_fp8 else rates.eager_layer_s
        elif tokens <= self._largest_graph:
            if mode == "FULL" or (mode in ("FULL_AND_PIECEWISE", "FULL_DECODE_ONLY") and not mixed):
                layer_s = 0.0
            elif mode in ("PIECEWISE", "FULL_AND_PIECEWISE"):
                layer_s = rates.piecewise_layer_s
        return self.shape.layers * layer_s

    def _collectives_s(self, tokens: int) -> float:
        size = self.settings.tensor_parallel_size
        if size == 1:
            return 0.0
        return 2 * self.shape.layers * self._all_reduce_s(size, tokens)

    def _shared_experts_s(self, tokens: int) -> float:
        """Copies that share experts gather the tokens of all of them, and scatter what comes out: an all-reduce's traffic."""
        copies, experts = self._sharing, self.shape.experts
        if copies == 1 or experts is None:
            return 0.0
        return experts.layers * (self._latency_s + self._all_reduce_s(copies, tokens * copies))

    def _all_reduce_s(self, gpus: int, tokens: int) -> float:
        """Of the hidden states of so many tokens."""
        return self._latency_s + 2 * (gpus - 1) / gpus * tokens * self.shape.hidden * 2 / self._link

    @cached_property
    def _latency_s(self) -> float:
        return self.rates.collective_s if self.gpu.capability in WITH_NVLINK else self.rates.pcie_collective_s

    @cached_property
    def _link(self) -> float:
        """Bytes a second between two GPUs."""
        rates = self.rates
        return 1e9 * (rates.link_gb_per_s if self.gpu.capability in WITH_NVLINK else rates.pcie_gb_per_s)

    @cached_property
    def _held(self) -> Shape:
        """What one copy has of the model."""
        return of_a_copy(self.shape, self.settings.data_parallel_size)

    @cached_property
    def _sharing(self) -> int:
        return sharing_copies(self.shape, self.settings)

    @cached_property
    def _head(self) -> int:
        return self.shape.head_parameters

    @cached_property
    def _body(self) -> int:
        """What a token is multiplied with before the head."""
        return self.shape.matmul_parameters - self._head

    @cached_property
    def _weights(self) -> float:
        """Of the layers, and of their experts alone, in what one copy has."""
        return self._held.layer_parameters * self._held.layers

    @cached_property
    def _expert_weights(self) -> int:
        return self._held.expert_parameters

    @cached_property
    def _layer_bytes(self) -> float:
        """Bytes of the layers' weights on one GPU."""
        return self._weights * bytes_per_weight(self.shape, self.settings) / self.settings.tensor_parallel_size

    @cached_property
    def _kv_bytes(self) -> float:
        return kv_bytes_per_token(self.shape, self.settings)

    @cached_property
    def _mode(self) -> str:
        """Of the CUDA graphs, as vLLM's attention can do it: whole steps with prompts FlashAttention 3 and Triton can."""
        settings = self.settings
        can = settings.attention_backend == "TRITON_ATTN" or self.gpu.capability == (9, 0)
        return settings.cudagraph_mode if can or settings.cudagraph_mode != "FULL" else "FULL_AND_PIECEWISE"

    @cached_property
    def _largest_graph(self) -> int:
        return max(capture_sizes(self.settings), default=0)

    @cached_property
    def _kernels(self) -> Kernels:
        capability = self.gpu.capability
        assert capability is not None
        known = [card for card in sorted(KERNELS) if card <= capability]
        return KERNELS[known[-1] if known else min(KERNELS)]

    @cached_property
    def _bandwidth(self) -> float:
        assert self.gpu.bandwidth_gb_per_s is not None
        return self.gpu.bandwidth_gb_per_s * 1e9

    @cached_property
    def _is_fp8(self) -> bool:
        return computes_in_fp8(self.shape, self.settings, self.gpu)

    @cached_property
    def _flops16(self) -> float:
        return self.gpu.tflops["fp16"] * 1e12

    @cached_property
    def _wide_weights_per_s(self) -> float:
        """Bytes of weights of 16 bits that are read in a second, and operations with them."""
        return self._bandwidth * self._kernels.weights16

    @cached_property
    def _wide_compute_per_s(self) -> float:
        return self._flops16 * self._kernels.compute16

    @cached_property
    def _weights_per_s(self) -> float:
        """Bytes of quantized or plain weights that are read in a second."""
        narrow = bytes_per_weight(self.shape, self.settings) < 2
        return self._bandwidth * self._kernels.weights8 if narrow else self._wide_weights_per_s

    @cached_property
    def _compute_per_s(self) -> float:
        """Operations of the layers' multiplications in a second: in 8 bits where card and quantization have it."""
        if self._is_fp8:
            return self.gpu.tflops["fp8"] * 1e12 * self._kernels.compute8
        return self._wide_compute_per_s
