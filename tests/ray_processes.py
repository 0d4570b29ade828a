"""What tests of a Ray of their own share: its processes, told from all others by a mark in their environment."""

import os
from collections.abc import Iterable
from typing import Any

import psutil

MARK = "TUNER_TESTS_CLUSTER"


def marked(*words: str) -> list[psutil.Process]:
    """The processes of this test's cluster and commands whose command line has any of these words; not Ray's own."""
    found = []
    for process in psutil.process_iter():
        try:
            said, mark, name = " ".join(process.cmdline()), process.environ().get(MARK), process.name()
        except psutil.Error:
            continue
        if mark == str(os.getpid()) and "ray::" not in name and any(word in said for word in words):
            found.append(process)
    return found


def is_gone(processes: Iterable[psutil.Process]) -> bool:
    return not any(one.is_running() and one.status() != psutil.STATUS_ZOMBIE for one in processes)


def is_on(node: Any, process: psutil.Process) -> bool:
    """Whether the node's raylet is an ancestor."""
    raylet = node.all_processes["raylet"][0].process.pid
    try:
        return raylet in {one.pid for one in process.parents()}
    except psutil.NoSuchProcess:
        return False
