"""What one launch needs, and the protocol of whoever runs it: a real launch, a simulated one, or an answer from recordings."""

from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tuner.decide.early import Outdo
from tuner.decide.objective import Objective
from tuner.decide.slo import Slo
from tuner.launch.engine import Engine
from tuner.launch.vllm import Seen, VllmLauncher
from tuner.types import Command, DetectedGpu, Endpoint, Measured, Outcome, Params, Underway, Workload
from tuner.types.quality import Quality

_DISCARDED_WINDOW_S = 5.0

Tell = Callable[[str], None]
#: Asks a server that is up, once it is measured, and tells what it does.
Probe = Callable[[Endpoint, Tell], Coroutine[Any, Any, Quality]]


@dataclass(slots=True, kw_only=True, eq=False)
class Turn:
    """A load's time on its host, `is_alone` for one that none may run beside. Known at its end: how many `others` of the study
    were under load beside it, as a mean, and whether it `may_be_slowed` by them."""

    is_alone: bool = False
    others: float = 0.0
    may_be_slowed: bool = False


#: A load runs inside, once it may; what it waits for is told.
Turns = Callable[[Tell], AbstractAsyncContextManager[Turn]]


def at_once(phase: Tell) -> AbstractAsyncContextManager[Turn]:
    """The turn of a load that is alone on its host."""
    return nullcontext(Turn())


#: Loads the server that is up once more, in a turn of these.
Reload = Callable[[Turns], Coroutine[Any, Any, Measured]]
#: Is told what a launch measured, and may load its server again before that is stopped.
Again = Callable[[Measured, Reload, Tell], Coroutine[Any, Any, None]]


def _nobody(state: Underway) -> None:
    """Is told how far the load is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What one launch needs. `params` are the settings in its command; `gpus` are those that it uses; `salt` makes its prompts
    differ from another launch's; what cannot become as good as `outdo` is not measured to the end; with an `engine` the server
    is forked by it; `timeout_s` is for everything, from the start to the last request; `wait_for_gpu_s` is how long others that
    hold its GPUs' memory are waited for before that; `underway` is told how far the load is; `probe` asks the server questions
    after its load, in time of its own, and so is what `again` does with it; the load itself is in a turn of `turns`, and waits
    for it in nobody's time. `gpu_count` is how many GPUs its server has, also simulated ones; None on the CPU."""

    launcher: VllmLauncher
    command: Command
    params: Params = field(default_factory=dict)
    workload: Workload
    gpus: tuple[DetectedGpu, ...]
    gpu_count: int | None = None
    log: Path
    salt: int
    slos: tuple[Slo, ...] = ()
    objectives: tuple[Objective, ...] = ()
    outdo: Outdo | None = None
    engine: Engine | None = None
    timeout_s: float | None = None
    wait_for_gpu_s: float = 0.0
    underway: Callable[[Underway], None] = _nobody
    probe: Probe | None = None
    turns: Turns = at_once
    again: Again | None = None

    def discarded(self) -> "Job":
        """The same with a short load, for a start whose measurement does not count: long enough for what is compiled at first
        use."""
        window_s = min(self.workload.window_s, _DISCARDED_WINDOW_S)
        short = replace(self.workload, window_s=window_s, max_window_s=window_s, find_rate=False)
        return replace(self, workload=short, outdo=None, probe=None, turns=at_once, again=None)


RunTrial = Callable[[Job, Seen, Tell, Tell], Coroutine[Any, Any, Outcome]]
