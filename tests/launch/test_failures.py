"""The classifier on logs that vLLM really wrote (logs/: 0.32 on CPUs, 0.25.1 on an H200), and on texts from its source."""

from pathlib import Path

import pytest
from host_failures import TOLD

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
    "max-num-seqs-0": (1, Kind.REJECTED, "max_num_batched_tokens: Input should be greater than or equal to 1"),
    "model-len-too-long": (1, Kind.REJECTED, "User-specified max_model_len (999999) is greater than"),
    "attention-backend": (1, Kind.REJECTED, "ValueError: Unknown attention backend: 'FOO'"),
    "architecture-unknown": (
        1,
        Kind.ENVIRONMENT,
        "model type `nosuch` but Transformers does not recognize this architecture",
    ),
    "ray-missing": (1, Kind.REJECTED, "Failed to import Ray: No module named 'ray'"),
    "block-size-16": (1, Kind.REJECTED, "ValueError: No common block size for 16"),
    "tensor-parallel": (1, Kind.REJECTED, "Not enough allowed NUMA nodes to bind threads of 2 local CPUWorkers"),
    "model-not-found": (1, Kind.MODEL_NOT_FOUND, "HFValidationError: Repo id must be in the form"),
    "hub-offline": (1, Kind.MODEL_NOT_FOUND, "outgoing traffic has been disabled"),
    "config-missing": (1, Kind.MODEL_NOT_FOUND, "Invalid repository ID or local directory specified"),
    "weights-missing": (1, Kind.MODEL_NOT_FOUND, "RuntimeError: Cannot find any model weights with"),
    "weights-corrupt": (1, Kind.MODEL_NOT_FOUND, "SafetensorError: Error while deserializing header"),
    "tokenizer-corrupt": (1, Kind.MODEL_NOT_FOUND, "JSONDecodeError: Expecting property name"),
    "hub-unreachable": (1, Kind.HUB_UNREACHABLE, "OSError: We couldn't connect to 'https://huggingface.co'"),
    "awq-without-checkpoint": (1, Kind.UNSUPPORTED_QUANTIZATION, "Cannot find the config file for awq"),
    "torchao-without-checkpoint": (1, Kind.UNSUPPORTED_QUANTIZATION, "TorchAOConfig.__init__() missing 1 required"),
    "compressed-tensors-without-checkpoint": (
        1,
        Kind.UNSUPPORTED_QUANTIZATION,
        "missing 3 required positional arguments",
    ),
    "quantization-unknown": (1, Kind.UNSUPPORTED_QUANTIZATION, "Unknown quantization method: gguf"),
    "quantization-mismatch": (
        1,
        Kind.UNSUPPORTED_QUANTIZATION,
        "model config (gptq) does not match the quantization method",
    ),
    "fp8-on-cpu": (1, Kind.UNSUPPORTED_QUANTIZATION, "static_scaled_fp8_quant()"),
    "fp8-per-block-without-kernel": (
        1,
        Kind.UNSUPPORTED_QUANTIZATION,
        "Failed to find a kernel that can implement the ScaledMM linear layer. Reasons: CPUFp8W8A8BlockScaledMMKernel requires",
    ),
    "humming-not-installed": (1, Kind.UNSUPPORTED_QUANTIZATION, "ModuleNotFoundError: No module named 'humming'"),
    "kv-too-small": (1, Kind.KV_CACHE_TOO_SMALL, "To serve at least one request with the model's max seq len (4096)"),
    "cpu-kv-memory-negative": (1, Kind.KV_CACHE_TOO_SMALL, "is less than requested memory for kv (-0.27/0.35 GiB)"),
    "cpu-kv-cache-space": (1, Kind.OUT_OF_MEMORY, "is less than requested memory for kv (100.0 GiB)"),
    "cpu-memory-utilization": (1, Kind.OUT_OF_MEMORY, "is less than desired CPU memory utilization"),
    "cpu-out-of-memory": (1, Kind.OUT_OF_MEMORY, "DefaultCPUAllocator: can't allocate memory"),
    "port-in-use": (1, Kind.PORT_IN_USE, "Address already in use"),
    "engine-killed": (0, Kind.CRASHED, "engine core exited unexpectedly"),
    "worker-killed": (0, Kind.CRASHED, "Worker proc VllmWorker-0 died unexpectedly"),
    "engine-killed-loading": (1, Kind.CRASHED, "The engine died and wrote no cause."),
    "engine-segfault-loading": (1, Kind.CRASHED, "Failed core proc(s): {'EngineCore': SIGSEGV}"),
    "weights-of-another-shape": (1, Kind.CRASHED, "RuntimeError: The size of tensor a (512) must match"),
    "compiler-missing": (1, Kind.HOST, "InductorError: InvalidCxxCompiler: No working C++ compiler found"),
    "vllm-missing": (1, Kind.ENVIRONMENT, "ModuleNotFoundError: No module named 'vllm'"),
    # One H200, vLLM 0.25.1.
    "cuda-awq-without-checkpoint": (1, Kind.UNSUPPORTED_QUANTIZATION, "Cannot find the config file for awq"),
    "cuda-blocks-override": (
        1,
        Kind.KV_CACHE_TOO_SMALL,
        "To serve at least one request with the model's max seq len (4096)",
    ),
    "cuda-engine-killed": (0, Kind.CRASHED, "engine core exited unexpectedly"),
    "cuda-free-memory": (
        1,
        Kind.GPU_MEMORY_HELD,
        "Free memory on device cuda:0 (38.1/139.8 GiB) on startup is less than",
    ),
    "cuda-kv-cache-e5m2-flash-attn": (1, Kind.UNSUPPORTED_QUANTIZATION, "['kv_cache_dtype not supported']"),
    "cuda-kv-cache-nvfp4": (1, Kind.UNSUPPORTED_QUANTIZATION, "No valid attention backend found for cuda with"),
    "cuda-kv-too-small": (
        1,
        Kind.KV_CACHE_TOO_SMALL,
        "To serve at least one request with the model's max seq len (4096)",
    ),
    "cuda-max-num-seqs": (1, Kind.OUT_OF_MEMORY, "CUDA out of memory. Tried to allocate 169.80 GiB."),
    "cuda-out-of-memory": (1, Kind.OUT_OF_MEMORY, "CUDA out of memory. Tried to allocate 3.25 GiB."),
    "cuda-port-in-use": (1, Kind.PORT_IN_USE, "Address already in use"),
    "cuda-tensor-parallel-2": (1, Kind.REJECTED, "World size (2) is larger than the number of available GPUs (1)"),
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


