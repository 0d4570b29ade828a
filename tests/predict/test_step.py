"""The time of a step grows with what is done in it, and agrees with arithmetic on the data sheet where that can be told."""

from dataclasses import replace

import pytest

from predict.shapes import H200, SMALL, T4
from tuner.predict.settings import Settings, resolve
from tuner.predict.shape import Shape
from tuner.predict.step import Duration, Rates, Steps
from tuner.space.files import load_space, shipped_spaces
from tuner.space.search_space import Gpu
from tuner.types import Failed, Params, Value

L40S = Gpu(
    names=("NVIDIA L40S",),
    memory_gib=45.0,
    compute_capability="8.9",
    bandwidth_gb_per_s=864.0,
    tflops={"fp16": 362.0, "fp8": 733.0},
)


def steps(
    gpu: Gpu = H200, shape: Shape = SMALL, rates: Rates | None = None, also: Params | None = None, **params: Value
) -> Steps:
    settings = resolve({"max_model_len": 4096, **params, **(also or {})}, shape, gpu)
    assert not isinstance(settings, Failed)
    return Steps(shape=shape, gpu=gpu, settings=settings, rates=rates or Rates())


def test_decoding_one_sequence_reads_every_weight_once() -> None:
    """1.78 billion parameters less the embedding, 16 bits, at 0.74 x 0.89 of 4.8 TB/s: 1.0 ms, and overheads alike."""
    found = steps().decode(1, 100)
    read_s = SMALL.matmul_parameters * 2 / (4.8e12 * 0.74 * 0.89)
    assert read_s < found.gpu_s < 2 * read_s


def test_a_long_prompt_computes() -> None:
    """8,192 tokens through 1.54 billion parameters at 80 % of 989 TFLOP/s; the head works on one of them only."""
    body = SMALL.matmul_parameters - SMALL.head_parameters
    compute_s = 2 * body * 8192 / (989e12 * 0.80)
    found = steps().step(0, 0, [(8192, 0)])
    assert compute_s < found.gpu_s < 2 * compute_s


@pytest.mark.parametrize("gpu", [T4, H200, L40S])
def test_more_work_takes_more_time(gpu: Gpu) -> None:
    known = steps(gpu)
    for less, more in (
        (known.decode(1, 100), known.decode(1, 100_000)),
        (known.decode(8, 1000), known.decode(200, 25_000)),
        (known.decode(8, 1000), known.step(8, 1000, [(256, 0)])),
        (known.step(8, 1000, [(256, 0)]), known.step(8, 1000, [(256, 2000)])),
        (known.step(8, 1000, [(256, 0)]), known.step(8, 1000, [(1024, 0)])),
    ):
        assert less.gpu_s < more.gpu_s
        assert known.duration_s(less) <= known.duration_s(more)


@pytest.mark.parametrize("name", sorted(set(shipped_spaces()) - {"cpu"}))
def test_every_shipped_card_is_known(name: str) -> None:
    found = steps(load_space(name).gpu).decode(32, 10_000)
    assert 1e-4 < found.gpu_s < 0.1
    assert found.host_s > 0


def test_a_slower_card_is_slower() -> None:
    assert steps(T4).decode(16, 5000).gpu_s > 5 * steps(H200).decode(16, 5000).gpu_s


def test_eager_mode_costs_the_host_and_graphs_do_not() -> None:
    eager, graphs = steps(enforce_eager=True).decode(4, 1000), steps().decode(4, 1000)
    assert eager.host_s > 4 * graphs.host_s
    assert eager.gpu_s == graphs.gpu_s


def test_a_batch_beyond_the_largest_graph_is_launched_in_pieces() -> None:
    small, large = (steps(max_num_seqs=8).step(n, 1000, ()) for n in (8, 20))  # graphs up to 16 tokens
    assert large.host_s > small.host_s + 0.005


def test_fp8_halves_what_is_read_and_computes_in_8_bits_where_the_card_can() -> None:
    assert steps(quantization="fp8_per_tensor").decode(1, 0).gpu_s < steps().decode(1, 0).gpu_s
    prompt = [(8192, 0)]
    assert steps(quantization="fp8_per_tensor").step(0, 0, prompt).gpu_s < 0.85 * steps().step(0, 0, prompt).gpu_s
    narrow, wide = steps(T4, quantization="fp8_per_tensor").step(0, 0, prompt), steps(T4).step(0, 0, prompt)
    assert narrow.gpu_s == pytest.approx(wide.gpu_s, rel=0.01)  # a T4 has no arithmetic in 8-bit floats


def test_two_gpus_share_the_weights_and_pay_for_talking() -> None:
    large = replace(SMALL, hidden=8192, intermediate=28672, heads=64, kv_heads=8, layers=80)
    one, two = steps(shape=large).decode(8, 10_000), steps(shape=large, tensor_parallel_size=2).decode(8, 10_000)
    assert one.gpu_s / 2 < two.gpu_s < one.gpu_s


def test_without_asynchronous_scheduling_host_and_gpu_wait_for_each_other() -> None:
    known = steps()
    alone = replace(known, settings=replace(known.settings, async_scheduling=False))
    step = Duration(0.004, 0.003)
    assert known.duration_s(step) == 0.004
    assert alone.duration_s(step) == 0.007


