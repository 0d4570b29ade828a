"""What a data sheet alone tells: each step reads the weights and the KV cache at full bandwidth, or computes at full speed."""

from cards import card
from points import Point
from score import Predicted

from tuner.predict.shape import Shape

DEFAULT_SEQUENCES, DEFAULT_UTILIZATION = 256, 0.9


def roofline(point: Point, shape: Shape) -> Predicted:
    gpu, known, size = (
        card(point.gpu),
        {**point.params, **point.resolved},
        int(point.params.get("tensor_parallel_size", 1)),
    )
    assert gpu.memory_gib
    assert gpu.bandwidth_gb_per_s
    fp8 = str(known.get("quantization") or shape.checkpoint_quantization).startswith(("fp8", "modelopt"))
    weights = shape.parameters * (1 if fp8 else 2) / size
    per_token = (
        2 * shape.layers * shape.kv_heads * shape.head_dim * (1 if known.get("kv_cache_dtype") == "fp8" else 2) / size
    )
    budget = float(known.get("gpu_memory_utilization", DEFAULT_UTILIZATION)) * gpu.memory_gib * 2**30
    tokens = int((budget - weights) / per_token)
    if tokens <= 0:
        return Predicted(failure="out of memory")
    if point.load is None:
        return Predicted({"kv_cache_tokens": tokens})
    prompt, answer, users = _means(point)
    running = max(1, min(users, int(known.get("max_num_seqs", DEFAULT_SEQUENCES)), int(tokens / (prompt + answer / 2))))
    flops = gpu.tflops["fp8" if fp8 and "fp8" in gpu.tflops else "fp16"] * 1e12 * size
    bandwidth = gpu.bandwidth_gb_per_s * 1e9
    token_s = 2 * shape.matmul_parameters / flops
    decode_s = max(weights / bandwidth, running * token_s) + running * (prompt + answer / 2) * per_token / bandwidth
    tpot_s = decode_s + running / answer * prompt * token_s  # the others' prompts are read in between
    ttft_s = prompt * token_s + (users / running - 1) * answer * tpot_s  # and a turn is waited for
    rate = users / (ttft_s + (answer - 1) * tpot_s)
    found = {"output_throughput": rate * answer, "kv_cache_tokens": tokens}
    latencies = {"ttft": ttft_s, "tpot": tpot_s, "e2el": ttft_s + (answer - 1) * tpot_s}
    return Predicted(found | {f"{name}_{kind}_s": s for name, s in latencies.items() for kind in ("mean", "p50")})


def _means(point: Point) -> tuple[float, float, int]:
    """Mean prompt and answer, and how many are there at once (of a list: all of them)."""
    load = point.load
    assert load
    if load.requests:
        count = len(load.requests)
        return sum(r[1] for r in load.requests) / count, sum(r[2] for r in load.requests) / count, count
    prompt, answer = load.input_tokens, load.output_tokens
    assert prompt
    assert answer
    return (prompt.low + prompt.high) / 2, (answer.low + answer.high) / 2, load.users or 1
