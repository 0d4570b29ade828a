"""How one measurement went, second by second: what a report draws."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline:
    """Series over one load, each as long as `t_s`: seconds since the load began. The measured window is
    [window_begin_s, window_end_s), on the same clock. `output_throughput` is output tokens a second since the sample before;
    `running`, `waiting` and `kv_cache_usage` (0..1) are vLLM's gauges, `gpu_utilization` (0..1) NVML's. `preemptions` are those
    of the sample, `steps_per_s` the engine's steps a second, `server_cores` the cores that the server's processes kept busy,
    and `engine_core_cores` those of EngineCore's. A series that nobody could tell is empty, a sample that is missing None."""

    t_s: tuple[float, ...]
    window_begin_s: float
    window_end_s: float
    output_throughput: tuple[float | None, ...] = ()
    running: tuple[float | None, ...] = ()
    waiting: tuple[float | None, ...] = ()
    kv_cache_usage: tuple[float | None, ...] = ()
    gpu_utilization: tuple[float | None, ...] = ()
    preemptions: tuple[float | None, ...] = ()
    steps_per_s: tuple[float | None, ...] = ()
    server_cores: tuple[float | None, ...] = ()
    engine_core_cores: tuple[float | None, ...] = ()
