"""The names of what can hold a server back: one vocabulary of docs/diagnosis.md, of reports and of JSON."""

from enum import StrEnum


class Cause(StrEnum):
    """Why a server does what it does and no more; NO_LOAD and HEALTHY are no fault."""

    BATCH_TOO_SMALL = "batch too small"  # too few requests run at once for the GPU
    BATCH_LIMIT = "batch limit"  # max_num_seqs are running, and others wait
    KV_CACHE = "KV-cache bound"
    PREFILL = "prefill bound"
    DECODE = "decode-bandwidth bound"  # the GPU's memory is what is busy
    COMPUTE = "compute bound"  # the GPU's tensor cores are
    SCHEDULER = "host bound: scheduler"  # EngineCore's process, between the steps
    LAUNCHES = "host bound: kernel launches"  # EngineCore's process, launching steps without CUDA graphs
    API_SERVER = "host bound: API server"
    CLIENT = "client bound"
    THROTTLED = "throttled"  # the GPU's clocks are held down
    NO_LOAD = "no load"  # the users ask for less than there is
    HEALTHY = "healthy"
    INSUFFICIENT = "insufficient evidence"
    # Of a server that does not start: nothing is measured of it, and what is known of its memory tells them
    WEIGHTS = "weights too large"
    MEMORY = "GPU memory too small"


#: Those that no rule tells from a measurement.
UNMEASURED = frozenset((Cause.INSUFFICIENT, Cause.WEIGHTS, Cause.MEMORY))
