"""tuner's command line in a process that kills itself by SIGKILL at one of MOMENTS."""

import os
import signal
import threading
import time
from typing import Any

from waiting import wait_for

from faults.study import roles
from tuner.cli import run
from tuner.cli.watch import TerminalWatch
from tuner.launch.process import ProcessGroup
from tuner.record.store import Store

#: The phase that a watch is told, when it is one of a launch.
PHASES = {"the server loads": "starting vLLM", "under load": "measuring"}
MOMENTS = (
    "vLLM is imported",
    "between Optuna's trial and ours",
    *PHASES,
    "the server stops",
    "between our commit and Optuna's tell",
)


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def die_later(moment: str) -> None:
    if moment == "vLLM is imported":
        wait_for(lambda: "fork server" in roles(os.getpid()))
        time.sleep(1)
    elif moment == "the server loads":
        wait_for(lambda: "EngineCore" in roles(os.getpid()))
    die()


def arm(moment: str) -> None:
    """Put the death where the moment is: a phase that the watch is told, or a method."""
    phase, begin, finish, is_gone = TerminalWatch.phase, Store.begin, Store.finish, ProcessGroup._is_gone

    def told(watch: TerminalWatch, name: str, trial: int | None = None) -> None:
        phase(watch, name, trial)
        if name == PHASES.get(moment):
            threading.Thread(target=die_later, args=(moment,)).start()

    def begun(*arguments: Any) -> None:
        if moment == "between Optuna's trial and ours":
            die()
        begin(*arguments)

    def finished(*arguments: Any) -> None:
        finish(*arguments)
        if moment == "between our commit and Optuna's tell":
            die()

    def stopped(group: ProcessGroup) -> bool:
        if moment == "the server stops":  # it was sent SIGTERM just now
            die()
        return is_gone(group)

    replaced: list[tuple[type, str, Any]] = [(TerminalWatch, "phase", told), (ProcessGroup, "_is_gone", stopped)]
    for owner, name, method in (*replaced, (Store, "begin", begun), (Store, "finish", finished)):
        setattr(owner, name, method)
    if moment == "vLLM is imported":
        threading.Thread(target=die_later, args=(moment,)).start()


def main(moment: str) -> None:
    arm(moment)
    run()