#: What vLLM's source can say below EngineCore's usual wrappers, and no log here says.
TEXTS = {
    Kind.HOST: (
        "torch.AcceleratorError: CUDA error: MPS client failed to connect to the MPS control daemon or the MPS server",
        "torch.AcceleratorError: CUDA error: the remote procedural call between the MPS server and the MPS client failed",
        "RuntimeError: CUDA error: MPS server is not ready to accept new MPS client requests",
    ),
    Kind.OUT_OF_MEMORY: (
        "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.",
        "torch.AcceleratorError: CUDA error: out of memory",
        "RuntimeError: CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "RuntimeError: CUDA out of memory occurred when warming up sampler with 1024 dummy requests.",
        "OSError: [Errno 12] Cannot allocate memory",
    ),
    Kind.GPU_MEMORY_CHANGED: (
        "AssertionError: Error in memory profiling. Initial free memory 1, current free memory 2.",
    ),
    Kind.KV_CACHE_TOO_SMALL: (
        "ValueError: No available memory for the cache blocks. Try increasing `gpu_memory_utilization`",
        "ValueError: Cannot auto-fit max_model_len: not enough GPU memory available to serve even a single token.",
    ),
    Kind.UNSUPPORTED_QUANTIZATION: (
        "ValueError: The quantization method fp8 is not supported for the current GPU. Minimum capability: 75.",
        "ValueError: torch.float32 is not supported for quantization method awq. Supported dtypes: [torch.float16]",
        "ValueError: Bfloat16 is only supported on GPUs with compute capability of at least 8.0.",
        "ValueError: Selected backend FLASH_ATTN is not valid for this configuration. Reason: ['kv_cache_dtype not supported']",
        "NotImplementedError: FP8 KV cache on CPU requires x86 with AVX-512 or AMX.",
        "ValueError: awq quantization is currently not supported in cuda.",
    ),
    Kind.REJECTED: (
        "ValueError: Selected backend FLASHMLA is not valid for this configuration. Reason: ['non-MLA not supported']",
        "ValueError: No valid attention backend found for cuda with AttentionSelectorConfig(head_size=7). Reasons: {}.",
        "RuntimeError: CUDA error: invalid device ordinal",
    ),
    Kind.START_TIMEOUT: (
        "TimeoutError: Timed out waiting for engine core processes to start. This is often caused by slow",
    ),
    Kind.PORT_IN_USE: (
        "zmq.error.ZMQError: Address already in use (addr='tcp://127.0.0.1:5555')",
        "torch.distributed.DistNetworkError: The server socket has failed to listen. code: -98, name: EADDRINUSE",
    ),
    Kind.MODEL_NOT_FOUND: (
        "huggingface_hub.errors.GatedRepoError: 401 Client Error.",
        "OSError: /models/x does not appear to have a file named config.json.",
        "OSError: Can't load tokenizer for '/models/x'.",
    ),
    Kind.HUB_UNREACHABLE: (
        "requests.exceptions.ConnectionError: (MaxRetryError(\"HTTPSConnectionPool(host='huggingface.co', port=443)\"))",
        "httpx.ReadTimeout: The read operation timed out",
        "httpx.HTTPStatusError: Server error '503 Service Unavailable' for url 'https://huggingface.co/api/models/x'",
        "huggingface_hub.errors.HfHubHTTPError: 429 Client Error: Too Many Requests for url: https://huggingface.co",
        "socket.gaierror: [Errno -3] Temporary failure in name resolution",
    ),
    Kind.CRASHED: (
        "RuntimeError: something nobody has seen before",
        "RuntimeError: CUDA error: an illegal memory access was encountered",
        "ModuleNotFoundError: No module named 'flashinfer'",
    ),
}


