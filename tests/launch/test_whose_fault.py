"""Whose doing a failure is, and its root cause, by the log alone."""

import pytest
from host_failures import TOLD

from tuner.launch.failures import classify
from tuner.types import FailureKind as Kind
from tuner.types.failure import Whose

START = "(APIServer pid=7) INFO 11-22 13:00:00 [api_server.py:9] vLLM API server version 0.27.0\n"
CONFIGURED = (
    "(EngineCore pid=8) INFO 11-22 13:00:01 [core.py:9] Initializing a V1 LLM engine (v0.27.0) with config: x\n"
)
AFTER = (
    "(EngineCore pid=8) ERROR 11-22 13:00:09 [core.py:9] Exception: WorkerProc initialization failed due to an "
    "exception in a "
    "background process. See stack trace for root cause.\n"
    "(APIServer pid=7) RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}\n"
)


def engine_wrote(text: str) -> str:
    lines = [
        line[1:] if line.startswith("|") else f"(EngineCore pid=8) ERROR 11-22 13:00:08 [core.py:9] {line}"
        for line in text.split("\n")
    ]
    return START + CONFIGURED + "\n".join(lines) + "\n" + AFTER


@pytest.mark.parametrize(("kind", "sentence", "text"), TOLD, ids=range(len(TOLD)))
def test_it_is_not_of_the_settings_and_its_sentence_is_the_root_cause(kind: Kind, sentence: str, text: str) -> None:
    found = classify(engine_wrote(text), 1)
    assert (found.kind, sentence in found.message) == (kind, True), found.message
    assert not found.kind.is_of_the_settings
    assert "\n" not in found.message


@pytest.mark.parametrize(
    "prefix", ["", "(Worker pid=9) (Worker_TP1 pid=9) ", "(VllmWorker TP2 pid=415) ", "\x1b[36m(vllm, pid=2)\x1b[0m "]
)
def test_whatever_prefixes_a_line_has(prefix: str) -> None:
    line = f"{prefix}ERROR 11-22 13:00:08 [worker.py:9] torch.AcceleratorError: CUDA error: uncorrectable ECC error encountered"
    assert classify(START + CONFIGURED + line + "\n" + AFTER, 1).kind is Kind.GPU_FAILED


def test_what_comes_before_vllm_has_read_its_settings_is_not_theirs() -> None:
    trace = 'Traceback (most recent call last):\n  File "/opt/venv/bin/vllm", line 4, in <module>\n    import x\n'
    assert classify(trace + "ModuleNotFoundError: No module named 'pyairports'\n", 1).kind is Kind.ENVIRONMENT
    assert classify(trace + "AttributeError: module 'x' has no attribute 'y'\n", 1).kind is Kind.ENVIRONMENT
    later = engine_wrote("ModuleNotFoundError: No module named 'pyairports'")
    assert classify(later, 1).kind.is_in_doubt


KILLED = "RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {'EngineCore_DP0': -9}\n"


def test_a_process_ended_by_the_kernel() -> None:
    log = START + CONFIGURED + "(APIServer pid=7) " + KILLED
    found = classify(log, 1, memory_bytes=32 * 1024**3)
    assert found.kind is Kind.HOST_MEMORY
    assert "SIGKILL" in found.message
    assert "OOM killer is likely" in found.message
    assert "32.0 GiB" in found.message
    assert classify(log, 1, oom_killed=False).kind is Kind.CRASHED
    worker = "Worker proc VllmWorker-1 died unexpectedly (exit code: -9), shutting down"
    worker = f"(EngineCore pid=8) ERROR 11-22 13:00:01 [multiproc_executor.py:9] {worker}"
    assert classify(START + CONFIGURED + worker + "\n" + AFTER, 1).kind is Kind.HOST_MEMORY
    assert classify(log.replace("-9", "-7"), 1).kind is Kind.HOST
    assert classify(log.replace("-9", "-4"), 1).kind is Kind.ENVIRONMENT


def test_what_nccl_adds_decides() -> None:
    text = (
        "torch.distributed.DistBackendError: NCCL error in: x.cpp:1, unhandled cuda error, NCCL version 2.27.5\n"
        "ncclUnhandledCudaError: Call to CUDA function failed.\nLast error:\nCuda failure 'out of memory'"
    )
    found = classify(engine_wrote(text), 1)
    assert found.kind is Kind.OUT_OF_MEMORY
    assert found.message.endswith("Cuda failure 'out of memory'")


