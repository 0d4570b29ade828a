"""What the service counts of itself, and how Prometheus reads it.

Requests are counted by the template of their route, never by their path: what a client makes up is no label.
"""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from tuner.record.queue import CANCELLED, FAILED, FINISHED, PAUSED, QUEUED, RUNNING

#: Of the text that `generate_latest` writes (Prometheus, exposition formats).
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_STATES = (QUEUED, RUNNING, PAUSED, FINISHED, FAILED, CANCELLED)
_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class Counts:
    """Of one service."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        of = self._registry
        self._jobs = Gauge("tuner_jobs", "Studies that were asked for, by their state.", ["state"], registry=of)
        self._finished = Gauge("tuner_trials_finished", "Trials that ended, of the studies that run.", registry=of)
        self._launches = Gauge("tuner_launches", "Servers that were started for studies of the database.", registry=of)
        self._clients = Gauge("tuner_sse_clients", "Clients that watch a study.", registry=of)
        self._requests = Counter("tuner_requests", "Requests.", ["method", "route", "status"], registry=of)
        self._seconds = Histogram(
            "tuner_request_seconds", "Time to an answer.", ["method", "route"], buckets=_BUCKETS, registry=of
        )

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        known = method if method in ("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS") else "other"
        self._requests.labels(known, route, str(status)).inc()
        self._seconds.labels(known, route).observe(seconds)

    def text(self, jobs: dict[str, int], finished: int, launches: int, clients: int) -> bytes:
        """As it is now."""
        for state in _STATES:
            self._jobs.labels(state).set(jobs.get(state, 0))
        self._finished.set(finished)
        self._launches.set(launches)
        self._clients.set(clients)
        return generate_latest(self._registry)
