"""make bench-truth: how often tuner's answers are right, where the truth is known. Seeded simulations of its own functions.

Seven parts: the verification of a search, what its ballast is, where a window begins, when it ends and what is known of it,
when it is stopped early, the highest rate, whether traffic has drifted. Each can be run alone: `python benchmarks/truth rate`.
"""

import argparse
import importlib
import sys
import time

_PARTS = {
    "verification": "what is deployed, and what is said of it",
    "ballast": "what the last launch of a search brings, without the settings that bring nothing",
    "steady": "where a window begins",
    "window": "when a window ends, and what is known of it",
    "early": "when a window is stopped that cannot be the best, and how often it could",
    "rate": "the highest rate that meets the SLOs",
    "drift": "whether a server's traffic has drifted from what its config was tuned for",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", help=f"of {', '.join(_PARTS)}; default: all")
    for name in parser.parse_args().parts or _PARTS:
        began_s = time.monotonic()
        sys.stdout.write(f"== {name}: {_PARTS[name]}\n")
        sys.stdout.flush()
        sys.argv = [name]
        importlib.import_module(name).main()
        sys.stdout.write(f"{time.monotonic() - began_s:.0f} s\n\n")


if __name__ == "__main__":
    main()
