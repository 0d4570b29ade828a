"""make bench-scale: what many launches at once, many studies in one database, and a thousand cards cost.

python benchmarks/scale [PART ...] [OPTIONS OF THE PART]

Each part is a process of its own, so that it leaves the others nothing, and one that fails leaves them alone.
"""

import os
import subprocess
import sys
import time
from pathlib import Path

_PARTS = {
    "parallel_cost": "launches and minutes to the best with 1, 8 and 64 at a time",
    "postgres": "many studies in one PostgreSQL that is restarted",
    "ray_many": "64 launches at once on a Ray of this host, whose workers are killed at random",
    "on_paper": "a thousand cards, from what one study costs",
}
_HERE = Path(__file__).parent
#: A PostgreSQL of one's own is started as the tests do.
_TESTS = _HERE.parents[1] / "tests"


def main() -> None:
    options = [word for word in sys.argv[1:] if word not in _PARTS]
    paths = [str(_HERE), str(_TESTS), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    failed = []
    for name in [word for word in sys.argv[1:] if word in _PARTS] or _PARTS:
        began_s = time.monotonic()
        sys.stdout.write(f"== {name}: {_PARTS[name]}\n")
        sys.stdout.flush()
        # imported: what a worker of Ray is sent has a module that it can import, too
        command = [sys.executable, "-c", f"import {name}; {name}.main()", *options]
        if subprocess.run(command, env=environment, check=False).returncode:
            failed.append(name)
        sys.stdout.write(f"{time.monotonic() - began_s:.0f} s\n\n")
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