@pytest.mark.parametrize(("factor", "field"), [("kernels", "gpu_s"), ("host", "host_s")])
def test_a_factor_scales_its_kind_of_work(factor: str, field: str) -> None:
    plain, scaled = steps().decode(16, 5000), steps(rates=replace(Rates(), **{factor: 2.0})).decode(16, 5000)
    other = {"gpu_s": "host_s", "host_s": "gpu_s"}[field]
    assert getattr(scaled, field) != pytest.approx(getattr(plain, field), rel=0.2)
    assert getattr(scaled, other) == getattr(plain, other)


def test_settings_of_defaults_are_vllm_s() -> None:
    settings: Settings = steps().settings
    assert (settings.max_num_seqs, settings.max_num_batched_tokens) == (1024, 8192)


MODE, LARGEST = "compilation_config.cudagraph_mode", "max_cudagraph_capture_size"


@pytest.mark.parametrize(
    ("mode", "decode", "mixed"),
    [
        ("FULL_AND_PIECEWISE", "whole", "pieces"),
        ("FULL", "whole", "whole"),
        ("FULL_DECODE_ONLY", "whole", "compiled"),
        ("PIECEWISE", "pieces", "pieces"),
        ("NONE", "compiled", "compiled"),
    ],
)
def test_a_mode_says_which_steps_are_captured_and_how(mode: str, decode: str, mixed: str) -> None:
    found = steps(also={MODE: mode, LARGEST: 1024})
    rates = Rates()
    cost_s = {"whole": 0.0, "pieces": rates.piecewise_layer_s, "compiled": rates.compiled_layer_s}
    for step, how, prefilled in ((found.decode(32, 1000), decode, 0), (found.step(32, 1000, [(256, 0)]), mixed, 1)):
        scheduled_s = rates.schedule_s + rates.schedule_sequence_s * (32 + prefilled) + rates.admit_s * prefilled
        assert step.host_s == pytest.approx(scheduled_s + SMALL.layers * cost_s[how])


def test_full_graphs_need_attention_that_can() -> None:
    """FlashAttention 2 cannot, so vLLM falls back; Triton can."""
    l40s, triton = (
        steps(L40S, also={MODE: "FULL"}),
        steps(L40S, also={MODE: "FULL", "attention_backend": "TRITON_ATTN"}),
    )
    fallen = steps(L40S)
    assert l40s.step(8, 800, [(64, 0)]).host_s == fallen.step(8, 800, [(64, 0)]).host_s
    assert triton.step(8, 800, [(64, 0)]).host_s < fallen.step(8, 800, [(64, 0)]).host_s


def test_reading_and_computing_overlap_in_part() -> None:
    """At the ridge, where both take as long, a multiplication takes longer than either and not longer than both."""
    whole, apart = steps(rates=Rates(overlap=50.0)), steps(rates=Rates(overlap=1.0))
    for tokens in (1, 200, 8192):
        longest, summed = (found.step(tokens, 0, ()).gpu_s for found in (whole, apart))
        assert longest <= steps().step(tokens, 0, ()).gpu_s <= summed
    assert apart.step(200, 0, ()).gpu_s > 1.2 * whole.step(200, 0, ()).gpu_s


def test_small_chunks_of_a_long_prompt_take_longer() -> None:
    """25,000 tokens in chunks of 512 and of 8,192: attention is less efficient in small ones, wherever they are."""

    def prompt_s(chunk: int) -> float:
        found = steps(max_model_len=32768)
        return sum(found.step(0, 0, [(min(chunk, 25_000 - at), at)]).gpu_s for at in range(0, 25_000, chunk))

    assert prompt_s(512) > prompt_s(2048) > prompt_s(8192)
    assert prompt_s(512) > 1.15 * prompt_s(8192)


def test_triton_attention_is_slower() -> None:
    triton = steps(attention_backend="TRITON_ATTN")
    assert triton.decode(64, 200_000).gpu_s > steps().decode(64, 200_000).gpu_s


@pytest.mark.parametrize("method", ["ngram", "eagle"])
def test_speculation_pays_for_few_sequences_and_not_for_many(method: str) -> None:
    """Time of a token: reading the weights once serves several, but computing the drafts that are refused is for nothing."""
    drafts: Params = {
        "speculative_config.method": method,
        "speculative_config.num_speculative_tokens": 4,
        "speculative_config.synthetic_acceptance_length": 2.0,
    }
    large = replace(SMALL, layers=SMALL.layers * 2)
    drafting, plain = steps(shape=large, max_num_seqs=1024, also=drafts), steps(shape=large, max_num_seqs=1024)
    assert drafting.decode(2, 400).gpu_s < 0.8 * plain.decode(2, 400).gpu_s
    assert drafting.decode(800, 400_000).gpu_s > plain.decode(800, 400_000).gpu_s
    assert drafting.tokens_a_step == 2.0


def test_without_a_measured_acceptance_it_is_a_guess_between_none_and_all() -> None:
    few, many = (
        steps(also={"speculative_config.method": method, "speculative_config.num_speculative_tokens": 3}).tokens_a_step
        for method in ("ngram", "eagle")
    )
    assert 1 < few < many < 4
