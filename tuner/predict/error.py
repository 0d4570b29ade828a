"""How far the predictions were off where they were compared with measurements: one record, which benchmarks/predict fills.

Shares: 0.08 is 8 %. None means that it has not been measured. It knows no prediction.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelError:
    """Of settings that had no part in any constant.

    Throughput, latencies and the KV cache's tokens: the median of |predicted / measured - 1|, and of throughput the 90th
    percentile, too. `gain` is the median of |predicted - measured| for the relative gain in throughput from one setting to
    another under the same load; `starts` the share of launches of which it was told right whether they start;
    `rank_correlation` Spearman's over launch settings. `gpus` are the cards that were measured, by NVML's names, and `launches`
    how many launches there were.
    """

    output_throughput: float | None = None
    output_throughput_p90: float | None = None
    ttft: float | None = None
    tpot: float | None = None
    e2el: float | None = None
    kv_cache_tokens: float | None = None
    starts: float | None = None
    rank_correlation: float | None = None
    gain: float | None = None
    gpus: tuple[str, ...] = ()
    launches: int | None = None


#: Without calibration, of our own held-out loads (benchmarks/data: h200.jsonl and surfaces/, vLLM 0.25.1, dense models of 1.5
#: to 8 billion parameters, and a host that no constant has seen; `make bench-predict`). The error of a gain is left out:
#: gains of up to 230 % are among them.
ERROR = ModelError(
    output_throughput=0.128,
    output_throughput_p90=0.325,
    ttft=0.221,
    tpot=0.175,
    e2el=0.139,
    kv_cache_tokens=0.0,
    starts=1.0,
    rank_correlation=0.743,
    gpus=("NVIDIA H100 80GB HBM3", "NVIDIA H200"),
    launches=30,
)
