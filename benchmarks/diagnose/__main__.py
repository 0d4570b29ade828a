"""How often a diagnosis is right: servers whose cause is known, because it was provoked, on a real engine.

    python benchmarks/diagnose [--gpu cpu|auto] [--model MODEL] [--vllm-python PYTHON] [--json OUT] [NAME ...]

The situations are data (tests/diagnose/provoked.yaml). Each is launched, loaded and diagnosed as a trial is; then the remedy
that was named first is launched in the same place, and counts as gained where throughput is over 3 % higher. Prints what was
told of each, the confusion table, and the alarms on the healthy. What needs a GPU is left out without one, and said.
"""

import argparse
import json
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from provoke import GAINED, Provoked, Provoker
from rich.console import Console
from rich.table import Table
from rich.text import Text
from situations import Situation, read_situations

from tuner.diagnose.causes import Cause

console = Console(width=170, highlight=False)
#: What no alarm is.
QUIET = frozenset((Cause.HEALTHY, Cause.NO_LOAD, Cause.DECODE, Cause.COMPUTE, Cause.INSUFFICIENT))
FILE = Path(__file__).resolve().parents[2] / "tests" / "diagnose" / "provoked.yaml"


def show(found: Sequence[Provoked]) -> None:
    table = Table("situation", "true cause", "told first", "told second", "evidence of the first", "remedy", "gain")
    for one in found:
        remedy = one.remedy or ("none" if one.failure is None else "")
        gain = "" if one.gain is None else f"{one.gain:+.0%}"
        told = one.failure or one.evidence
        cells = (one.name, one.cause or "healthy", one.first, one.second, told, remedy, gain)
        table.add_row(*(Text(cell) for cell in cells))
    console.print(table)


def confusion(found: Sequence[Provoked]) -> None:
    """True causes down, told ones across, and how many."""
    counts = Counter((one.cause or "healthy", one.first) for one in found if one.failure is None)
    told = sorted({first for _, first in counts})
    table = Table("true cause", *told, title="the cause that was named first")
    for cause in sorted({cause for cause, _ in counts}):
        table.add_row(cause, *(str(counts[cause, first] or "") for first in told))
    console.print(table)


def summary(found: Sequence[Provoked]) -> None:
    sick = [one for one in found if one.cause is not None and one.failure is None]
    healthy = [one for one in found if one.cause is None and one.failure is None]
    first = sum(one.first == one.cause for one in sick)
    among = sum(one.cause in (one.first, one.second) for one in sick)
    console.print(f"named first: {first} of {len(sick)}; among the first two: {among} of {len(sick)}")
    alarms = [one.name for one in healthy if one.first not in QUIET]
    console.print(f"alarms on healthy servers: {len(alarms)} of {len(healthy)} {', '.join(alarms)}".rstrip())
    tried = [one for one in sick if one.has_remedy]
    gained = sum(one.gain is not None and one.gain > GAINED for one in tried)
    console.print(f"the remedy named first gained more than {GAINED:.0%}: {gained} of {len(tried)} that have one")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("model", ".demo/model"), ("vllm-python", None), ("gpu", "auto"), ("json", None)):
        parser.add_argument(f"--{name}", default=default)
    parser.add_argument("--engine-arg", action="append", default=[])
    parser.add_argument("--max-model-len", type=int)
    parser.add_argument("names", nargs="*", metavar="NAME")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, Provoker(asked, Path(folder)) as provoker:
        situations = [one for one in read_situations(FILE, provoker.kind) if not asked.names or one.name in asked.names]
        found: list[Provoked] = []
        for one in situations:
            found.append(_told(provoker, one))
            if asked.json:
                Path(asked.json).write_text(json.dumps([asdict(each) for each in found], indent=1) + "\n")
    left_out = [one.name for one in read_situations(FILE, None) if one.name not in {other.name for other in situations}]
    show(found)
    confusion(found)
    summary(found)
    if left_out and not asked.names:
        console.print(f"left out, not for this engine: {', '.join(left_out)}")


def _told(provoker: Provoker, situation: Situation) -> Provoked:
    found = provoker.provoke(situation)
    gain = "" if found.gain is None else f", {found.remedy}: {found.gain:+.0%}"
    console.print(f"{found.name}: {found.failure or found.first} ({found.cause or 'healthy'}){gain}")
    return found


if __name__ == "__main__":
    main()
