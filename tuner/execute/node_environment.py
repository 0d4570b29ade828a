"""What Ray put into the environment of a worker in; that of the node, as `ray start` had it, out. It knows no Ray otherwise."""

import os
from pathlib import Path

from tuner.measure.gpu import detect
from tuner.measure.visible import VISIBLE, Visible, visible

_BREAKPOINT = "ray.util.rpdb.set_trace"


def forget_scheduler() -> None:
    """Take out of this process' environment what Ray put there for its workers: vLLM is to have the node's own. Ray sets
    OMP_NUM_THREADS to the cores of a task where the node has none: that of a process that Ray started, then."""
    for name in [name for name in os.environ if name.startswith("RAY_")]:
        del os.environ[name]
    if os.environ.get("PYTHONBREAKPOINT") == _BREAKPOINT:
        del os.environ["PYTHONBREAKPOINT"]
    if "OMP_NUM_THREADS" not in _of_parent():
        os.environ.pop("OMP_NUM_THREADS", None)


def cards_of_node() -> Visible:
    """Those that Ray may give here: what a worker sees is less."""
    return visible(detect(), _of_parent().get(VISIBLE))


def show_all_cards() -> None:
    """Give this process the cards that Ray may give, where Ray gave it none."""
    os.environ.pop(VISIBLE, None)
    if (named := _of_parent().get(VISIBLE)) is not None:
        os.environ[VISIBLE] = named


def _of_parent() -> dict[str, str]:
    """The environment of who started this process."""
    try:
        entries = Path(f"/proc/{os.getppid()}/environ").read_bytes().split(b"\0")
    except OSError:
        return {}
    pairs = (os.fsdecode(entry).partition("=") for entry in entries)
    return {name: value for name, _, value in pairs}
