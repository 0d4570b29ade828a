"""The sentence of a failure in; its kind, and what to do where that is not in the settings, out. Pure.

The texts are those of vLLM 0.10 to 0.33 and of what it stands on: torch, Triton, NCCL, CUDA, the compilers, the hub, Linux. The
list is not what keeps settings from being blamed: what it does not know is decided by whether the defaults fail alike
(study/gate.py).
"""

import re
from dataclasses import dataclass

from tuner.types import FailureKind as Kind


@dataclass(frozen=True, slots=True)
class Known:
    """A kind that texts tell, and what to do about it where its own sentence does not say."""

    kind: Kind
    pattern: str
    advice: str = ""


_HUB_SAYS_NO = r"outgoing traffic has been disabled|offline mode is enabled|40[134] Client Error|'40[134] "
_UNREACHABLE = (
    r"We couldn't connect to|connection error when trying to load|check your connection"
    r"|(429|5\d\d) (Client|Server) Error|'(429|5\d\d) |HTTPSConnectionPool|Read timed out|read operation timed out"
    r"|name resolution|Name or service not known|Connect(Error|Timeout): |ReadTimeout: |CERTIFICATE_VERIFY_FAILED"
    r"|ProxyError"
)
_SHM = "/dev/shm is too small: run the container with --shm-size=8g or --ipc=host"
_TOOLKIT = "install the CUDA toolkit of the version that vLLM was built for, put nvcc on the PATH and set CUDA_HOME"
_COMPILER = "install gcc and g++"
_TOO_OLD_TOOLS = (
    "the compilers that vLLM calls do not know this card or each other: update them together (TRITON_PTXAS_PATH, "
    "CUDA_HOME and CC name others)"
)
_DRIVER = (
    "nvidia-smi says whether the driver works: update or reload it, restart the machine, or run the container "
    "with --gpus all"
)
_MISMATCH = (
    "libraries of vLLM's environment do not match: install vLLM anew in an environment of its own (`tuner "
    "install-engine`)"
)
_WRITABLE = "make that place writable, or name another one (HOME, --cache-dir, HF_HOME, TMPDIR)"
_LIMIT = "raise the limit of this session or container (ulimit -n, ulimit -u, --ulimit, --pids-limit)"
_NETWORK = "name the network to use (VLLM_HOST_IP, NCCL_SOCKET_IFNAME, GLOO_SOCKET_IFNAME) and see its firewall"
_RESET = (
    "the kernel log (dmesg) names the card by its Xid: reset it (nvidia-smi -r), restart the machine, or take it "
    "out of CUDA_VISIBLE_DEVICES"
)

_FREE = "free some space there, or name another place (--cache-dir, HF_HOME, TMPDIR)"

