"""The classifier on logs that vLLM 0.32 really wrote (logs/, CPU), and on CUDA texts from its source."""

from pathlib import Path

import pytest

from tuner.launch.failures import TAIL_LINES, classify, refusal
from tuner.types import FailureKind as Kind

LOGS = Path(__file__).with_name("logs")
RECORDED = {
    "unknown-argument": (2, Kind.REJECTED, "unrecognized arguments: --no-such-flag"),
    "invalid-choice": (2, Kind.REJECTED, "argument --kv-cache-dtype: invalid choice: 'int3'"),
    "tokens-below-seqs": (
        1,
        Kind.REJECTED,
        "max_num_batched_tokens (64) must be greater than or equal to max_num_seqs",
    ),
    "model-len-too-long": (1, Kind.REJECTED, "User-specified max_model_len (999999) is greater than"),
    "model-not-found": (1, Kind.MODEL_NOT_FOUND, "HFValidationError: Repo id must be in the form"),
    "awq-without-checkpoint": (1, Kind.UNSUPPORTED_QUANTIZATION, "Cannot find the config file for awq"),
    "fp8-on-cpu": (1, Kind.UNSUPPORTED_QUANTIZATION, "static_scaled_fp8_quant()"),
    "kv-too-small": (1, Kind.KV_CACHE_TOO_SMALL, "To serve at least one request with the model's max seq len (4096)"),
    "cpu-memory-utilization": (1, Kind.OUT_OF_MEMORY, "is less than desired CPU memory utilization"),
    "port-in-use": (1, Kind.PORT_IN_USE, "Address already in use"),
}


def test_every_recorded_log_is_tested() -> None:
    assert {path.stem for path in LOGS.glob("*.log")} == set(RECORDED)


@pytest.mark.parametrize("name", RECORDED)
def test_recorded_logs(name: str) -> None:
    exit_code, kind, cause = RECORDED[name]
    found = classify((LOGS / f"{name}.log").read_text(), exit_code)
    assert found.kind is kind
    assert cause in found.message
    assert "\n" not in found.message
    assert 0 < len(found.log_tail.splitlines()) <= TAIL_LINES


CUDA = {
    "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.": Kind.OUT_OF_MEMORY,
    "RuntimeError: CUDA out of memory occurred when warming up sampler with 1024 dummy requests.": Kind.OUT_OF_MEMORY,
    "ValueError: Free memory on device cuda:0 (3.1/14.6 GiB) on startup is less than desired GPU memory utilization": (
        Kind.OUT_OF_MEMORY
    ),
    "AssertionError: Error in memory profiling. Initial free memory 1, current free memory 2.": Kind.OUT_OF_MEMORY,
    "ValueError: No available memory for the cache blocks. Try increasing `gpu_memory_utilization`": Kind.KV_CACHE_TOO_SMALL,
    "ValueError: Cannot auto-fit max_model_len: not enough GPU memory available to serve even a single token.": (
        Kind.KV_CACHE_TOO_SMALL
    ),
    "ValueError: The quantization method fp8 is not supported for the current GPU. Minimum capability: 75.": (
        Kind.UNSUPPORTED_QUANTIZATION
    ),
    "ValueError: Bfloat16 is only supported on GPUs with compute capability of at least 8.0.": Kind.UNSUPPORTED_QUANTIZATION,
    "huggingface_hub.errors.GatedRepoError: 401 Client Error.": Kind.MODEL_NOT_FOUND,
    "RuntimeError: something nobody has seen before": Kind.CRASHED,
}


@pytest.mark.parametrize("text", CUDA)
def test_cuda_texts_below_the_usual_wrappers(text: str) -> None:
    log = "\n".join(
        [
            "(APIServer pid=7) INFO 11-22 13:00:00 [utils.py:1] non-default args: {}",
            "WARNING 11-22 13:00:00 [system_utils.py:9] OSError: [Errno 24] Too many open files",
            f"(EngineCore pid=8) ERROR 11-22 13:00:01 [core.py:9] {text}",
            "(EngineCore pid=8) ERROR 11-22 13:00:01 [core.py:9] Exception: WorkerProc initialization failed due to",
            "(APIServer pid=7) RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}",
        ]
    )
    found = classify(log, 1)
    assert found.kind is CUDA[text]
    assert found.message.split(":")[0] == text.split(":")[0].rsplit(".", 1)[-1]


def test_still_running_at_the_deadline_is_a_timeout_whatever_the_log_says() -> None:
    assert classify("INFO loading weights 10 %", None).kind is Kind.START_TIMEOUT


def test_a_log_without_any_error_is_a_crash_with_its_last_line() -> None:
    found = classify("INFO all is well\nKilled\n", 137)
    assert found.kind is Kind.CRASHED
    assert "exit code 137: Killed" in found.message


def test_secrets_do_not_get_into_the_record() -> None:
    token = "hf_" + "a1B2" * 8
    found = classify(f"ValueError: 401 for token {token}\n", 1)
    assert token not in found.message + found.log_tail


def test_refusals_before_a_launch_are_rejected_or_named() -> None:
    assert refusal("Cannot find the config file for awq") is Kind.UNSUPPORTED_QUANTIZATION
    assert refusal("max_num_batched_tokens (64) must be greater than max_num_seqs") is Kind.REJECTED
