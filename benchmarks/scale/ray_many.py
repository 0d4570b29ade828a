"""Many launches at once on a Ray of this host, whose workers are killed at random: what is lost or doubled, and its cost.

    python benchmarks/scale ray_many [--cards 64] [--killed 0.05] [--minutes 9] [--runs SAMPLER:TRIALS:SECONDS,...]

A run begins no launch after so many minutes. Its loop, its tables and its Ray are those of `tuner optimize --executor ray`, in
a process of its own; only a launch is stood for: in Ray's worker, by a wait of about so many seconds that tells each second how
far it is, and an answer that depends on the settings. Some of them kill their worker instead. With `:unpredicted` after it no
model of the server is learned beside the sampler.
"""

import argparse
import asyncio
import json
import multiprocessing
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, replace
from math import prod
from pathlib import Path

import optuna  # noqa: TID251  its table is counted
from marks import write_between
from samples import measured

from tuner.errors import RunError
from tuner.execute.ray_nodes import simulated_resource
from tuner.launch.job import Job, Tell
from tuner.launch.vllm import Seen
from tuner.record.store import Store
from tuner.sim.engine import SimEngine
from tuner.study.engines import simulated_setup
from tuner.study.loop import run_study
from tuner.study.options import Options
from tuner.study.setup import choose_space
from tuner.study.slots import with_slots
from tuner.types import Measured, Outcome, Proposal, Trial, Underway

BEGIN, END = "<!-- ray: made by benchmarks/scale/ray_many.py -->", "<!-- end of ray -->"
REPOSITORY = Path(__file__).parents[2]
_GPU = "t4"
#: How often a study is run again that ended because a trial's worker died each time.
_AGAIN = 5
#: A launch on a real card, for what is computed of that.
_REAL_S = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What is asked of one study."""

    sampler: str
    trials: int
    seconds: float
    is_predicted: bool
    cards: int
    killed: float
    minutes: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What is there in the end. `cpu_s` is of the coordinator's process, all its threads, after it has its imports, `loop_s` of
    that its main thread's, which proposes and stores; `launch_s` are the seconds that launches took, all together."""

    begun: int
    ours: int
    optunas: int
    lost: int
    doubled: int
    launches: int
    killed: int
    again: int
    resumed: int
    wall_s: float
    cpu_s: float
    loop_s: float
    launch_s: float
    late_cpu_s: float

    def share(self, cards: int, seconds: float) -> float:
        """Of a core with so many cards and launches that take so long, if a trial costs as much there."""
        return cards * self.cpu_s / self.ours / seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class StandIn:
    """Runs a job, as `run_trial` does. Each leaves a file in `folder`, and another one before it kills its worker."""

    folder: Path
    seconds: float
    killed: float

    async def __call__(self, job: Job, seen: Seen, phase: Tell, note: Tell) -> Outcome:
        tries = len(list(self.folder.glob(f"{job.salt}-*.begun")))
        chance = random.Random(f"{job.salt}-{tries}")
        mine = self.folder / f"{job.salt}-{tries}"
        mine.with_suffix(".begun").touch(exist_ok=False)
        wait_s, dies = self.seconds * chance.uniform(0.5, 1.5), chance.random() < self.killed
        phase("starting vLLM")
        began_s, wait_s = time.monotonic(), wait_s * (chance.random() if dies else 1.0)
        while (over_s := time.monotonic() - began_s) < wait_s:
            await asyncio.sleep(min(1.0, wait_s - over_s))
            job.underway(Underway(past_s=over_s, least_s=wait_s, most_s=wait_s, tokens_per_s=None))
        if dies:
            mine.with_suffix(".killed").write_text(f"{wait_s}")
            os.kill(os.getpid(), signal.SIGKILL)
        mine.with_suffix(".ended").write_text(f"{wait_s}")
        return measured(output_throughput=_throughput(job) * chance.gauss(1, 0.005))


