"""make bench-scale: what many launches at once, many studies in one database, and a thousand cards cost.

python benchmarks/scale [PART ...] [OPTIONS OF THE PART]
"""

import importlib
import sys
import time
from pathlib import Path

#: A PostgreSQL of one's own is started as the tests do.
sys.path.append(str(Path(__file__).parents[2] / "tests"))
_PARTS = {
    "parallel_cost": "launches and minutes to the best with 1, 8 and 64 at a time",
    "postgres": "many studies in one PostgreSQL that is restarted",
    "ray_many": "64 launches at once on a Ray of this host, whose workers are killed at random",
    "on_paper": "a thousand cards, from what one study costs",
}


def main() -> None:
    options = [word for word in sys.argv[1:] if word not in _PARTS]
    for name in [word for word in sys.argv[1:] if word in _PARTS] or _PARTS:
        began_s = time.monotonic()
        sys.stdout.write(f"== {name}: {_PARTS[name]}\n")
        sys.stdout.flush()
        sys.argv = [name, *options]
        importlib.import_module(name).main()
        sys.stdout.write(f"{time.monotonic() - began_s:.0f} s\n\n")


if __name__ == "__main__":
    main()
