"""One measurement, the settings it was made with and what the users did, in; the numbers that the rules read, out. Pure.

It does not know the rules. What is not known is None, and stays so in what is made of it.
"""

from dataclasses import dataclass

from tuner.types import Measured, Params, Workload


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What docs/diagnosis.md's conditions are about: each a number or None. Shares are 0..1, `cores` mean busy cores (1.0: one
    full), times seconds; what is true or false is 1.0 or 0.0."""

    # What is asked of the server
    users: float | None = None  # of a closed loop without pauses
    request_rate_per_s: float | None = None  # of an open loop
    # Its scheduler, by vLLM's gauges and counters
    running_mean: float | None = None
    running_max: float | None = None
    waiting_mean: float | None = None
    waiting_max: float | None = None
    waiting_capacity_mean: float | None = None
    waiting_deferred_mean: float | None = None
    kv_cache_usage_mean: float | None = None
    kv_cache_usage_max: float | None = None
    preemptions: float | None = None
    steps_per_s: float | None = None
    step_tokens_mean: float | None = None
    # Where a request's time goes, by vLLM and by the client
    queue_time_mean_s: float | None = None
    prefill_time_mean_s: float | None = None
    decode_time_mean_s: float | None = None
    inference_time_mean_s: float | None = None
    server_itl_mean_s: float | None = None
    tpot_mean_s: float | None = None
    ttft_mean_s: float | None = None
    # The GPU
    gpu_utilization: float | None = None
    sm_activity: float | None = None
    tensor_activity: float | None = None
    dram_activity: float | None = None
    throttled: float | None = None
    # The processors
    server_cores: float | None = None
    engine_core_cores: float | None = None
    api_server_cores_max: float | None = None
    api_servers: float | None = None
    worker_cores_max: float | None = None
    host_cores: float | None = None
    host_busy: float | None = None
    # The load generator
    client_marked: float | None = None  # 1.0: its own checks say that it was the limit
    client_cpu: float | None = None
    # Settings, as the server resolved them
    max_num_seqs: float | None = None
    max_num_batched_tokens: float | None = None
    max_cudagraph_capture_size: float | None = None
    eager: float | None = None
    full_graphs: float | None = None  # 1.0: cudagraph_mode FULL, for steps with prompts, too
    stream_interval: float | None = None
    prefix_caching: float | None = None
    speculating: float | None = None
    # Speculation and the prefix cache
    acceptance_rate: float | None = None
    prefix_hit_share: float | None = None
    shared_prompt_share: float | None = None  # of the prompts' tokens, those that the workload makes begin alike


def evidence_of(measured: Measured, settings: Params, workload: Workload | None = None) -> Evidence:
    """`settings` are those that the server resolved, as far as they are known."""
    raise NotImplementedError