@pytest.mark.parametrize(("kind", "text"), [(kind, text) for kind, texts in TEXTS.items() for text in texts])
def test_texts_below_the_usual_wrappers(kind: Kind, text: str) -> None:
    log = "\n".join(
        [
            "(APIServer pid=7) INFO 11-22 13:00:00 [utils.py:1] non-default args: {}",
            "WARNING 11-22 13:00:00 [system_utils.py:9] OSError: [Errno 24] Too many open files",
            "(EngineCore pid=8) INFO 11-22 13:00:01 [core.py:9] Initializing a V1 LLM engine (v0.25.1) with config: x",
            f"(EngineCore pid=8) ERROR 11-22 13:00:01 [core.py:9] {text}",
            "(EngineCore pid=8) ERROR 11-22 13:00:01 [core.py:9] Exception: WorkerProc initialization failed due to",
            "(APIServer pid=7) RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}",
        ]
    )
    found = classify(log, 1)
    assert found.kind is kind
    assert found.message.split(":")[0] == text.split(":")[0].rsplit(".", 1)[-1]


def test_every_kind_that_a_log_can_give_is_given_here() -> None:
    outside_the_log = {
        Kind.DEFAULTS_FAIL,
        Kind.TRIAL_TIMEOUT,
        Kind.STALLED,
        Kind.LOAD_FAILED,
        Kind.CLIENT_BOUND,
        Kind.INTERRUPTED,
    }
    of_hosts = {kind for kind, _, _ in TOLD} | {Kind.UNSUPPORTED}
    assert set(TEXTS) | of_hosts | {kind for _, kind, _ in RECORDED.values()} == set(Kind) - outside_the_log


def test_a_card_that_was_free_has_less_memory_than_was_asked_for() -> None:
    text = (
        "ValueError: Free memory on device cuda:0 ({}/14.6 GiB) on startup is less than desired GPU memory utilization"
    )
    assert classify(text.format("14.3"), 1).kind is Kind.OUT_OF_MEMORY
    assert classify(text.format("11.9"), 1).kind is Kind.GPU_MEMORY_HELD


def test_a_server_killed_before_it_wrote_a_word() -> None:
    found = classify("", 137)
    assert (found.kind, found.message.split(";")[0]) == (Kind.HOST_MEMORY, "the server was ended by SIGKILL: no output")
    assert classify("", None).kind is Kind.START_TIMEOUT


OFFLINE = "huggingface_hub.errors.OfflineModeIsEnabled: Cannot reach https://huggingface.co: offline mode is enabled."
NO_CONNECTION = "OSError: We couldn't connect to 'https://huggingface.co' to load the files"
NO_SUCH = (
    "OSError: a/b is not a local folder and is not a valid model identifier listed on 'https://huggingface.co/models'"
)


@pytest.mark.parametrize(
    ("inside", "raised", "kind"),
    [
        (OFFLINE, NO_CONNECTION, Kind.MODEL_NOT_FOUND),
        ("httpx.HTTPStatusError: Client error '404 Not Found' for url 'https://x'", NO_SUCH, Kind.MODEL_NOT_FOUND),
        ("requests.exceptions.HTTPError: 401 Client Error: Unauthorized for url: x", NO_SUCH, Kind.MODEL_NOT_FOUND),
        ("requests.exceptions.HTTPError: 502 Server Error: Bad Gateway for url: x", NO_SUCH, Kind.HUB_UNREACHABLE),
    ],
)
def test_the_hubs_first_error_gives_the_kind_and_its_last_one_the_sentence(
    inside: str, raised: str, kind: Kind
) -> None:
    found = classify(f"{inside}\nThe above exception was the direct cause of the following exception:\n{raised}\n", 1)
    assert found.kind is kind
    assert found.message == raised