def test_a_reason_that_comes_after_the_code_is_found() -> None:
    text = (
        "triton.compiler.errors.CompilationError: at 1:0:\ndef kernel(a, b):\n^\n"
        "ValueError(\"type fp8e4nv not supported in this architecture. The supported fp8 dtypes are ('fp8e5',)\")"
    )
    found = classify(engine_wrote(text), 1)
    assert (found.kind, found.message[:28]) == (Kind.UNSUPPORTED_QUANTIZATION, "ValueError: type fp8e4nv not")


def test_a_bare_error_gives_way_to_what_was_raised_from_it() -> None:
    raised = "The above exception was the direct cause of the following exception:"
    text = f"    raise TimeoutError\nTimeoutError\n{raised}\nTimeoutError: RPC call to sample_tokens timed out."
    assert classify(engine_wrote(text), 1).message == "TimeoutError: RPC call to sample_tokens timed out."


READY = "(APIServer pid=7) INFO:     Application startup complete.\n"
SERVED = '(APIServer pid=7) INFO:     127.0.0.1:5 - "POST /v1/completions HTTP/1.1" 200 OK\n' * 3
DIED = (
    "(EngineCore pid=8) ERROR 11-22 14:00:08 [core.py:9] EngineCore encountered a fatal error.\n"
    "(EngineCore pid=8) ERROR 11-22 14:00:08 [core.py:9] torch.OutOfMemoryError: CUDA out of memory. Tried to "
    "allocate 2.00 GiB.\n"
    "(APIServer pid=7) ERROR 11-22 14:00:08 [async_llm.py:9] vllm.v1.engine.exceptions.EngineDeadError: "
    "EngineCore encountered an "
    "issue. See stack trace (above) for the root cause.\n"
)


@pytest.mark.parametrize(
    "survived",
    [
        READY + "(APIServer pid=7) ERROR 11-22 13:30:00 [serving.py:9] ValueError: too many tokens\n",
        "(EngineCore pid=8) ERROR 11-22 13:00:08 [x.py:9] RuntimeError: a cache could not be used\n" + READY,
        READY + "(EngineCore pid=8) ERROR 11-22 13:30:00 [x.py:9] RuntimeError: one request was wrong\n" + SERVED,
    ],
)
def test_what_was_survived_is_not_the_cause_of_a_death(survived: str) -> None:
    found = classify(START + CONFIGURED + survived + DIED, 1)
    assert (found.kind, found.message[:31]) == (Kind.OUT_OF_MEMORY, "OutOfMemoryError: CUDA out of m")


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (Kind.UNSUPPORTED, "RuntimeError: FlashAttention only supports Ampere GPUs or newer."),
        (
            Kind.UNSUPPORTED_QUANTIZATION,
            "NotImplementedError: No compiled cutlass_scaled_mm for CUDA device capability: 120",
        ),
        (Kind.KV_CACHE_TOO_SMALL, "ValueError: max_num_seqs (9) exceeds available Mamba cache blocks (6)."),
        (Kind.REJECTED, "AssertionError: 12 is not divisible by 8"),
        (
            Kind.REJECTED,
            "ValueError: Target and draft model should have the same vocabulary size. Draft model vocab_size=7.",
        ),
        (Kind.REJECTED, "ValueError: num_speculative_tokens:3 must be divisible by n_predict=2"),
        (Kind.REJECTED, "ValueError: num_speculative_tokens was provided but without speculative model."),
        (Kind.REJECTED, "ValueError: prompt_lookup_min=5 must be <= prompt_lookup_max=2"),
        (Kind.REJECTED, "ValueError: Unknown speculative decoding method: hydra"),
        (Kind.REJECTED, "NotImplementedError: Unsupported speculative method: 'hydra'"),
        (Kind.REJECTED, "ValueError: synthetic_acceptance_length must be in [1, 3], got 4"),
        (
            Kind.REJECTED,
            "RuntimeError: Model does not support EAGLE3 interface but aux_hidden_state_outputs was requested",
        ),
        (Kind.REJECTED, "ImportError: Arctic Inference is required for suffix decoding"),
        (
            Kind.CRASHED,
            "triton.runtime.errors.OutOfResources: out of resource: shared memory, Required: 9, Hardware limit: 8.",
        ),
        (Kind.CRASHED, "|Failed: Cuda error /src/csrc/custom_all_reduce.cuh:455 'invalid argument'"),
        (Kind.CRASHED, "RuntimeError: NCCL error: unhandled cuda error (run with NCCL_DEBUG=INFO for details)"),
    ],
)
def test_what_may_well_be_of_the_settings(kind: Kind, text: str) -> None:
    found = classify(engine_wrote(text), 1)
    assert found.kind is kind
    assert found.kind.whose is Whose.SETTINGS
    assert text.removeprefix("|").split(".")[-1] in found.message
