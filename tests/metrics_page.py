"""A /metrics page as vLLM's, made by the same library, of requests that a test finishes; and a server of such a page."""

import threading
from collections.abc import Callable, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

#: vLLM's for a max_model_len of 8192 (vllm/v1/metrics/buckets.py, build_1_2_5_buckets).
BOUNDS = [digit * 10**power for power in range(4) for digit in (1, 2, 5)]


class Page:
    """`engines` is how many label sets each metric has; request `number` is counted by engine number % engines."""

    def __init__(self, engines: int = 1) -> None:
        self._registry = CollectorRegistry()
        self._engines = engines
        self._finished = 0
        labels = ["engine"]
        self._success = Counter("vllm:request_success", "", [*labels, "finished_reason"], registry=self._registry)
        self._histograms = [
            Histogram(f"vllm:request_{kind}_tokens", "", labels, buckets=BOUNDS, registry=self._registry)
            for kind in ("prompt", "generation")
        ]
        gauges = ("num_requests_running", "num_requests_waiting")
        self._gauges = [Gauge(f"vllm:{name}", "", labels, registry=self._registry) for name in gauges]
        caches = ("prefix_cache_queries", "prefix_cache_hits")
        self._caches = [Counter(f"vllm:{name}", "", labels, registry=self._registry) for name in caches]
        for engine in map(str, range(engines)):
            self._success.labels(engine, "stop")
            for metric in (*self._histograms, *self._gauges, *self._caches):
                metric.labels(engine)

    def finish(self, prompt: int, generated: int, hits: int = 0) -> None:
        engine = str(self._finished % self._engines)
        self._finished += 1
        self._success.labels(engine, "stop" if self._finished % 3 else "length").inc()
        for histogram, tokens in zip(self._histograms, (prompt, generated), strict=True):
            histogram.labels(engine).observe(tokens)
        for counter, tokens in zip(self._caches, (prompt, hits), strict=True):
            counter.labels(engine).inc(tokens)

    def in_flight(self, running: int, waiting: int) -> None:
        for gauge, value in zip(self._gauges, (running, waiting), strict=True):
            gauge.labels("0").set(value)

    def text(self) -> str:
        return generate_latest(self._registry).decode()


class PageServer:
    """`with PageServer(answer) as server:` answers GET `server.url`/metrics with what `answer()` gives: (status, text)."""

    def __init__(self, answer: Callable[[], tuple[int, str]]) -> None:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                status, text = answer() if self.path == "/metrics" else (404, "")
                body = text.encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *arguments: object) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def at_most(values: Sequence[int]) -> dict[float, float]:
    """The cumulative counts of a histogram with vLLM's bounds."""
    return {bound: float(sum(value <= bound for value in values)) for bound in (*map(float, BOUNDS), float("inf"))}
