"""A workload in simulated seconds in, the same in real ones out; a measurement in real seconds back in simulated ones. Pure.

For a server whose time runs `speed` times as fast as ours. How long a stall may last stays real: it is about the process, not
about what it simulates.
"""

from collections.abc import Mapping
from dataclasses import replace

from tuner.types import ClientMetrics, Distribution, LoadMetrics, Measured, RateFound, Timeline, Workload


def faster(workload: Workload, speed: float) -> Workload:
    """What users do on their clock, on ours: every time divided by `speed`, every rate times it."""
    trace = workload.trace
    return replace(
        workload,
        think_time_s=workload.think_time_s / speed,
        request_rate=_times(workload.request_rate, speed),
        ramp_up_s=workload.ramp_up_s / speed,
        trace=replace(trace, speedup=trace.speedup * speed) if trace else None,
        warmup_s=workload.warmup_s / speed,
        window_s=workload.window_s / speed,
        max_window_s=_times(workload.max_window_s, 1 / speed),
    )


def slower(measured: Measured, speed: float) -> Measured:
    """What was seen on our clock, on theirs. What the load generator lost of our time counts as theirs: by so much it distorts
    the latencies. What the server itself told is in its seconds already. What the simulation does not have is absent: the
    server's processors, and where its time is faster than real, the gaps between chunks, whose tokens are grouped then."""
    client = measured.client
    return replace(
        measured,
        load=_load(measured.load, speed),
        server_cpu_cores=None,
        cores=None,
        client=_client(client, speed) if client else None,
        warmup_s=_times(measured.warmup_s, speed),
        rate=_rate(measured.rate, speed) if measured.rate else None,
        timeline=_timeline(measured.timeline, speed) if measured.timeline else None,
    )


def _timeline(found: Timeline, speed: float) -> Timeline:
    return replace(
        found,
        t_s=tuple(at_s * speed for at_s in found.t_s),
        window_begin_s=found.window_begin_s * speed,
        window_end_s=found.window_end_s * speed,
        output_throughput=tuple(_times(rate, 1 / speed) for rate in found.output_throughput),
        steps_per_s=tuple(_times(rate, 1 / speed) for rate in found.steps_per_s),
        server_cores=(),
        engine_core_cores=(),
    )


def _rate(found: RateFound, speed: float) -> RateFound:
    tried = (
        replace(
            one,
            request_rate=one.request_rate / speed,
            seen={name: value_s * speed for name, value_s in one.seen.items()},
        )
        for one in found.tried
    )
    return RateFound(low=_times(found.low, 1 / speed), high=_times(found.high, 1 / speed), tried=tuple(tried))


def _load(load: LoadMetrics, speed: float) -> LoadMetrics:
    return replace(
        load,
        window_s=_times(load.window_s, speed),
        request_throughput=_times(load.request_throughput, 1 / speed),
        output_throughput=_times(load.output_throughput, 1 / speed),
        output_throughput_ci95=_times(load.output_throughput_ci95, 1 / speed),
        total_token_throughput=_times(load.total_token_throughput, 1 / speed),
        ttft_s=_distribution(load.ttft_s, speed) if load.ttft_s else None,
        tpot_s=_distribution(load.tpot_s, speed) if load.tpot_s else None,
        itl_s=_distribution(load.itl_s, speed) if load.itl_s and speed <= 1 else None,
        e2el_s=_distribution(load.e2el_s, speed) if load.e2el_s else None,
        goodput=_times(load.goodput, 1 / speed),
        chunk_tokens=load.chunk_tokens if speed <= 1 else None,
        request_rate=_times(load.request_rate, 1 / speed),
        ci95=_intervals(load.ci95, speed) if load.ci95 is not None else None,
    )


def _intervals(found: Mapping[str, tuple[float, float]], speed: float) -> dict[str, tuple[float, float]]:
    factors = {metric: 1 / speed if metric == "goodput" else speed for metric in found}
    return {metric: (low * factors[metric], high * factors[metric]) for metric, (low, high) in found.items()}


def _distribution(found: Distribution, speed: float) -> Distribution:
    return replace(
        found,
        mean=_times(found.mean, speed),
        p50=_times(found.p50, speed),
        p90=_times(found.p90, speed),
        p99=_times(found.p99, speed),
        p95=_times(found.p95, speed),
        std=_times(found.std, speed),
    )


def _client(client: ClientMetrics, speed: float) -> ClientMetrics:
    return replace(
        client,
        delay_mean_s=client.delay_mean_s * speed,
        lag_mean_s=client.lag_mean_s * speed,
        lag_p99_s=client.lag_p99_s * speed,
        send_delay_mean_s=_times(client.send_delay_mean_s, speed),
        send_delay_p99_s=_times(client.send_delay_p99_s, speed),
    )


def _times(value: float | None, factor: float) -> float | None:
    return None if value is None else value * factor
