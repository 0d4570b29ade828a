"""Runs inside vLLM's interpreter: imports vLLM once, says what settings it would use, and forks servers that import nothing.

In: one JSON object a datagram on the socket whose number is the first argument: {"resolve": ARGUMENTS}, or {"start": ARGUMENTS,
"environment": {...}, "cores": [...]} with two descriptors, the control socket of the server's guard and its log. ARGUMENTS is
what follows `vllm serve`. Out: first {"version", "platform", "arguments", "import_s"}, then for each request {"resolved":
{...}, "digest", "compile_key"}, {"pid": N}, or {"error": sentence, "usage": bool}. It imports nothing of tuner, and ends when
its socket is closed, which is also how it dies with tuner. Its servers end with it: each one's guard holds a pipe to it.
"""

import contextlib
import gc
import importlib.util
import json
import multiprocessing
import os
import select
import signal
import socket
import sys
import tempfile
import time
import traceback
import types
from pathlib import Path
from typing import Any


def _sibling(name: str) -> Any:
    """A file of this folder as a module, although the folder is not on the path."""
    specification = importlib.util.spec_from_file_location(f"tuner_{name}", Path(__file__).with_name(f"{name}.py"))
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


guarding, preparing, resolving, digesting = map(_sibling, ("guard", "preparing", "resolving", "digest"))
_MAX_REQUEST_BYTES = 1 << 20


class ForkServer:
    """One process with vLLM imported."""

    def __init__(self, channel: socket.socket) -> None:
        began_s = time.monotonic()
        self._channel = channel
        self._parser = resolving.make_parser()
        self._lifeline, self._alive = os.pipe()
        self._children: set[int] = set()
        self._say({**resolving.hello(self._parser), "import_s": time.monotonic() - began_s})

    def run(self) -> None:
        """Answer until the channel is closed."""
        while True:
            if select.select([self._channel], [], [], 1.0)[0]:
                request, descriptors, _, _ = socket.recv_fds(self._channel, _MAX_REQUEST_BYTES, 2)
                if not request:
                    return
                self._say(self._answer(json.loads(request), descriptors))
            for child in list(self._children):
                if os.waitpid(child, os.WNOHANG)[0]:
                    self._children.discard(child)

    def _say(self, answer: dict[str, Any]) -> None:
        self._channel.send(json.dumps(answer).encode())

    def _answer(self, request: dict[str, Any], descriptors: list[int]) -> dict[str, Any]:
        environment = dict(os.environ)
        try:
            if "start" in request:
                return self._start(request["start"], request["environment"], request["cores"], *descriptors)
            return self._resolve(request["resolve"])
        except resolving.Refused as error:
            return {"error": resolving.sentence(error), "usage": True}
        except SystemExit as error:
            return {"error": f"vLLM exits with {error.code}", "usage": True}
        except Exception as error:  # noqa: BLE001  vLLM raises anything; its sentence is the answer
            return {"error": resolving.sentence(error), "usage": False}
        finally:
            os.environ.clear()  # resolving writes variables (LD_PRELOAD, worker method); the next call must not see them
            os.environ.update(environment)

    def _resolve(self, arguments: list[str]) -> dict[str, Any]:
        args, config = resolving.configured(self._parser, arguments)
        told: dict[str, Any] = {"digest": digesting.digest(args, config), "compile_key": digesting.compile_key(config)}
        told["resolved"] = resolving.resolved(args, config, arguments)
        preparing.prepare(config)
        return told

    def _start(
        self, arguments: list[str], environment: dict[str, str], cores: list[int], control: int, log: int
    ) -> dict[str, Any]:
        if reason := _unsafe(arguments):
            return {"error": reason, "usage": False}
        gc.collect()
        gc.freeze()  # the children share these pages as long as nobody counts references in them
        pid = os.fork()
        if pid == 0:
            self._lead(arguments, environment, cores, control, log)
        os.close(control)
        os.close(log)
        self._children.add(pid)
        return {"pid": pid}

    def _lead(
        self, arguments: list[str], environment: dict[str, str], cores: list[int], control: int, log: int
    ) -> None:
        """In the first fork: become the leader of a session and guard the server, which is the second fork."""
        code = 1
        try:
            os.setsid()
            self._channel.close()
            os.close(self._alive)
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            os.dup2(log, 1)
            os.dup2(log, 2)
            os.close(log)
            name = guarding.adopt()
            engine = os.fork()
            if engine == 0:
                guarding.rename(name)
                os.setpgid(0, 0)
                os.close(control)
                os.close(self._lifeline)
                if set(cores) != os.sched_getaffinity(0):
                    with contextlib.suppress(OSError):  # such as a core that was taken away since
                        os.sched_setaffinity(0, cores)
                code = _serve(self._parser, arguments, environment)
            else:
                code = guarding.guard(engine, control, self._lifeline, scratch=environment.get(guarding.SCRATCH))
                guarding.report(control, code)
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)  # nothing of the fork server's own is to be cleaned up here


