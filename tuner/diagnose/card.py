"""A card's data sheet in; the thresholds of docs/diagnosis.md that depend on it out. Pure."""

from collections.abc import Mapping

from tuner.space.gpus import Gpu

#: Of the sequences from which on a step computes longer than it reads, those that are few; never fewer than two.
_OF_THE_RIDGE, _LEAST = 0.03, 2.0
_BYTES, _OPERATIONS = 2, 2  # of a 16-bit weight, and with it for each sequence


def card_thresholds(gpu: Gpu) -> Mapping[str, float]:
    """FEW: a decoding step reads each weight once and computes twice with it for each sequence, so that both take as long at
    (peak 16-bit arithmetic x bytes / operations) / bandwidth sequences. Empty where the data sheet is not known."""
    tflops = gpu.tflops.get("bf16") or gpu.tflops.get("fp16")
    if not tflops or not gpu.bandwidth_gb_per_s:
        return {}
    ridge = tflops * 1e12 * _BYTES / _OPERATIONS / (gpu.bandwidth_gb_per_s * 1e9)
    return {"FEW": max(_LEAST, _OF_THE_RIDGE * ridge)}