def test_what_a_quantizations_code_raises_is_unsupported_whatever_it_says() -> None:
    frame = '  File "/opt/engine/vllm/model_executor/layers/quantization/mxfp4.py", line 1, in get_quant_method'
    log = f"Initializing a V1 LLM engine\nTraceback (most recent call last):\n{frame}\n    raise E\n"
    assert classify(log + "ValueError: nobody knows\n", 1).kind is Kind.UNSUPPORTED_QUANTIZATION
    assert classify(log + "RuntimeError: CUDA error: misaligned address\n", 1).kind is Kind.CRASHED


def test_a_value_error_is_a_refusal_only_before_the_engine_starts() -> None:
    assert classify("ValueError: a and b are mutually exclusive\n", 1).kind is Kind.REJECTED
    assert classify("INFO Initializing a V1 LLM engine\nValueError: what is this\n", 1).kind is Kind.CRASHED


def test_a_sentence_that_ends_in_a_colon_goes_on_in_the_next_line() -> None:
    found = classify("OSError: There was a specific connection error when trying to load a/b:\n502 Bad Gateway\n", 1)
    assert found.kind is Kind.HUB_UNREACHABLE
    assert found.message.endswith("when trying to load a/b: 502 Bad Gateway")


def test_an_error_without_a_sentence_is_told_with_its_line() -> None:
    assert classify("    assert len(a) == 2\n           ^^^^^^\nAssertionError\n", 1).message == (
        "AssertionError at assert len(a) == 2"
    )


def test_still_running_at_the_deadline_is_a_timeout_whatever_the_log_says() -> None:
    assert classify("INFO loading weights 10 %", None).kind is Kind.START_TIMEOUT


@pytest.mark.parametrize("exit_code", [137, -9])
def test_a_log_without_any_error_has_its_signal_and_last_line(exit_code: int) -> None:
    """Whether the kernel did it for want of memory is known where it counts that."""
    log = "INFO all is well\nKilled\n"
    likely = classify(log, exit_code, memory_bytes=16 * 1024**3)
    assert likely.kind is Kind.HOST_MEMORY
    assert likely.message == (
        "the server was ended by SIGKILL: Killed; the kernel's OOM killer is likely: the memory of the host, "
        "16.0 GiB, was not enough (see dmesg)"
    )
    assert "the kernel's OOM killer did it" in classify(log, exit_code, oom_killed=True).message
    other = classify(log, exit_code, oom_killed=False)
    assert (other.kind, other.message) == (Kind.CRASHED, "the server was ended by SIGKILL: Killed")


def test_without_a_signal_it_is_the_exit_code() -> None:
    assert (
        classify("good-bye\nnanobind: leaked 4 instances!\n", 3).message
        == "the server ended with exit code 3: good-bye"
    )


def test_a_signal_is_named_beside_a_cause() -> None:
    assert classify("RuntimeError: oops\n", 139).message == "RuntimeError: oops (the server was ended by SIGSEGV)"
    died = (
        "ERROR 11-22 13:00:01 [multiproc_executor.py:9] Worker proc VllmWorker-1 died unexpectedly (exit code: -11), x"
    )
    assert classify(died, 0).message == "Worker proc VllmWorker-1 died unexpectedly (exit code: SIGSEGV)"


def test_an_engine_that_died_under_load_is_told_before_what_follows_from_it() -> None:
    died = "ERROR 11-22 13:00:01 [core_client.py:9] Engine core proc EngineCore_DP0 died unexpectedly, shutting down client."
    after = "vllm.v1.engine.exceptions.EngineDeadError: EngineCore encountered an issue. See stack trace (above)"
    assert classify(f"{died}\n{after}\n", 0).message == "Engine core proc EngineCore_DP0 died unexpectedly"
    assert classify(after, 0).message == "EngineDeadError: EngineCore encountered an issue. See stack trace (above)"
    assert classify(f"RuntimeError: CUDA error: unspecified launch failure\n{after}\n{died}", 0).message == (
        "RuntimeError: CUDA error: unspecified launch failure"
    )


def test_secrets_do_not_get_into_the_record() -> None:
    token = "hf_" + "a1B2" * 8
    found = classify(f"ValueError: 401 for token {token}\n", 1)
    assert token not in found.message + found.log_tail


def test_refusals_before_a_launch_are_rejected_or_named() -> None:
    assert refusal("Cannot find the config file for awq") is Kind.UNSUPPORTED_QUANTIZATION
    assert refusal("max_num_batched_tokens (64) must be greater than max_num_seqs") is Kind.REJECTED
    assert refusal("We couldn't connect to 'https://huggingface.co' to load the files") is Kind.HUB_UNREACHABLE
    assert refusal("Invalid repository ID or local directory specified: 'a'") is Kind.MODEL_NOT_FOUND
