"""Failures of hosts, cards, environments and models, in the form in which vLLM, CUDA, NCCL, compilers and Linux tell them."""

from tuner.types import FailureKind as Kind

#: The kind, a part of the sentence, and what the engine core wrote (a `|` begins a line of a program, without a prefix).
TOLD = (
    (
        Kind.HOST,
        "CUDA_HOME",
        "OSError: CUDA_HOME environment variable is not set. Please set it to your CUDA install root.",
    ),
    (Kind.HOST, "nvcc", "FileNotFoundError: [Errno 2] No such file or directory: '/usr/local/cuda/bin/nvcc'"),
    (
        Kind.HOST,
        "nvcc",
        "|/bin/sh: 1: /usr/local/cuda/bin/nvcc: not found\nRuntimeError: Ninja build failed. Ninja output:",
    ),
    (
        Kind.HOST,
        "install gcc and g++",
        "RuntimeError: Failed to find C compiler. Please specify via CC environment variable.",
    ),
    (Kind.HOST, "install gcc and g++", "FileNotFoundError: [Errno 2] No such file or directory: 'g++'"),
    (Kind.HOST, "ninja", "FileNotFoundError: [Errno 2] No such file or directory: 'ninja'"),
    (Kind.HOST, "ninja", "RuntimeError: Ninja is required to load C++ extensions (pip install ninja to get it)"),
    (
        Kind.HOST,
        "cannot find -lcuda",
        "|/usr/bin/ld: cannot find -lcuda: No such file or directory\n|collect2: error: ld returned 1 exit status\n"
        "torch._inductor.exc.InductorError: CalledProcessError: Command '['/usr/bin/gcc', '/tmp/x/main.c']' "
        "returned non-zero "
        "exit status 1.",
    ),
    (
        Kind.HOST,
        "math.h",
        "|/tmp/x.c:3:10: fatal error: math.h: No such file or directory\nsubprocess.CalledProcessError: Command "
        "'gcc' returned "
        "non-zero exit status 1.",
    ),
    (
        Kind.ENVIRONMENT,
        "Unsupported gpu architecture",
        "|nvcc fatal   : Unsupported gpu architecture 'compute_120'\nRuntimeError: Error building extension 'sampling'",
    ),
    (
        Kind.ENVIRONMENT,
        "Unknown option",
        "|nvcc fatal   : Unknown option '-static-x=false'\nsubprocess.CalledProcessError: Command '['ninja', "
        "'-v']' returned "
        "non-zero exit status 1.",
    ),
    (Kind.ENVIRONMENT, "requires CUDA >= 12.9", "RuntimeError: SM 12.x requires CUDA >= 12.9."),
    (Kind.HOST, "libcuda.so", "AssertionError: libcuda.so cannot found!"),
    (
        Kind.HOST,
        "Found no NVIDIA driver",
        "RuntimeError: Found no NVIDIA driver on your system. Please check that you have one",
    ),
    (Kind.HOST, "insufficient", "RuntimeError: CUDA driver version is insufficient for CUDA runtime version"),
    (
        Kind.HOST,
        "Driver/library version mismatch",
        "pynvml.NVMLError_LibRmVersionMismatch: Driver/library version mismatch",
    ),
    (
        Kind.HOST,
        "Shared Library Not Found",
        "vllm.third_party.pynvml.NVMLError_LibraryNotFound: NVML Shared Library Not Found",
    ),
    (Kind.HOST, "Unknown Error", "pynvml.NVMLError_Unknown: Unknown Error"),
    (Kind.HOST, "No CUDA GPUs are available", "RuntimeError: No CUDA GPUs are available"),
    (
        Kind.HOST,
        "Error 802",
        "RuntimeError: Unexpected error from cudaGetDeviceCount(). Error 802: system not yet initialized",
    ),
    (Kind.HOST, "Error 804", "RuntimeError: Error 804: forward compatibility was attempted on non supported HW"),
    (
        Kind.HOST,
        "toolchain",
        "torch.AcceleratorError: CUDA error: the provided PTX was compiled with an unsupported toolchain.",
    ),
    (
        Kind.HOST,
        "CUDA initialization: The NVIDIA driver",
        "|/opt/x/torch/cuda/__init__.py:174: UserWarning: CUDA initialization: The NVIDIA driver on your system "
        "is too old\n"
        "RuntimeError: Failed to infer device type, please set the environment variable VLLM_LOGGING_LEVEL=DEBUG",
    ),
    (Kind.GPU_FAILED, "GPU is lost", "pynvml.NVMLError_GpuIsLost: GPU is lost"),
    (
        Kind.GPU_FAILED,
        "uncorrectable NVLink",
        "torch.AcceleratorError: CUDA error: uncorrectable NVLink error detected",
    ),
    (Kind.GPU_FAILED, "hardware stack", "torch.AcceleratorError: CUDA error: hardware stack error"),
    (
        Kind.GPU_FAILED,
        "fallen off the bus",
        "|NVRM: Xid (PCI:0000:41:00): 79, pid=8, GPU has fallen off the bus.\nRuntimeError: cancelled",
    ),
    (
        Kind.GPU_IN_USE,
        "busy or unavailable",
        "torch.AcceleratorError: CUDA error: CUDA-capable device(s) is/are busy or unavailable",
    ),
    (
        Kind.GPU_UNSUPPORTED,
        "too old",
        "RuntimeError: Found Tesla P100 which is too old to be supported by the triton GPU compiler",
    ),
    (
        Kind.GPU_FAILED,
        "ECC",
        "RuntimeError: Worker failed with error 'CUDA error: uncorrectable ECC error encountered', please check "
        "the stack trace",
    ),
    (Kind.GPU_FAILED, "dmesg", "RuntimeError: GPU0 is lost. Reboot the system to recover this GPU"),
    (Kind.HOST, "--gpus all", "PermissionError: [Errno 13] Permission denied: '/dev/nvidia0'"),
    (Kind.ENVIRONMENT, "torchvision", "RuntimeError: operator torchvision::nms does not exist"),
    (
        Kind.HOST_MEMORY,
        "Killed",
        "|c++: fatal error: Killed signal terminated program cc1plus\nRuntimeError: Ninja build failed",
    ),
    (
        Kind.HOST,
        "--shm-size",
        "|node:8:8 [0] NCCL WARN Error while creating shared memory segment /dev/shm/nccl-ab (size 9637888)\n"
        "torch.distributed.DistBackendError: NCCL error in: x.cpp:1, unhandled system error (run with "
        "NCCL_DEBUG=INFO), NCCL 2.27",
    ),
    (Kind.HOST, "--shm-size", "|Fatal Python error: Bus error"),
    (Kind.HOST, "--ipc=host", "RuntimeError: unable to write to file </torch_77_1>: No space left on device (28)"),
    (
        Kind.HOST,
        "NCCL_SOCKET_IFNAME",
        "|n:8:8 [0] bootstrap.cc:45 NCCL WARN Bootstrap : no socket interface found\nRuntimeError: NCCL error: "
        "internal error",
    ),
    (
        Kind.HOST,
        "GLOO_SOCKET_IFNAME",
        "RuntimeError: Gloo connectFullMesh failed with [../gloo/tcp/pair.cc:144] no error",
    ),
    (Kind.HOST, "VLLM_HOST_IP", "torch.distributed.DistNetworkError: The client socket has timed out after 600000ms"),
    (
        Kind.DISK_FULL,
        "/root/.cache/flashinfer",
        "OSError: [Errno 28] No space left on device: '/root/.cache/flashinfer/x.so'",
    ),
    (
        Kind.DISK_FULL,
        "os error 28",
        "RuntimeError: Data processing error: I/O error: No space left on device (os error 28)",
    ),
    (Kind.DISK_FULL, "quota", "OSError: [Errno 122] Disk quota exceeded: '/home/u/.cache/vllm'"),
    (Kind.HOST, "make that place writable", "PermissionError: [Errno 13] Permission denied: '/.cache'"),
    (Kind.HOST, "make that place writable", "OSError: [Errno 30] Read-only file system: '/models/x/.lock'"),
    (Kind.HOST, "ulimit -n", "OSError: [Errno 24] Too many open files: '/tmp/x'"),
    (Kind.HOST, "ulimit -u", "RuntimeError: can't start new thread"),
    (Kind.HOST, "ulimit -u", "BlockingIOError: [Errno 11] Resource temporarily unavailable"),
    (Kind.HOST, "network folder", "OSError: [Errno 116] Stale file handle: '/nfs/models/x'"),
    (
        Kind.ENVIRONMENT,
        "undefined symbol",
        "ImportError: /opt/x/vllm/_C.abi3.so: undefined symbol: _ZN3c104cuda9SetDeviceEa",
    ),
    (
        Kind.ENVIRONMENT,
        "GLIBCXX",
        "ImportError: /lib/libstdc++.so.6: version `GLIBCXX_3.4.32' not found (required by /opt/x.so)",
    ),
    (
        Kind.ENVIRONMENT,
        "normal functioning",
        "ImportError: tokenizers>=0.22 is required for a normal functioning of this module",
    ),
    (
        Kind.ENVIRONMENT,
        "cannot import name",
        "ImportError: cannot import name 'X' from 'transformers' (/opt/x/__init__.py)",
    ),
    (
        Kind.ENVIRONMENT,
        "NumPy",
        "RuntimeError: A module that was compiled using NumPy 1.x cannot be run in NumPy 2.0.1",
    ),
    (Kind.ENVIRONMENT, "rms_norm", "AttributeError: '_OpNamespace' '_C' object has no attribute 'rms_norm'"),
    (
        Kind.ENVIRONMENT,
        "does not match",
        "RuntimeError: flashinfer-cubin version (0.5.2) does not match flashinfer version (0.5.3)",
    ),
    (Kind.HOST_MEMORY, "Killed process", "|Out of memory: Killed process 4711 (VLLM::EngineCor) total-vm:90000000kB"),
    (Kind.MODEL_NOT_FOUND, "gated", "OSError: You are trying to access a gated repo."),
    (Kind.MODEL_NOT_FOUND, "tokenizer", "OSError: Can't load tokenizer for 'o/m'."),
    (
        Kind.MODEL_UNUSABLE,
        "--engine-arg trust_remote_code=true",
        "ValueError: The repository o/m contains custom code which must be executed",
    ),
    (
        Kind.MODEL_UNUSABLE,
        "Model architectures",
        "ValueError: Model architectures ['XForCausalLM'] are not supported for now.",
    ),
    (Kind.HUB_UNREACHABLE, "CERTIFICATE", "ssl.SSLError: [SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed"),
)