#: Most specific first.
_HOSTS: tuple[Known, ...] = (
    Known(
        Kind.HOST,
        r"\bMPS (client|server|control)\b|cudaErrorMps|CUDA_ERROR_MPS",
        "NVIDIA's multi-process service failed beneath engines that share a GPU: `--mps off` starts them without it",
    ),
    Known(Kind.PORT_IN_USE, r"(?i:address already in use)|EADDRINUSE"),
    Known(
        Kind.HOST,
        r"/dev/shm\S*.*(No space left|Errno 28|too small|cannot|failed|Cannot allocate)|(extend|allocate|open) /dev/shm"
        r"|(No space left on device|File exists): '/(psm_|nccl|torch_|sem\.|vllm)|insufficient shared memory"
        r"|shared memory segment"
        r"|(write|mmap|resize).* <?/torch_|unable to open shared memory object|Bus error|SIGBUS",
        _SHM,
    ),
    Known(
        Kind.DISK_FULL,
        r"No space left on device|Errno 28\b|os error 28\b|ENOSPC|Disk quota exceeded|Errno 122\b"
        r"|[Nn]ot enough (free )?disk space"
        r"|database or disk is full",
        _FREE,
    ),
    Known(
        Kind.HOST_MEMORY,
        r"Out of memory: Kill|Killed signal terminated program|oom[-_]kill(?!er)|OOMKilled|Killed process \d+"
        r"|node running low on memory",
        "give the host or container more memory, or end what else uses it",
    ),
    Known(
        Kind.GPU_FAILED,
        r"(?i:\becc error|uncorrectable|double.bit)|GPU ?\d* is lost|GpuIsLost|fallen off the bus|\bXid\b"
        r"|hardware stack error"
        r"|GPU requires (a )?reset|ResetRequired|row.remap|MMU fault|NVLink.*(error|fail|down)",
        _RESET,
    ),
    Known(
        Kind.GPU_IN_USE,
        r"devices?(\(s\))? (is|are|is/are) (all )?busy or unavailable|cudaErrorDevicesUnavailable"
        r"|CUDA error: device.* in use"
        r"|exclusive.process|NVMLError_InUse",
        "another process has the card for itself: end it, or name another card in CUDA_VISIBLE_DEVICES",
    ),
    Known(Kind.HOST, r"Python\.h", "install Python's headers (python3-dev or python3-devel)"),
    Known(
        Kind.ENVIRONMENT,
        r"(ptxas|nvcc|cicc|fatbinary) (fatal|error)|is not defined for option 'gpu-name'|Unsupported gpu architecture"
        r"|Unsupported \.version|unsupported GNU version|unsupported (Microsoft|clang) |requires CUDA >= |PTXAS error"
        r"|(?i:detected CUDA version.*mismatch)|LLVM ERROR|Cannot select: intrinsic|does not support -?-?std="
        r"|No supported CUDA arch"
        r"|error: identifier \"?__nv|(nvcc|CUDA (toolkit|compiler)).*(too old|at least|or (newer|higher|later))",
        _TOO_OLD_TOOLS,
    ),
    Known(
        Kind.HOST,
        r"(?i:could not find|cannot find|unable to find|no such file or directory: '?[^' ]*|not found: ?)\W*(/\S*/)?nvcc"
        r"|nvcc\S*:? .*not found|CUDA_HOME|cuda_home|fatal error: (cuda|cublas|curand|nvrtc|cuda_runtime)\w*\.h|NVCC",
        _TOOLKIT,
    ),
    Known(
        Kind.HOST,
        r"Failed to find C(\+\+)? compiler|No working C\+\+ compiler|InvalidCxxCompiler"
        r"|(No such file or directory|not found)\W*(/\S*/)?(gcc|g\+\+|cc|c\+\+|clang(\+\+)?)(?!\w)"
        r"|\b(gcc|g\+\+|cc|c\+\+|clang\+*|cc1plus):? .*(not found|cannot execute|No such file)"
        r"|cannot execute 'cc1|^error: command .* failed: No such file",
        _COMPILER,
    ),
    Known(
        Kind.HOST,
        r"(No such file or directory|not found)\W*ninja|ninja\W+(command )?not found|Ninja is required",
        "install ninja (pip install ninja)",
    ),
    Known(
        Kind.HOST,
        r"cannot find -l(cuda|nvidia)|libcuda\.so|Unable to find -lcuda",
        "the driver's libcuda.so is not where it is looked for (LD_LIBRARY_PATH, LIBRARY_PATH; in a container "
        "--gpus all)",
    ),
    Known(Kind.HOST, r"cannot find -l\w+", "install the library that the linker names"),
    Known(Kind.HOST, r"fatal error: \S+: No such file or directory", "install the headers that the compiler names"),
    Known(
        Kind.ENVIRONMENT,
        r"undefined symbol|symbol lookup error|cannot open shared object file|GLIBC(XX)?_[\d.]+\S* not found|\bELF\b"
        r"|compiled using NumPy 1|numpy\.\w+ size changed|multiarray failed to import"
        r"|is required for a normal functioning"
        r"|partially initialized module"
        r"|cannot import name '[^']+' from '(transformers|torch|huggingface_hub|tokenizers|numpy|triton|vllm)"
        r"|No module named '(vllm|torch|triton|transformers|numpy|_C\b)|No package metadata|PackageNotFoundError"
        r"|DistributionNotFound"
        r"|does not recognize this architecture|[Tt]ransformers is out of date|requires? transformers"
        r"|upgrade (your )?transformers"
        r"|Tokenizer class \S+ does not exist|did not match any variant of untagged enum"
        r"|'\w*(Tokenizer|Config|Processor)\w*' object has no attribute|flashinfer\S* version .*does not match"
        r"|Unable to load any of \{?lib|cuDNN (version|library).*(incompatib|mismatch)"
        r"|CUDNN_STATUS_(SUBLIBRARY|VERSION)\w*"
        r"|operator torchvision::\w+ does not exist"
        r"|module '(torch|transformers|triton|numpy|vllm)[\w.]*' has no attribute"
        r"|Torch not compiled with CUDA|device kernel image is invalid|(?i:illegal instruction)|SIGILL"
        r"|'_C(_\w+)?' object has no attribute '(init_cpu_threads_env|rms_norm|silu_and_mul|rotary_embedding|weak_ref_tensor"
        r"|fused_add_rms_norm|reshape_and_cache|gelu\w*)'|Could not run 'vllm::",
        _MISMATCH,
    ),
    Known(
        Kind.GPU_UNSUPPORTED,
        r"no kernel image is available|cudaErrorNoKernelImageForDevice"
        r"|not compatible with the current PyTorch installation"
        r"|(too old to be|not) supported by the triton|too old to be supported by PyTorch"
        r"|minimum CUDA capability supported",
        "this vLLM has no code for this card: no settings change that; install a build that has, or take another card",
    ),
    Known(
        Kind.HOST,
        r"NVIDIA driver|driver version is insufficient|[Dd]river/library version mismatch|NVML"
        r"|no CUDA-capable device|No CUDA GPUs"
        r"|nvidia-(smi|uvm)|Driver Not Loaded|Failed to infer device type|Device string must not be empty"
        r"|forward compatibility was attempted"
        r"|system not yet initialized"
        r"|CUDA_ERROR_SYSTEM|[Ff]abric ?[Mm]anager|unsupported toolchain|CUDA unknown error"
        r"|CUDA error: (unknown|initialization) error"
        r"|Cuda failure \d* ?'(initialization error|unknown error)|Unexpected error from cudaGetDeviceCount"
        r"|cuInit|CUDA driver",
        _DRIVER,
    ),
    Known(
        Kind.HOST,
        r"(denied|permitted|Errno 1?3?\]).*/dev/(nvidia|dri|kfd)",
        "this user or container may not use the card: --gpus all, or the group of its device files",
    ),
    Known(
        Kind.HOST,
        r"PermissionError|[Pp]ermission denied|Not a directory: |no locator available|Read-only file system"
        r"|Errno (1|13|30)\]|EACCES|Operation not permitted",
        _WRITABLE,
    ),
    Known(
        Kind.HOST,
        r"Too many open files|Errno (23|24|11)\]|EMFILE|Resource temporarily unavailable|can't start new thread"
        r"|pthread_create"
        r"|RLIMIT|Cannot fork|No locks available",
        _LIMIT,
    ),
    Known(
        Kind.HOST,
        r"Input/output error|Errno (5|107|116)\]|Stale (NFS )?file handle|Transport endpoint is not connected",
        "a disk or a network folder does not answer: see the kernel log (dmesg)",
    ),
    Known(
        Kind.HOST,
        r"unhandled system error|ncclSystemError|ncclRemoteError|[Nn]o socket interface found"
        r"|Cannot assign requested address"
        r"|Errno (99|111)\]|Unable to find address|clients joined|DistNetworkError|DistStoreError"
        r"|(?i:gloo).*(connect|resolve|timed out|error)|connectFullMesh"
        r"|(client|server) socket has (failed|timed out)|Connection (refused|reset|closed) by (remote )?peer"
        r"|NET/(IB|Socket)",
        _NETWORK,
    ),
)

