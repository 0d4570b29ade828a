"""An endpoint and a workload in; every request's record and the steady window out. Knows nothing of metrics."""
