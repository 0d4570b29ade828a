"""The frozen records that flow between the stages. Standard library only.

Seconds and bytes everywhere; absent is None, never 0. Field names are vLLM's and Optuna's words.
"""

from tuner.types.failure import Failed, FailureKind
from tuner.types.importance import Credit, Importance, Importances
from tuner.types.load import ClientMetrics, LoadResult, RequestRecord, Underway
from tuner.types.machine import DetectedGpu, Endpoint, HostSpeed, ProcessId, Target
from tuner.types.measured import (
    POWER_CAP,
    Cores,
    Distribution,
    GpuMetrics,
    LoadMetrics,
    Mark,
    Measured,
    RateFound,
    RateTried,
    ServerMetrics,
    present,
)
from tuner.types.predicted import Estimate, Predicted
from tuner.types.resolved import Resolved
from tuner.types.settings import Command, Explains, Fingerprint, Params, Proposal, Value
from tuner.types.timeline import Timeline
from tuner.types.trial import Outcome, Place, Trial, Twin
from tuner.types.workload import DataFile, Histogram, Lengths, Lognormal, SharedPrefix, TokenCounts, Workload

__all__ = [
    "POWER_CAP",
    "ClientMetrics",
    "Command",
    "Cores",
    "Credit",
    "DataFile",
    "DetectedGpu",
    "Distribution",
    "Endpoint",
    "Estimate",
    "Explains",
    "Failed",
    "FailureKind",
    "Fingerprint",
    "GpuMetrics",
    "Histogram",
    "HostSpeed",
    "Importance",
    "Importances",
    "Lengths",
    "LoadMetrics",
    "LoadResult",
    "Lognormal",
    "Mark",
    "Measured",
    "Outcome",
    "Params",
    "Place",
    "Predicted",
    "ProcessId",
    "Proposal",
    "RateFound",
    "RateTried",
    "RequestRecord",
    "Resolved",
    "ServerMetrics",
    "SharedPrefix",
    "Target",
    "Timeline",
    "TokenCounts",
    "Trial",
    "Twin",
    "Underway",
    "Value",
    "Workload",
    "present",
]