_MODELS: tuple[Known, ...] = (
    Known(Kind.MODEL_NOT_FOUND, _HUB_SAYS_NO),
    Known(Kind.HUB_UNREACHABLE, _UNREACHABLE),
    Known(
        Kind.MODEL_NOT_FOUND,
        r"HFValidationError|LocalEntryNotFoundError|RepositoryNotFoundError|GatedRepoError|RevisionNotFoundError"
        r"|gated repo"
        r"|does not appear to have|Can't load (the configuration|tokenizer)|instantiate the backend tokenizer"
        r"|not a valid model identifier|Repo id must|Invalid repository ID or local directory"
        r"|is not a valid git identifier"
        r"|Cannot find an appropriate cached snapshot|Cannot find any model weights|is neither a local folder"
        r"|is not a valid JSON file|JSONDecodeError|SafetensorError|No tokenizer file found"
        r"|[Nn]o such file or directory: '[^']*"
        r"(config\.json|tokenizer\S*|\.safetensors|\.bin|\.gguf)'|Invalid (user )?token|LocalTokenNotFound"
        r"|Not found: \S*\.model",
    ),
    Known(
        Kind.MODEL_UNUSABLE,
        r"trust_remote_code|custom code which must be executed|execute the configuration file in that repo",
        "if you trust it: --engine-arg trust_remote_code=true",
    ),
    Known(
        Kind.MODEL_UNUSABLE,
        r"Model architectures? .*not supported|Unrecognized (model|configuration class)|has no vLLM implementation"
        r"|There is no module or parameter named|weights were not initialized from checkpoint|invalid load key"
        r"|UnpicklingError|inline_container|PytorchStreamReader failed|[Uu]nsupported model type"
        r"|sentencepiece_processor"
        r"|does not support inference",
    ),
)

