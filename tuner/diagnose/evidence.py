"""One measurement, the settings it was made with and what the users did, in; the numbers that the rules read, out. Pure.

It does not know the rules. What is not known is None, and stays so in what is made of it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from statistics import fmean

from tuner.space.engines import ENGINES, engines_behind
from tuner.space.speculation import METHOD, config_of, tokens_of
from tuner.types import POWER_CAP, Cores, GpuMetrics, LoadMetrics, Mark, Measured, Params, ServerMetrics, Workload


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What docs/diagnosis.md's conditions are about: each a number or None. Shares are 0..1, `cores` mean busy cores (1.0: one
    full), times seconds; what is true or false is 1.0 or 0.0. The properties are made of the fields."""

    # What is asked of the server, and what came of it
    users: float | None = None  # of a closed loop without pauses
    request_rate_per_s: float | None = None  # that an open loop asked for
    requests_per_s: float | None = None  # that were answered
    completed: float | None = None
    prompt_token_share: float | None = None  # of all tokens that went through, those of prompts
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
    e2el_mean_s: float | None = None
    # The GPU
    gpu_utilization: float | None = None
    sm_activity: float | None = None
    tensor_activity: float | None = None
    dram_activity: float | None = None
    sm_clock_hz: float | None = None
    sm_clock_max_hz: float | None = None  # the fastest that the card can be set to
    power_capped: float | None = None  # 1.0: its power limit held the clock down at times
    throttled: float | None = None  # share of the samples
    # The processors
    server_cores: float | None = None
    engine_core_cores: float | None = None
    api_server_cores_max: float | None = None
    api_servers: float | None = None
    worker_cores_max: float | None = None
    host_cores: float | None = None
    host_busy: float | None = None
    on_processor: float | None = None  # 1.0: the model runs on the processor, 0.0: on a GPU
    # The load generator
    client_marked: float | None = None  # 1.0: its own checks say that it was the limit
    client_cpu: float | None = None  # the busiest worker's share of a core
    client_cores: float | None = None  # at most
    # Settings, as the server resolved them
    max_num_seqs: float | None = None
    max_num_batched_tokens: float | None = None
    max_cudagraph_capture_size: float | None = None
    eager: float | None = None
    full_graphs: float | None = None  # 1.0: cudagraph_mode FULL, which also serves steps with prompts
    prefix_caching: float | None = None
    speculating: float | None = None
    draft_tokens: float | None = None  # at most, of a sequence in a step
    processes: float | None = None  # EngineCore, the API servers and the workers that have one of their own
    # Speculation and the prefix cache
    acceptance_rate: float | None = None
    shared_prompt_share: float | None = None  # of the prompts' tokens, those that the workload makes begin alike

    @property
    def inside_share(self) -> float | None:
        """Of the users, those whose requests EngineCore has; the others' are on their way in or out."""
        return _made(
            lambda here, queued, users: (here + queued) / users, self.running_mean, self.waiting_mean, self.users
        )

    @property
    def underway_share(self) -> float | None:
        """Of the users, those who wait for an answer on the mean: the rest have sent nothing (Little's law)."""
        return _made(
            lambda rate, time_s, users: rate * time_s / users, self.requests_per_s, self.e2el_mean_s, self.users
        )

    @property
    def waiting_share(self) -> float | None:
        """Of the requests that EngineCore has, those that wait."""
        return _made(lambda here, queued: queued / (here + queued), self.running_mean, self.waiting_mean)

    @property
    def queue_mean(self) -> float | None:
        """Requests that wait for room; not those that wait for something else (a KV cache from elsewhere, a grammar)."""
        return _made(
            lambda queued, deferred: max(0.0, queued - deferred), self.waiting_mean, self.waiting_deferred_mean or 0.0
        )

    @property
    def queue_share(self) -> float | None:
        """Of the requests that EngineCore has, those that wait for room."""
        return _made(lambda here, queued: queued / (here + queued), self.running_mean, self.queue_mean)

    @property
    def accepted_drafts(self) -> float | None:
        """Drafted tokens that are accepted in a step of a sequence, each a step that it saves."""
        return _made(lambda rate, drafts: rate * drafts, self.acceptance_rate, self.draft_tokens)

    @property
    def running_share(self) -> float | None:
        """Of the users, those whose requests run."""
        return _made(lambda here, users: here / users, self.running_mean, self.users)

    @property
    def batch_fill(self) -> float | None:
        return _made(lambda here, most: here / most, self.running_mean, self.max_num_seqs)

    @property
    def batch_fill_max(self) -> float | None:
        return _made(lambda here, most: here / most, self.running_max, self.max_num_seqs)

    @property
    def users_per_seq(self) -> float | None:
        """Users for each sequence that max_num_seqs allows."""
        return _made(lambda users, most: users / most, self.users, self.max_num_seqs)

    @property
    def budget_fill(self) -> float | None:
        """Of max_num_batched_tokens, what a step has."""
        return _made(lambda tokens, most: tokens / most, self.step_tokens_mean, self.max_num_batched_tokens)

    @property
    def graph_fill(self) -> float | None:
        """A step's tokens for each token of the largest CUDA graph: beyond 1 it runs without one."""
        return _made(lambda tokens, most: tokens / most, self.step_tokens_mean, self.max_cudagraph_capture_size)

    @property
    def step_prompt_share(self) -> float | None:
        """Of a step's tokens, those of prompts, where each running sequence has one token of the others and its drafts."""
        return _made(
            lambda tokens, here, drafts: max(0.0, 1 - here * (1 + drafts) / tokens),
            self.step_tokens_mean,
            self.running_mean,
            self.draft_tokens if self.speculating else 0.0,
        )

    @property
    def clock_share(self) -> float | None:
        """Of the fastest clock of the card's multiprocessors, that which they had."""
        return _made(lambda here, most: here / most, self.sm_clock_hz, self.sm_clock_max_hz)

    @property
    def preempted_share(self) -> float | None:
        return _made(lambda times, requests: times / requests, self.preemptions, self.completed)

    @property
    def prefill_share(self) -> float | None:
        """Of the time that EngineCore works on a request, that until its first token."""
        return _made(lambda part, whole: part / whole, self.prefill_time_mean_s, self.inference_time_mean_s)

    @property
    def ttft_share(self) -> float | None:
        """Of the time that a request takes, that until its first token, as the client sees it."""
        return _made(lambda part, whole: part / whole, self.ttft_mean_s, self.e2el_mean_s)

    @property
    def served_share(self) -> float | None:
        """Of the requests that an open loop asked for, those that were answered meanwhile."""
        return _made(lambda done, asked: done / asked, self.requests_per_s, self.request_rate_per_s)

    @property
    def outside_share(self) -> float | None:
        """Of the time that a token takes, what vLLM does not see: it is spent behind EngineCore."""
        return _made(lambda inner, outer: max(0.0, 1 - inner / outer), self.server_itl_mean_s, self.tpot_mean_s)

    @property
    def utilization_alone(self) -> float | None:
        """The GPU's utilization, where the card does not tell its SM activity, which says more."""
        return self.gpu_utilization if self.sm_activity is None else None

    @property
    def process_cores(self) -> float | None:
        """Busy cores for each process of the server: 1.0 means that each fills one."""
        return _made(lambda cores, count: cores / count, self.server_cores, self.processes)

    @property
    def engine_side_cores(self) -> float | None:
        """Of EngineCore's process, or of a worker of it that keeps more busy."""
        known = [cores for cores in (self.engine_core_cores, self.worker_cores_max) if cores is not None]
        return max(known, default=None)

    @property
    def server_share(self) -> float | None:
        """Of this machine's cores, those that the server keeps busy."""
        return _made(lambda cores, lent: cores / lent, self.server_cores, self.host_cores)

    @property
    def neighbour_share(self) -> float | None:
        """Of this machine's cores, those that neither the server nor the load generator keeps busy, and yet are."""
        return _made(
            lambda busy, lent, server, client: max(0.0, busy - (server + client) / lent),
            *(self.host_busy, self.host_cores, self.server_cores, self.client_cores or 0.0),
        )


