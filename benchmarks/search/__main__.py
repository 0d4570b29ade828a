"""How few launches a search needs: strategies beside each other on surfaces of recorded or simulated launches.

    python benchmarks/search --surface FILE --space FILE --strategies ours,tpe,gp,random --trials 40 --seeds 30 --json OUT
    python benchmarks/search [--docs docs/search.md] [--json OUT [--resume]] [NAME ...]

The first form runs any file that `tuner optimize --engine replay` reads (docs/replay.md), the second those of
benchmarks/data/search that are answered point by point, or some by name. The defaults are the first launch and count.
docs/search.md says what the figures are.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before NumPy is imported: each process has its core
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import argparse
import json
import sys
import time
from collections.abc import Mapping, Sequence
from math import isfinite
from pathlib import Path
from typing import Any

import document
from catalogue import ENTRIES, Entry
from expected import check_said, server_of
from figures import about, figures
from pool import open_pool
from running import Asked, run
from strategies import PARTS, check
from tables import show

from tuner.cli.console import check_writable, write_file
from tuner.errors import TunerError, UsageError

_MAIN = ("ours", "tpe", "gp", "random")
_ABLATIONS = tuple(f"ours-{part}" for part in PARTS)


def main() -> None:
    arguments = _parser().parse_args()
    strategies = tuple(arguments.strategies.split(",")) if arguments.strategies else _MAIN
    try:
        check(strategies)
        _check_outputs(arguments)
        entries = _entries(arguments)
        if arguments.surface is None and arguments.strategies is None:
            strategies = (*_MAIN, *_ABLATIONS)
        seeds = [_seeds(entry, strategies, arguments) for entry in entries]
        known = _known(entries, seeds, arguments)
        results: list[dict[str, Any]] = []
        for place, entry in enumerate(entries):
            results.append(known[place] or _run(entry, seeds[place], arguments))
            _keep([*results, *filter(None, known[place + 1 :])], arguments)
        show(results, strategies)
        if arguments.docs:
            document.write(arguments.docs, results, strategies)
    except TunerError as error:
        sys.stderr.write(f"search: {error}\n")
        sys.exit(2 if isinstance(error, UsageError) else 1)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(entry.name for entry in ENTRIES))
    parser.add_argument("--surface", type=Path, metavar="FILE", help="recorded launches")
    parser.add_argument("--space", metavar="FILE", help="the search space, a file or a shipped one's name")
    parser.add_argument("--objective", default="throughput")
    parser.add_argument("--slo", action="append", default=[], metavar="NAME=LIMIT")
    parser.add_argument("--price", type=float, help="of one GPU for an hour, for --objective cost")
    parser.add_argument("--model", type=Path, metavar="FOLDER", help="with the config.json of the model")
    parser.add_argument("--workload", metavar="NAME|FILE", help="under which it was recorded")
    parser.add_argument("--strategies", help="with commas; default: ours,tpe,gp,random")
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--seeds", type=int, default=30)
    parser.add_argument("--ablation-seeds", type=int, default=10, help="of what each part is worth; 0 for none")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    parser.add_argument("--json", type=Path, metavar="OUT")
    parser.add_argument(
        "--resume", action="store_true", help="keep the surfaces that OUT has already, of as many seeds"
    )
    parser.add_argument("--docs", type=Path, metavar="FILE", help="write the figures into docs/search.md")
    return parser


def _check_outputs(arguments: argparse.Namespace) -> None:
    """Before minutes are spent on what would be written there. Raises UsageError."""
    if arguments.json:
        check_writable("--json", arguments.json)
    if arguments.docs:
        document.check(arguments.docs)


def _entries(arguments: argparse.Namespace) -> Sequence[Entry]:
    if min(arguments.trials, arguments.seeds, arguments.jobs) < 1:
        raise UsageError("--trials, --seeds and --jobs are at least 1")
    if arguments.price is not None and not (isfinite(arguments.price) and arguments.price > 0):
        raise UsageError(f"--price is {arguments.price:g} and must be a number above 0")
    if arguments.surface is None:
        known = {entry.name: entry for entry in ENTRIES}
        if unknown := [name for name in arguments.names if name not in known]:
            raise UsageError(f"there is no surface {unknown[0]}: there are {', '.join(known)}")
        return [known[name] for name in arguments.names] or [entry for entry in ENTRIES if not entry.interpolates]
    if arguments.space is None:
        raise UsageError("--surface needs the --space that it was recorded in")
    entry = Entry(
        name=arguments.surface.stem,
        kind="given",
        surface=arguments.surface,
        space=arguments.space,
        objective=arguments.objective,
        slos=tuple(arguments.slo),
        price_per_hour=arguments.price,
        model=arguments.model,
        workload=arguments.workload,
    )
    return [entry]


def _seeds(entry: Entry, strategies: Sequence[str], arguments: argparse.Namespace) -> Mapping[str, int]:
    """How many searches of each strategy: where none was named ablations have fewer, on some surfaces."""
    if arguments.surface is not None or arguments.strategies is not None:
        return dict.fromkeys(strategies, arguments.seeds)
    fewer = min(arguments.ablation_seeds, arguments.seeds) if entry.ablates else 0
    asked = {name: fewer if name in _ABLATIONS else arguments.seeds for name in strategies}
    return {name: seeds for name, seeds in asked.items() if seeds}


def _known(
    entries: Sequence[Entry], seeds: Sequence[Mapping[str, int]], arguments: argparse.Namespace
) -> Sequence[dict[str, Any] | None]:
    """What an earlier run has kept of each surface, None where it has nothing. Raises UsageError for a file that is none of its
    own."""
    if not arguments.resume:
        return [None] * len(entries)
    if arguments.json is None:
        raise UsageError("--resume needs the --json OUT that was written before")
    if not arguments.json.exists():
        return [None] * len(entries)
    try:
        kept = json.loads(arguments.json.read_text())
        kept = kept.get("surfaces", [kept])
        return [
            next((one for one in kept if _says(one, entry, asked, arguments.trials)), None)
            for entry, asked in zip(entries, seeds, strict=True)
        ]
    except (AttributeError, LookupError, OSError, TypeError, ValueError) as error:
        raise UsageError(f"{arguments.json} is not what --json has written: {error}") from error


def _says(found: Mapping[str, Any], entry: Entry, strategies: Mapping[str, int], trials: int) -> bool:
    """Whether it is of this surface, with as many searches of each strategy."""
    told = {name: len(one["launches"]) for name, one in found["strategies"].items()}
    return (found["name"], found["trials"], told) == (entry.name, trials, dict(strategies))


def _keep(results: Sequence[Mapping[str, Any]], arguments: argparse.Namespace) -> None:
    if arguments.json:
        found = results[0] if arguments.surface is not None else {"surfaces": results}
        write_file("--json", arguments.json, json.dumps(found, indent=1) + "\n")


def _run(entry: Entry, strategies: Mapping[str, int], arguments: argparse.Namespace) -> dict[str, Any]:
    pool = open_pool(
        entry.surface, entry.space, entry.objective, entry.slos, entry.interpolates, price_per_hour=entry.price_per_hour
    )
    check_said(pool.header, entry.surface, entry.model, entry.workload)
    try:
        server, why = server_of(pool, entry.surface, entry.model, entry.workload), None
    except UsageError as error:
        server, why = None, str(error)
        sys.stderr.write(f"search: {entry.name}: nothing is predicted: {error}\n")
    asked, began_s = Asked(pool=pool, server=server, trials=arguments.trials), time.monotonic()
    searches = run(asked, strategies, arguments.jobs)
    sys.stderr.write(f"search: {entry.name}: {time.monotonic() - began_s:.0f} s\n")
    return {
        "name": entry.name,
        "kind": entry.kind,
        **about(pool),
        "prior": why is None,
        "why_no_prior": why,
        "trials": arguments.trials,
        "seeds": arguments.seeds,
        "strategies": {name: figures(pool, searches[name]) for name in strategies},
    }


if __name__ == "__main__":
    main()
