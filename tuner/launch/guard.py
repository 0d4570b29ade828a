"""The leader of a server's process group: runs the engine, and kills the whole group when tuner is gone.

In: argv of the engine; stdin is a pipe that tuner holds open. When it reads end of file, tuner died (even by SIGKILL) and
nothing may stay behind. SIGTERM is passed on to the engine. It exits as the engine did. Standard library only, and fast
to start: it is run as a file with `python -I -S`.
"""

import os
import signal
import subprocess
import sys
import threading


def main() -> int:
    engine = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL)
    signal.signal(signal.SIGTERM, lambda *_: engine.terminate())
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_die_with_tuner, daemon=True).start()
    code = engine.wait()
    return code if code >= 0 else 128 - code


def _die_with_tuner() -> None:
    while os.read(0, 1024):
        pass
    os.killpg(os.getpgrp(), signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main())