def evidence_of(
    measured: Measured, settings: Params, workload: Workload | None = None, *, are_all: bool = True
) -> Evidence:
    """`settings` are those that the server resolved, as far as they are known; with `are_all` what is none of them is as vLLM
    has it. Without the workload it is not known what was asked of the server. Where vLLM does not tell a step's tokens, they
    are those that went through in the time of an output token, for every running sequence gets one in a step."""
    load, client = measured.load, measured.client
    server, gpu = measured.server or ServerMetrics(), measured.gpu or GpuMetrics(gpus=())
    cores = measured.cores or Cores()
    closed = workload is not None and workload.users is not None and not workload.think_time_s
    speculating = _speculating(settings, server, are_all=are_all)
    tokens = server.step_tokens_mean
    if tokens is None and not speculating:
        tokens = _made(lambda rate, each_s: rate * each_s, load.total_token_throughput, _mean(load, "tpot_s"))
    servers = cores.api_servers or _number(settings, "api_server_count")
    return Evidence(
        users=float(workload.users) if workload is not None and workload.users and closed else None,
        request_rate_per_s=load.request_rate,
        requests_per_s=load.request_throughput,
        completed=load.completed,
        prompt_token_share=_made(
            lambda out, both: max(0.0, 1 - out / both), load.output_throughput, load.total_token_throughput
        ),
        running_mean=server.running_mean,
        running_max=server.running_max,
        waiting_mean=server.waiting_mean,
        waiting_max=server.waiting_max,
        waiting_capacity_mean=server.waiting_capacity_mean,
        waiting_deferred_mean=server.waiting_deferred_mean,
        kv_cache_usage_mean=server.kv_cache_usage_mean,
        kv_cache_usage_max=server.kv_cache_usage_max,
        preemptions=server.preemptions,
        steps_per_s=_made(lambda steps, window_s: steps / window_s, server.steps, load.window_s),
        step_tokens_mean=tokens,
        queue_time_mean_s=server.queue_time_mean_s,
        prefill_time_mean_s=server.prefill_time_mean_s,
        decode_time_mean_s=server.decode_time_mean_s,
        inference_time_mean_s=server.inference_time_mean_s,
        server_itl_mean_s=server.itl_mean_s,
        tpot_mean_s=_mean(load, "tpot_s"),
        ttft_mean_s=_mean(load, "ttft_s"),
        e2el_mean_s=_mean(load, "e2el_s"),
        gpu_utilization=gpu.utilization,
        sm_activity=gpu.sm_activity,
        tensor_activity=gpu.tensor_activity,
        dram_activity=gpu.dram_activity,
        sm_clock_hz=gpu.sm_clock_hz,
        sm_clock_max_hz=gpu.sm_clock_max_hz,
        power_capped=None if gpu.throttled is None else _truth(POWER_CAP in gpu.throttle_reasons),
        throttled=gpu.throttled,
        server_cores=measured.server_cpu_cores,
        engine_core_cores=cores.engine_core,
        api_server_cores_max=cores.api_server_max,
        api_servers=servers,
        worker_cores_max=cores.worker_max,
        host_cores=cores.host_cores,
        host_busy=cores.host_busy,
        on_processor=_on_processor(measured, settings),
        client_marked=_truth(Mark.CLIENT_BOUND in measured.marks) if client or measured.marks else None,
        client_cpu=client.cpu if client else None,
        client_cores=client.cpu * client.workers if client else None,
        max_num_seqs=_made(lambda most, copies: most * copies, _number(settings, "max_num_seqs"), _copies(settings)),
        max_num_batched_tokens=_number(settings, "max_num_batched_tokens"),
        max_cudagraph_capture_size=_number(settings, "max_cudagraph_capture_size"),
        eager=_number(settings, "enforce_eager"),
        full_graphs=_full_graphs(settings),
        prefix_caching=_number(settings, "enable_prefix_caching"),
        speculating=speculating,
        draft_tokens=_made(float, tokens_of(config_of(settings))),
        processes=_processes(settings, servers),
        acceptance_rate=server.acceptance_rate,
        shared_prompt_share=_shared(workload) if workload else None,
    )


