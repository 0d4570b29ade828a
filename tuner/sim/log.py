"""What happens while a server starts in; vLLM 0.32's own lines, on stdout, out.

The texts are those that tuner.predict.memory and tuner.launch.failures read, with vLLM's file names and no line numbers. The
first line of every log says that all of it is simulated.
"""

import os
import sys
import time
from collections.abc import Mapping

from tuner.predict.settings import Settings
from tuner.types import Failed, FailureKind

VERSION = "0.32.0+simulated"
_GIB = 1024**3
READY = "SIMULATED: ready after"
_WRAPPER = "RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}"


def begin(card: str, speed: float) -> None:
    _print(
        f"SIMULATED: this is no vLLM. Times come from tuner's model of vLLM on {card}, {speed:g} simulated seconds a second;"
        " nothing was measured on a GPU"
    )


def api(file: str, text: str) -> None:
    """A line of the API server."""
    _say("APIServer", file, text)


def engine(file: str, text: str) -> None:
    """A line of EngineCore, which is no process of its own here."""
    _say("EngineCore", file, text)


def arguments(model: str, address: Mapping[str, object], params: Mapping[str, object]) -> None:
    api("api_utils.py", f"non-default args: { ({'model_tag': model, **address, 'model': model, **params}) }")


def configured(settings: Settings, architecture: str) -> None:
    api("model.py", f"Resolved architecture: {architecture}")
    api("model.py", f"Using max model len {settings.max_model_len}")
    if settings.enable_chunked_prefill:
        tokens = settings.max_num_batched_tokens
        api("scheduler.py", f"Chunked prefill is enabled with max_num_batched_tokens={tokens}.")
    engine("core.py", f"Initializing a V1 LLM engine (v{VERSION}) with config: {settings.params}")


def loaded(weights_bytes: float, seconds: float) -> None:
    engine("model_runner.py", f"Model loading took {_gib(weights_bytes)} GiB memory and {seconds:.6f} seconds")


def cache(kv_cache_bytes: float, tokens: int, max_model_len: int) -> None:
    engine("gpu_worker.py", f"Available KV cache memory: {_gib(kv_cache_bytes)} GiB")
    engine(
        "kv_cache_utils.py",
        f"GPU KV cache size: {tokens:,} tokens, Maximum concurrency for {max_model_len:,} tokens per request:"
        f" {tokens / max_model_len:.2f}x",
    )


def captured(seconds: float, graphs_bytes: float) -> None:
    engine("model_runner.py", f"Graph capturing finished in {seconds:.0f} secs, took {_gib(graphs_bytes)} GiB")


def initialized(seconds: float, compile_s: float) -> None:
    text = f"init engine (profile, create kv cache, warmup model) took {seconds:.2f} s"
    engine("core.py", f"{text} (compilation: {compile_s:.2f} s)" if compile_s else text)


def serving(host: str, port: int, seconds: float) -> None:
    api("entry.py", f"Starting vLLM server on http://{host}:{port}")
    for text in (
        f"Started server process [{os.getpid()}]",
        "Waiting for application startup.",
        "Application startup complete.",
    ):
        _print(f"(APIServer pid={os.getpid()}) INFO:     {text}")
    _print(f"{READY} {seconds:.2f} s")


def usage(sentence: str) -> None:
    """argparse's end; the exit code is 2."""
    _print(f"usage: vllm serve [model_tag] [options]\nvllm serve: error: {sentence}")


def refused(failed: Failed) -> None:
    """What pydantic makes of a ValueError in vLLM's configuration; the exit code is 1."""
    _print("Traceback (most recent call last):")
    _print("pydantic_core._pydantic_core.ValidationError: 1 validation error for VllmConfig")
    _print(
        f"  Value error, {failed.message} [type=value_error, input_value=ArgsKwargs((), {{...}}), input_type=ArgsKwargs]"
    )


def died(failed: Failed) -> None:
    """EngineCore's end while it starts; the exit code is 1."""
    error = "torch.OutOfMemoryError" if failed.kind is FailureKind.OUT_OF_MEMORY else "ValueError"
    text = failed.message if failed.message.startswith(error) else f"{error}: {failed.message}"
    stamp = time.strftime("%m-%d %H:%M:%S")
    for line in ("EngineCore failed to start.", "Traceback (most recent call last):", text):
        _print(f"(EngineCore pid={os.getpid()}) ERROR {stamp} [core.py] {line}")
    _print(f"(APIServer pid={os.getpid()}) {_WRAPPER}")


def no_model(model: str, sentence: str) -> None:
    """A model that cannot be read; the exit code is 1."""
    _print("Traceback (most recent call last):")
    _print(f"ValueError: Invalid repository ID or local directory specified: {model!r}. {sentence}")


def not_bound(error: OSError) -> None:
    """The exit code is 1."""
    _print(f"Traceback (most recent call last):\nOSError: [Errno {error.errno}] {os.strerror(error.errno or 0)}")


def _gib(size: float) -> str:
    return f"{size / _GIB:.2f}"


def _say(process: str, file: str, text: str) -> None:
    _print(f"({process} pid={os.getpid()}) INFO {time.strftime('%m-%d %H:%M:%S')} [{file}] {text}")


def _print(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
