"""A page that should be vLLM's /metrics in; its totals, or the one sentence why there are none, out. Pure."""

from tuner.errors import RunError
from tuner.measure.server_page import NECESSARY, totals

#: Other engines, by how their metrics begin.
_OTHERS = {"sglang:": "SGLang", "sglang_": "SGLang", "tgi_": "TGI", "nv_inference_": "Triton", "llamacpp:": "llama.cpp"}
#: Metrics that a process in Python has, whatever it serves.
_OF_PYTHON = ("python_info", "process_cpu_seconds_total")


def counted(text: str, url: str) -> dict[str, float]:
    """Value by name. Raises RunError, naming `url`, where it is no page of a vLLM that counts its tokens."""
    try:
        found = totals(text)
    except ValueError as error:
        raise RunError(f"{url} is no page of Prometheus metrics ({error}): is this a vLLM server?") from error
    if missing := [name for name in NECESSARY if name not in found]:
        raise RunError(why_absent(text, url, missing[0]))
    return found


def why_absent(text: str, url: str, name: str) -> str:
    """The sentence for a page without the metric `name`."""
    lines = text.splitlines()

    def has(*begins: str) -> bool:
        return any(line.startswith(begins) for line in lines)

    if text.lstrip()[:1] == "<":
        return f"{url} is a web page and no metrics: something stands before the server; give the server's own address"
    if other := next((engine for begins, engine in _OTHERS.items() if has(begins)), None):
        return f"{url} is of {other} and not of vLLM: tuner knows the metrics of vLLM only"
    if has("vllm:"):
        return f"{url} has metrics of vLLM, but no {name}: tuner needs a version of vLLM that tells it"
    if has(*_OF_PYTHON):
        return f"{url} has no {name}: is it a vLLM that was started with --disable-log-stats? Start it without"
    return f"{url} has no {name}: is this a vLLM server?"