def _made(made: Callable[..., float], *of: float | None) -> float | None:
    """None where one of them is not known, and where it would be divided by nothing."""
    try:
        return None if None in of else made(*of)
    except ZeroDivisionError:
        return None


def _mean(load: LoadMetrics, name: str) -> float | None:
    found = {"tpot_s": load.tpot_s, "ttft_s": load.ttft_s, "e2el_s": load.e2el_s}[name]
    return found.mean if found else None


def _number(settings: Params, name: str) -> float | None:
    """Of a setting that is a number or a truth; None for what is unset or a word."""
    value = settings.get(name)
    return float(value) if isinstance(value, int | float) else None


def _speculating(settings: Params, server: ServerMetrics, *, are_all: bool) -> float | None:
    """Who drafts is seen to, whatever is known of its settings."""
    if config_of(settings) or server.acceptance_rate is not None:
        return 1.0
    return 0.0 if settings and (are_all or METHOD in settings) else None


def _copies(settings: Params) -> float:
    """Engines behind one port, each with so many sequences."""
    return engines_behind(settings) * (_number(settings, ENGINES) or 1.0)


def _truth(told: bool) -> float:
    return 1.0 if told else 0.0


def _full_graphs(settings: Params) -> float | None:
    mode = settings.get("compilation_config.cudagraph_mode")
    return None if mode is None else _truth(str(mode).upper() == "FULL")


def _processes(settings: Params, servers: float | None) -> float | None:
    """A worker is a process of its own where an engine has several GPUs."""
    ranks = (_number(settings, "tensor_parallel_size") or 1.0) * (_number(settings, "pipeline_parallel_size") or 1.0)
    each = 1.0 + (ranks if ranks > 1 else 0.0)
    return None if servers is None else servers + _copies(settings) * each


def _on_processor(measured: Measured, settings: Params) -> float | None:
    """A server whose processes are seen runs on this machine, and the driver of a GPU would tell of it."""
    if measured.gpu is not None:
        return 0.0
    return 1.0 if measured.cores is not None or "CPU_ATTN" in str(settings.get("attention_backend")) else None


def _shared(workload: Workload) -> float | None:
    """Of the prompts' tokens, those that were there before: of conversations whose turns are alike in length, all but the last
    turn's; of a shared prefix, its tokens, to the mean of the lengths' ends."""
    if workload.turns is not None:
        turns = fmean((workload.turns.low, workload.turns.high))
        return (turns - 1) / (turns + 1)
    if workload.dataset is not None or workload.trace is not None:
        return None
    prefix = workload.shared_prefix.tokens if workload.shared_prefix else 0
    return min(1.0, prefix / max(1.0, fmean((workload.input_tokens.low, workload.input_tokens.high))))
