"""Is the load generator fast, true and cheap? tuner beside vLLM's `bench serve` and GuideLLM, in the same run.

    python benchmarks/load [cpu] [clean] [accuracy] [users] [engine] [aa] [startup] [--rounds 2]
                           [--vllm-python PYTHON] [--guidellm PATH] [--model MODEL]

    cpu       CPU per chunk and per request, on one core
    clean     the highest rate at which TTFT is true, on one core
    accuracy  latencies and throughput against a server whose pace is known
    users     10,000 users at once
    engine    the real CPU engine: agreement with `vllm bench serve`
    aa        40 comparisons of the CPU engine with itself: how many are called different
    startup   time to the first request

Without names all of them are run, which takes about 40 minutes. Close everything else first: the server gets a core of its own,
and needs it; as root, the processes run with a priority that keeps others away. A peer that is not installed is left out, and
said to be. MODEL is that of `tuner demo-model`.
"""

import argparse
import shutil
from collections.abc import Callable
from pathlib import Path

from accuracy import accuracy
from cost import cpu, startup
from engine import aa, engine
from machine import CORES
from peers import GuideLLM, Peer, VllmBench
from rate import clean, users
from show import console

SECTIONS = ("cpu", "clean", "accuracy", "users", "engine", "aa", "startup")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sections", nargs="*", metavar="section", help=", ".join(SECTIONS))
    parser.add_argument("--vllm-python", type=Path, default=Path(".engine/bin/python"))
    parser.add_argument("--guidellm", type=Path, default=Path(shutil.which("guidellm") or ".peers/bin/guidellm"))
    parser.add_argument("--model", type=Path, default=Path(".demo/model"))
    parser.add_argument("--rounds", type=int, default=2)
    arguments = parser.parse_args()
    if unknown := set(arguments.sections) - set(SECTIONS):
        parser.error(f"there is no section {', '.join(sorted(unknown))}: there are {', '.join(SECTIONS)}")
    chosen = arguments.sections or SECTIONS
    model, python = arguments.model.resolve(), arguments.vllm_python.absolute()
    bench = VllmBench(python, model)
    peers: list[Peer] = []
    for peer, path in (
        (bench, python.parent / "vllm"),
        (GuideLLM(arguments.guidellm.absolute(), model), arguments.guidellm),
    ):
        if path.is_file() and model.is_dir():
            peers.append(peer)
        else:
            console.print(f"{peer.name}: not installed ({path})")
    console.print(f"{len(CORES)} cores")
    work: dict[str, Callable[[], None]] = {
        "cpu": lambda: cpu(peers, arguments.rounds),
        "clean": clean,
        "accuracy": lambda: accuracy(peers),
        "users": users,
        "engine": lambda: engine(bench, model, 2 * arguments.rounds),
        "aa": lambda: aa(python, model),
        "startup": lambda: startup(peers, arguments.rounds),
    }
    for section in chosen:
        if section in ("engine", "aa") and bench not in peers:
            console.print(f"{section}: left out, as there is no engine")
            continue
        console.rule(section)
        work[section]()


if __name__ == "__main__":
    main()