_SETTINGS: tuple[Known, ...] = (
    Known(Kind.START_TIMEOUT, r"Timed out waiting for engine core processes to start"),
    Known(Kind.GPU_MEMORY_CHANGED, r"Error in memory profiling"),
    Known(
        Kind.KV_CACHE_TOO_SMALL,
        r"No available memory for the cache blocks|No free blocks available|exceeds available Mamba cache blocks"
        r"|larger than the (available KV cache memory|maximum number of tokens that can be stored in KV cache)"
        r"|Cannot auto-fit max_model_len|less than requested memory for kv \(-",
    ),
    Known(
        Kind.GPU_MEMORY_HELD,
        r"Free memory on device .* on startup is less than",
        "other processes hold the card's memory (nvidia-smi names them): end them, or see --wait-for-gpu",
    ),
    Known(
        Kind.OUT_OF_MEMORY,
        r"(?i:out of memory)|OutOfMemoryError|MemoryError|not enough GPU memory|ALLOC_FAILED|std::bad_alloc"
        r"|can't allocate memory|Cannot allocate memory|less than desired CPU memory utilization"
        r"|on kv cache allocation is less than requested memory for kv|exceed the desired GPU memory utilization",
    ),
    Known(
        Kind.UNSUPPORTED_QUANTIZATION,
        r"Unknown quantization method|Cannot find the config file for|quantization method \S+ is not supported"
        r"|is not supported for quantization method|does not match the quantization method"
        r"|(?i:quantization|quantization scheme) is (currently )?not supported|kernel that can implement"
        r"|FP8 KV cache .* requires|kv_cache_dtype not supported|static_scaled_fp8_quant"
        r"|No compiled (cutlass|marlin|nvfp4|fp8)"
        r"|type fp8\w+ not supported"
        r"|No module named '(humming|torchao|quark|auto_round|compressed_tensors|fp_quant|bitsandbytes)"
        r"|Config.__init__\(\) missing \d+ required positional|Bfloat16 is only supported on GPUs",
    ),
    Known(
        Kind.UNSUPPORTED,
        r"only supports? (Ampere|Hopper|Ada|Turing|Volta|Blackwell|compute|SM|GPUs?|CUDA devices)"
        r"|requires? (compute|device) capability"
        r"|not supported on (this|the current) (GPU|device|card|platform)|for CUDA device capability"
        r"|not supported on compute capability"
        r"|only supported on (Ampere|Hopper|Blackwell|GPUs|compute|SM)|requires? GPUs? with"
        r"|requires? (at least )?(SM|sm_)\s?\d"
        r"|(?i:unsupported compute capability)",
    ),
)

#: vLLM 0.25 to 0.32, config/speculative.py, config/vllm.py and the drafters.
_SPECULATION = (
    r"Target and draft model should have the same vocabulary|[Uu]n(supported|known) speculative (decoding )?method"
    r"|num_speculative_tokens\W.*(divisible|must be|was (not )?provided)|without speculative model|prompt_lookup_m(ax|in)"
    r"|synthetic_acceptance_(rates|length)|[Ss]peculative decoding\b.*\b(only supports|not (yet )?supported|requires)"
    r"|(does not|doesn't) support (speculative decoding|EAGLE3?|MTP)|has no classic-MTP draft|does not contain MTP weights"
    r"|draft_tensor_parallel_size|draft model config must have|use_heterogeneous_vocab|use_local_argmax_reduction"
    r"|requires? (at least )?EAGLE|disable_padded_drafter_batch"
)

_REFUSALS: tuple[Known, ...] = (
    Known(Kind.REJECTED, _SPECULATION),
    Known(
        Kind.REJECTED,
        r"Arctic Inference is required",
        "take another method, or install arctic-inference beside vLLM",
    ),
    Known(
        Kind.REJECTED,
        r"No common block size|Not enough allowed NUMA nodes|No valid .*attention backend|Selected backend"
        r"|User-specified max_model_len|must be (divisible|greater|a positive)|is not divisible by"
        r"|number of available GPUs"
        r"|invalid device ordinal",
    ),
)

#: A text of the host's may stand in one of the model's or settings' (a path, a URL), and the other way round: so a sentence is
#: asked for what is most certain first.
_ALL = (*_SETTINGS[:3], *_HOSTS[:5], *_SETTINGS[3:], *_MODELS, *_HOSTS[5:], *_REFUSALS)
_COMPILED = tuple((known, re.compile(known.pattern)) for known in _ALL)


def known(text: str) -> Known | None:
    """What the text is known as."""
    return next((known for known, pattern in _COMPILED if pattern.search(text)), None)