def _unsafe(arguments: list[str]) -> str | None:
    """Why a server of these arguments must not be forked; None if it may."""
    import torch
    from vllm.platforms.interface import in_wsl

    if torch.cuda.is_initialized():
        return "CUDA is initialized in the fork server already"
    if in_wsl():
        return "NVML does not work in forks under WSL"
    if "ray" in arguments or "--numa-bind" in arguments:
        return "Ray and --numa-bind start their own processes"
    return None


def _serve(parser: Any, arguments: list[str], environment: dict[str, str]) -> int:
    """In the second fork: what `vllm serve ARGUMENTS` does, with nothing left to import. Returns its exit code."""
    import vllm.logger
    from vllm.entrypoints.cli.serve import ServeSubcommand

    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.update(environment)
    tempfile.tempdir = None  # it was looked up before; now TMPDIR is this server's own
    sys.argv = ["vllm", "serve", *arguments]
    _fork_the_rest()
    _sum_metrics_where_vllm_does()
    try:
        args = parser.parse_args(arguments)
        if configure := getattr(vllm.logger, "configure_logging_from_args", None):
            configure(args)
        command = ServeSubcommand()
        command.validate(args)
        command.cmd(args)
    except resolving.Refused as error:
        print(f"vllm serve: error: {error}", file=sys.stderr)  # noqa: T201
        return 2
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:  # noqa: BLE001  as Python itself would end
        traceback.print_exc()
        return 1
    return 0


def _fork_the_rest() -> None:
    """EngineCore and the workers are forked too, as vLLM does itself where the platform does not ask for spawn. So are API
    servers where there are several, which it spawns: each would import vLLM again, for 20 s on an H200's host."""
    import torch
    import vllm.v1.utils
    from vllm.utils import system_utils

    original = system_utils.get_mp_context

    def get_mp_context() -> Any:
        return original() if torch.cuda.is_initialized() else multiprocessing.get_context("fork")

    _replace("get_mp_context", original, get_mp_context)
    forking = {**vars(multiprocessing), "get_context": lambda method=None: multiprocessing.get_context("fork")}
    vllm.v1.utils.multiprocessing = types.SimpleNamespace(**forking)


def _sum_metrics_where_vllm_does() -> None:
    """With several API servers vLLM has prometheus_client keep the metrics in files, of all processes. That looks for it when
    it is imported, which was long ago here: without this /metrics has no metric of vLLM."""
    import prometheus_client.values
    import vllm.v1.metrics.prometheus

    original = vllm.v1.metrics.prometheus.setup_multiprocess_prometheus

    def setup_multiprocess_prometheus() -> None:
        original()
        prometheus_client.values.ValueClass = prometheus_client.values.get_value_class()

    _replace("setup_multiprocess_prometheus", original, setup_multiprocess_prometheus)


def _replace(name: str, original: Any, other: Any) -> None:
    """In every module of vLLM that has imported it."""
    for named, module in list(sys.modules.items()):
        if named.startswith("vllm.") and vars(module).get(name) is original:
            setattr(module, name, other)


def _keep_titles_possible() -> None:
    """vLLM names its processes by setproctitle, which finds where their title lies by the environment as it was when the
    process began: once a variable is set it no longer does, and says nothing. tuner tells EngineCore and API servers apart by
    these titles (tuner/measure/roles.py)."""
    with contextlib.suppress(ImportError):
        import setproctitle

        setproctitle.getproctitle()


if __name__ == "__main__":
    _keep_titles_possible()
    sys.path.pop(0)  # this folder, whose vllm.py would hide vLLM
    os.dup2(2, 1)  # whatever vLLM prints goes where its errors go
    with socket.socket(fileno=int(sys.argv[1])) as channel:
        ForkServer(channel).run()
