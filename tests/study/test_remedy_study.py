"""A whole study that opens a group for what its diagnosis says, tries the remedy by itself, and says what it brought."""

from pathlib import Path

import commands
from replay_samples import metrics, written

SPACE = """
gpu: {names: [Tesla T4], memory_gib: 14.6, compute_capability: "8.9", bandwidth_gb_per_s: 320, tflops: {fp16: 65}}
fixed: {dtype: half}
groups:
  batch: {about: sequences of a step, worth: always}
  cache: {about: what the KV cache is made of, worth: a full one, open: false}
  front: {about: messages, worth: a busy API server, open: false}
parameters:
  max_num_seqs: {group: batch, type: categorical, choices: [64, 128, 256, 512]}
  enable_chunked_prefill: {group: batch, type: categorical, choices: [true, false]}
  kv_cache_dtype: {group: cache, type: categorical, choices: [auto, fp8]}
  stream_interval: {group: front, type: categorical, choices: [1, 16]}
"""


def test_the_remedy_is_tried_alone_and_judged(tmp_path: Path) -> None:
    """An fp8 KV cache brings a quarter, and nothing else does."""
    (tmp_path / "space.yaml").write_text(SPACE)
    lines = []
    for seqs in (64, 128, 256, 512):
        for chunked in (True, False):
            for cache in ("auto", "fp8"):
                full = {"server_preemptions": 9.0, "server_kv_cache_usage_max": 0.99}
                room = {"server_preemptions": 0.0, "server_kv_cache_usage_max": 0.6}
                served = 100.0 + seqs / 100 + chunked + (25.0 if cache == "fp8" else 0.0)
                point = {"max_num_seqs": seqs, "enable_chunked_prefill": chunked, "kv_cache_dtype": cache}
                numbers = {**metrics(output_throughput=served), **(full if cache == "auto" else room)}
                is_default = (seqs, chunked, cache) == (256, True, "auto")
                lines.append({"params": {**point, "stream_interval": 1}, "metrics": numbers, "is_default": is_default})
    surface = written(tmp_path, {"surface": {"answer": "nearest"}}, *lines)
    done = commands.tuner(
        tmp_path,
        *("optimize", "--engine", "replay", "--surface", str(surface), "--space", "space.yaml", "--study", "s"),
        *("--trials", "9", "--verify", "0", "--stop", "never", "--groups", "all"),
    )
    assert done.returncode == 0, done.stderr
    said = " ".join(done.stderr.split())
    assert "cache (what the KV cache is made of) is searched from here on; what holds trial" in said
    assert "KV-cache bound: 99% of the KV cache was taken; 9 preemptions for" in said
    assert "set kv_cache_dtype to fp8 (twice the tokens in the same memory) is tried first" in said
    assert "(kv_cache_dtype fp8) brought +2" in said
    assert "it is no longer KV-cache bound" in said
    shown = commands.tuner(tmp_path, "show", "s")
    assert "What holds the defaults back: KV-cache bound: 99% of the KV cache was taken" in " ".join(
        shown.stdout.split()
    )
