"""`python -m tuner.sim [--gpu NAME] [--speed X] [--seed N] serve MODEL ...`: a simulated `vllm serve MODEL ...`, to its end.

It starts as vLLM does, in simulated seconds, fails as vLLM does, with vLLM's texts and exit codes, listens when it is ready,
and ends with SIGTERM. `--gpu` is a shipped search space or the file of one.
"""

import argparse
import gc
import os
import random
import resource
import signal
import socket
import sys
import time
from collections.abc import Sequence

from tuner.errors import UsageError
from tuner.predict.copies import make_server
from tuner.predict.memory import predict_memory
from tuner.predict.settings import resolve
from tuner.predict.shape import read_shape
from tuner.sim import arguments, log
from tuner.sim.arguments import Arguments
from tuner.sim.card import SALT_VARIABLE, Card, card_named
from tuner.sim.http import Loop
from tuner.sim.server import SimulatedServer
from tuner.sim.startup import startup
from tuner.sim.tokens import Tokenizer
from tuner.types import Failed

#: How much launches of the same settings differ, and steps of one launch.
LAUNCH_SIGMA, STEP_SIGMA = 0.01, 0.03
#: A start is faster than what comes after it by this, for nothing is measured in it.
STARTUP_SPEED = 500.0
_BACKLOG = 4096


def main(argv: Sequence[str]) -> int:
    """The exit code of what does not start; else it does not return."""
    at = argv.index("serve") if "serve" in argv else len(argv)
    own = _own(argv[:at])
    try:
        card = card_named(own.gpu)
    except UsageError as error:
        log.usage(str(error))
        return 2
    log.begin(card.names[0] if card.names else own.gpu, own.speed)
    try:
        given = arguments.parse(argv[at + 1 :])
    except arguments.Refused as refused:
        log.usage(str(refused))
        return 2
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((given.host, given.port))
        except OSError as error:
            log.not_bound(error)
            return 1
        ready = _start(given, card, own.speed, own.seed)
        if ready is None:
            return 1
        server, took_s = ready
        gc.disable()  # nothing here makes cycles, and a collection would make tokens late
        resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
        loop = Loop(listener, server)
        loop.wake_on(_end_on_signals())
        listener.listen(_BACKLOG)
        log.serving(given.host, given.port, took_s)
        return loop.run()


def _start(given: Arguments, card: Card, speed: float, seed: int) -> tuple[SimulatedServer, float] | None:
    """A server that is ready, and the seconds that vLLM would take to it; None, with the reason in the log, where it would
    fail."""
    log.arguments(given.model, {"host": given.host, "port": given.port}, given.params)
    try:
        shape = read_shape(given.model)
        settings = resolve(given.params, shape, card)
    except UsageError as error:
        log.no_model(given.model, str(error))
        return None
    if isinstance(settings, Failed):
        log.refused(settings)
        return None
    salt = f"{seed}:{os.environ.get(SALT_VARIABLE, '')}:{given.model}:{sorted(given.params.items())}"
    rng = random.Random(salt)
    launch = _factor(rng, LAUNCH_SIGMA)
    memory = predict_memory(shape, card, settings)
    phases = startup(settings, memory.weights_bytes, launch)

    def wait(seconds: float) -> None:
        time.sleep(seconds / speed / STARTUP_SPEED)

    log.configured(settings, shape.architecture)
    wait(phases.processes_s + phases.weights_s)
    log.loaded(memory.weights_bytes, phases.weights_s)
    if memory.failed is not None:
        log.died(memory.failed)
        return None
    log.cache(memory.kv_cache_bytes, memory.kv_cache_tokens, settings.max_model_len)
    wait(phases.engine_s + phases.application_s)
    if phases.graphs_s:
        log.captured(phases.graphs_s, memory.graphs_bytes)
    log.initialized(phases.engine_s, phases.compile_s)
    scheduler = make_server(shape, card, settings, memory, noise=lambda: launch * _factor(rng, STEP_SIGMA))
    tokenizer = Tokenizer(shape.vocab)
    return SimulatedServer(scheduler, settings, memory, tokenizer, given.served, speed), phases.total_s


def _factor(rng: random.Random, sigma: float) -> float:
    return max(0.5, rng.gauss(1.0, sigma))


def _own(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tuner.sim", usage=f"{(__doc__ or '').split('`')[1]}")
    parser.add_argument("--gpu", default="t4")
    parser.add_argument("--speed", type=_positive, default=1.0)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args(argv)


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < 1e6:
        raise ValueError
    return value


def _end_on_signals() -> int:
    """End as vLLM does: with exit code 0, and open streams cut. Returns a descriptor that can be read when a signal has come:
    one that comes just before a wait would not end it."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: os._exit(0))
    return reader


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
