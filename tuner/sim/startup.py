"""A model's shape and settings in; how long vLLM takes to start with them out. Pure.

Fitted by eye to starts on one H200 host with vLLM 0.25.1, 1.5B and 7B parameters, dummy weights and compiled code in its
caches: 42 to 60 s in eager mode, 46 to 60 s with 51 graphs. Hosts differ by more than these terms do.
"""

from dataclasses import dataclass

from tuner.predict.settings import Settings, capture_sizes

#: Importing vLLM in the API server, making its configuration, and importing once more in EngineCore.
_PROCESSES_S = 43.0
#: Building the model and its kernels' first runs; and a local disk that gives 2 GB a second, which is an assumption.
_MODEL_S = 3.0
_BYTES_PER_S = 2e9
#: Reading compiled code from its cache, and each graph that is captured.
_COMPILED_S = 3.0
_GRAPH_S = 0.1
_APPLICATION_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Startup:
    """The phases of a start, in seconds."""

    processes_s: float
    weights_s: float
    compile_s: float
    graphs_s: float
    application_s: float = _APPLICATION_S

    @property
    def engine_s(self) -> float:
        """What vLLM calls init engine."""
        return self.compile_s + self.graphs_s

    @property
    def total_s(self) -> float:
        return self.processes_s + self.weights_s + self.engine_s + self.application_s


def startup(settings: Settings, weights_bytes: float, factor: float = 1.0) -> Startup:
    """`factor` is how much slower this host is."""
    return Startup(
        processes_s=factor * _PROCESSES_S,
        weights_s=factor * (_MODEL_S + weights_bytes / _BYTES_PER_S),
        compile_s=0.0 if settings.enforce_eager else factor * _COMPILED_S,
        graphs_s=factor * _GRAPH_S * len(capture_sizes(settings)),
    )
