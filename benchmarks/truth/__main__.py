"""make bench-truth: how often tuner's answers are right, where the truth is known. Seeded simulations of its own functions.

One table each: the verification of a search, the steady window, the stopping rule and its intervals, and the highest rate.
Exit code 1 when a target is missed.
"""

import argparse
import importlib
import sys
import time

from rich.console import Console
from rich.table import Table

_PARTS = {
    "verification": "what is deployed, and what is said of it",
    "steady": "where a window begins",
    "window": "when a window ends, and what is known of it",
    "rate": "the highest rate that meets the SLOs",
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", choices=[*_PARTS, []], help="which tables; default: all")
    console, missed = Console(width=180), 0
    for name in parser.parse_args().parts or _PARTS:
        began_s = time.monotonic()
        rows = importlib.import_module(name).table()
        table = Table("what", "asked", "found", "", title=f"{name}: {_PARTS[name]}", title_justify="left")
        for what, asked, found, met in rows:
            table.add_row(what, asked, found, "met" if met else "MISSED")
            missed += not met
        console.print(table, f"{time.monotonic() - began_s:.0f} s\n")
    console.print(f"{missed} missed")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