class Counting:
    """A Watch that counts the launches that were begun again, and the processor time when each trial was stored."""

    def __init__(self) -> None:
        self.again, self.begun, self.cpu_s = list[str](), set[int](), list[float]()

    def study_continues(self, finished: Sequence[Trial], best: Trial | None) -> None: ...
    def phase(self, name: str, trial: int | None = None) -> None: ...
    def underway(self, state: Underway, trial: int | None = None) -> None: ...
    def verification_begins(self, role: str, launch: int, of: int) -> None: ...
    def detail(self, text: str) -> None: ...

    def trial_begins(self, proposal: Proposal, of: int) -> None:
        self.begun.add(proposal.number)

    def trial_ended(self, trial: Trial, best: Trial | None) -> None:
        self.cpu_s.append(time.process_time())
        if len(self.cpu_s) % 50 == 0:
            _say(f"  {len(self.cpu_s)} trials, {self.cpu_s[-1]:.0f} s of a core")

    def note(self, text: str) -> None:
        if "launched again elsewhere" in text:
            self.again.append(text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cards", type=int, default=64)
    parser.add_argument("--killed", type=float, default=0.05, help="share of the launches that kill their worker")
    parser.add_argument("--runs", default="random:2000:10:unpredicted,model:2000:10", metavar="RUN,RUN,...")
    parser.add_argument("--minutes", type=float, default=9, help="after which a run begins no more")
    parser.add_argument("--json", type=Path, metavar="FILE", help="add what was found to what is there")
    parser.add_argument("--docs", type=Path, metavar="FILE", help="write the table between its two marks")
    asked = parser.parse_args()
    found = _kept(asked.json)
    for text in asked.runs.split(","):
        sampler, trials, seconds, *more = text.split(":")
        run = Run(
            sampler=sampler,
            trials=int(trials),
            seconds=float(seconds),
            is_predicted=more != ["unpredicted"],
            cards=asked.cards,
            killed=asked.killed,
            minutes=asked.minutes,
        )
        found[run] = _in_its_own_process(run)
        _say("\n".join(table({run: found[run]})))
        if asked.json:
            kept = [{"run": asdict(one), "found": asdict(there)} for one, there in found.items()]
            asked.json.write_text(json.dumps(kept, indent=1) + "\n")
    text = "\n".join(table(found))
    if asked.docs:
        write_between(asked.docs, BEGIN, END, text)


def _kept(path: Path | None) -> dict[Run, Found]:
    if path is None or not path.exists():
        return {}
    return {Run(**one["run"]): Found(**one["found"]) for one in json.loads(path.read_text())}


def table(found: dict[Run, Found]) -> Iterator[str]:
    """Lines of Markdown, a column for each run."""
    lines: list[tuple[str, Callable[[Run, Found], str]]] = [
        ("sampler", lambda run, f: run.sampler + ("" if run.is_predicted else ", and no model of the server")),
        ("cards, and launches at once", lambda run, f: f"{run.cards}"),
        ("a launch", lambda run, f: f"{run.seconds:g} s"),
        ("trials asked for, begun in the time", lambda run, f: f"{run.trials:,}, {f.begun:,}"),
        ("in tuner's table, in Optuna's", lambda run, f: f"{f.ours:,}, {f.optunas:,}"),
        ("lost, doubled", lambda run, f: f"{f.lost}, {f.doubled}"),
        ("launches", lambda run, f: f"{f.launches:,}"),
        ("workers killed in them", lambda run, f: f"{f.killed} ({f.killed / f.launches:.1%})".replace("%", " %")),
        ("trials launched again", lambda run, f: f"{f.again}"),
        ("ended for a trial whose workers all died, and run again", lambda run, f: f"{f.resumed}"),
        ("wall time", lambda run, f: f"{f.wall_s:.0f} s"),
        ("launches under way, mean", lambda run, f: f"{f.launch_s / f.wall_s:.0f}"),
        ("the coordinator's processor time", lambda run, f: f"{f.cpu_s:.0f} s"),
        ("of that the loop's a trial", lambda run, f: f"{f.loop_s / f.ours:.2f} s"),
        ("all of it a trial, in the last tenth", lambda run, f: f"{f.late_cpu_s:.2f} s"),
        ("of one core", lambda run, f: f"{f.cpu_s / f.wall_s:.0%}".replace("%", " %")),
        (
            f"what that is of one core with 64 cards and {_REAL_S:g} s a launch",
            lambda run, f: f"{f.share(64, _REAL_S):.0%}".replace("%", " %"),
        ),
    ]
    yield f"| | {' | '.join('' for _ in found)} |"
    yield "|---" * (len(found) + 1) + "|"
    for name, told in lines:
        yield f"| {name} | {' | '.join(told(run, one) for run, one in found.items())} |"


def _in_its_own_process(run: Run) -> Found:
    """The coordinator's, beside the Ray that this one starts and ends."""
    with (
        tempfile.TemporaryDirectory(prefix="ray-many-") as folder,
        _cluster(run.cards) as address,
        ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as own,
    ):
        return own.submit(_coordinate, run, address, Path(folder)).result()


@contextmanager
def _cluster(cards: int) -> Iterator[str]:
    """The address of a Ray of its own, on ports of its own, whose workers find this file."""
    from ray.cluster_utils import Cluster  # noqa: TID251  it is started here, not used

    os.environ["RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"] = "0"
    paths = [str(REPOSITORY), str(Path(__file__).parent), str(REPOSITORY / "tests")]
    os.environ["PYTHONPATH"] = os.pathsep.join([*paths, os.environ.get("PYTHONPATH", "")])
    node = {"num_cpus": cards, "resources": {simulated_resource(_GPU): cards}, "include_dashboard": False}
    made = Cluster(initialize_head=True, head_node_args=node)
    try:
        yield made.address
    finally:
        made.shutdown()


def _coordinate(run: Run, address: str, folder: Path) -> Found:
    os.chdir(folder)
    launches = folder / "launches"
    launches.mkdir()
    options = Options(
        engine="sim",
        gpu=_GPU,
        study="many",
        storage=f"sqlite:///{folder}/many.db",
        sampler=run.sampler,
        trials=run.trials,
        verify=0,
        stop="never",
        executor="ray",
        address=address,
        parallel=str(run.cards),
        max_hours=run.minutes / 60,
        log_dir=folder / "logs",
    )
    watch, began_s, began_cpu_s, began_loop_s = Counting(), time.monotonic(), time.process_time(), time.thread_time()
    stand_in = StandIn(folder=launches, seconds=run.seconds, killed=run.killed)
    resumed = _study(options, stand_in, watch, is_predicted=run.is_predicted)
    wall_s, cpu_s = time.monotonic() - began_s, time.process_time() - began_cpu_s
    loop_s = time.thread_time() - began_loop_s
    files = Counter(file.suffix for file in launches.iterdir())
    launch_s = sum(float(file.read_text()) for file in launches.iterdir() if file.suffix != ".begun")
    tenth = max(1, len(watch.cpu_s) // 10)
    with closing(Store.open(options.storage, read_only=True)) as store:
        trials = store.trials("many")
    shown = optuna.load_study(study_name="many", storage=options.storage).get_trials(deepcopy=False)
    for text, count in Counter(watch.again).items():
        _say(f"  {count} times: {text}")
    there = Counter(trial.number for trial in trials)
    complete = Counter(trial.number for trial in shown if trial.state.is_finished())
    doubled = there.total() - len(there) + complete.total() - len(complete)
    return Found(
        begun=len(watch.begun),
        ours=there.total(),
        optunas=complete.total(),
        lost=len(watch.begun - there.keys()) + len(watch.begun - complete.keys()),
        doubled=doubled + files[".ended"] - sum(isinstance(trial.outcome, Measured) for trial in trials),
        launches=files[".begun"],
        killed=files[".killed"],
        again=len(watch.again),
        resumed=resumed,
        wall_s=wall_s,
        cpu_s=cpu_s,
        loop_s=loop_s,
        launch_s=launch_s,
        late_cpu_s=(watch.cpu_s[-1] - watch.cpu_s[-1 - tenth]) / tenth,
    )


def _study(options: Options, stand_in: StandIn, watch: Counting, *, is_predicted: bool) -> int:
    """How often it had to be run again until all its trials were there."""
    space = choose_space(options, ())
    engine = SimEngine(space.gpu)
    setup = replace(simulated_setup(options, space, engine), run=stand_in)
    setup = setup if is_predicted else replace(setup, calibration=None)
    with closing(Store.open(options.storage)) as store:
        for resumed in range(_AGAIN):
            try:
                with with_slots(setup, options, (), _say) as placed:
                    run_study(placed, store, engine, watch)
            except RunError as error:
                _say(f"  ended: {error}")
            else:
                return resumed
    sys.exit(f"the study ended {_AGAIN} times for the loss of workers")


def _throughput(job: Job) -> float:
    """Each value of each setting has an effect of its own."""
    return 100 * prod(random.Random(f"{name}={value}").uniform(0.97, 1.03) for name, value in job.params.items())


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
