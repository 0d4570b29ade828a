"""A situation in; what a diagnosis says of it, and what its first remedy brings, out. It launches a real engine."""

import argparse
import asyncio
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Self

import yaml
from situations import Kind, Situation

from tuner.diagnose.diagnosing import diagnose
from tuner.diagnose.diagnosis import Diagnosis
from tuner.diagnose.evidence import Evidence, evidence_of
from tuner.launch.fork_server import ForkServer
from tuner.launch.interpreter import find_python
from tuner.launch.job import Job
from tuner.measure.gpu import detect
from tuner.study.options import Options
from tuner.study.setup import Setup, choose_space, make_setup
from tuner.study.trial import run_trial
from tuner.types import Failed, Measured, Outcome, Params
from tuner.workload.presets import load_workload

#: Below this two launches of the same may differ by as much.
GAINED = 0.03
_WARM_UP_S, _WINDOW_S = 3.0, 6.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Provoked:
    """`gain` is what the first remedy brought in throughput, relative; None where it was not launched. `seen` are the numbers
    that were diagnosed, `failure` says why there is no diagnosis."""

    name: str
    cause: str | None
    has_remedy: bool
    first: str = ""
    second: str = ""
    evidence: str = ""
    remedy: str | None = None
    gain: float | None = None
    seen: Mapping[str, float] = field(default_factory=dict)
    failure: str | None = None


class Provoker:
    """One engine, for all situations."""

    def __init__(self, asked: argparse.Namespace, folder: Path) -> None:
        self._folder, self._stack, self._launches = folder, ExitStack(), 0
        options = Options(
            gpu=asked.gpu,
            model=asked.model,
            groups="all",
            engine_arg=tuple(asked.engine_arg),
            max_model_len=asked.max_model_len,
            cache_dir=folder / "cache",
        )
        detected = detect()
        self._space, python = choose_space(options, detected), find_python(asked.vllm_python)
        self._engine = self._stack.enter_context(ForkServer(python, self._space.environment))
        self._setup: Setup = make_setup(options, self._space, python, self._engine.info, detected)
        self.kind: Kind = "gpu" if self._setup.gpus else "cpu"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def provoke(self, situation: Situation) -> Provoked:
        """Launch it, diagnose it, launch its first remedy."""
        told = Provoked(
            name=situation.name,
            cause=situation.cause and situation.cause.value,
            has_remedy=situation.remedy is not None,
        )
        with ExitStack() as stack:
            stack.enter_context(_beside(situation.beside))
            try:
                stack.enter_context(self._clocks(situation.clocks_mhz))
            except subprocess.CalledProcessError as error:
                return replace(told, failure=f"the clocks cannot be held: {error.stdout.decode().strip()}")
            outcome = self._launch(situation, situation.settings)
            if isinstance(outcome, Failed):
                return replace(told, failure=f"{outcome.kind.value}: {outcome.message}")
            seen, diagnosis = self._diagnosed(situation, outcome)
            first, *others = diagnosis.findings
            told = replace(
                told,
                first=first.cause.value,
                second=others[0].cause.value if others else "",
                evidence="; ".join(first.evidence),
                seen={name: value for name, value in asdict(seen).items() if value is not None},
            )
            remedy = next((one for one in first.remedies if one.value is not None), None)
            if situation.remedy is None or remedy is None or remedy.value is None:
                return told
            told = replace(told, remedy=f"{remedy.name} {remedy.value}")
            cured = self._launch(situation, {**situation.settings, remedy.name: remedy.value})
        if isinstance(cured, Failed):
            return replace(told, remedy=f"{told.remedy}: {cured.kind.value}")
        before, after = outcome.load.output_throughput, cured.load.output_throughput
        return replace(told, gain=after / before - 1 if before and after else None)

    def _diagnosed(self, situation: Situation, measured: Measured) -> tuple[Evidence, Diagnosis]:
        resolved = self._engine.resolve(self._setup.launcher.arguments(situation.settings))
        settings: Params = {} if isinstance(resolved, Failed) else resolved.settings
        workload = load_workload(str(self._file(situation)))
        if situation.told_users is not None:
            workload = replace(workload, users=situation.told_users, think_time_s=0.0)
        seen = evidence_of(measured, settings, workload)
        return seen, diagnose(seen, settings)

    def _launch(self, situation: Situation, settings: Params) -> Outcome:
        self._launches += 1
        launcher = replace(
            self._setup.launcher, environment={**self._setup.launcher.environment, **situation.environment}
        )
        job = Job(
            launcher=launcher,
            command=launcher.command(settings),
            params=settings,
            workload=load_workload(str(self._file(situation))),
            gpus=self._setup.gpus,
            log=self._folder / f"{self._launches}.log",
            salt=self._launches,
            engine=self._engine,
        )
        return asyncio.run(run_trial(job, lambda seen: None, lambda phase: None, lambda text: None))

    def _file(self, situation: Situation) -> Path:
        path = self._folder / f"{situation.name.replace(' ', '-')}.yaml"
        times = {"warmup_s": _WARM_UP_S, "window_s": _WINDOW_S, "max_window_s": _WINDOW_S, "precision": 0.9}
        path.write_text(yaml.safe_dump({**situation.load, **times}))
        return path

    @contextmanager
    def _clocks(self, mhz: int | None) -> Iterator[None]:
        """Held down by the driver, which only root may ask for."""
        if mhz is None:
            yield
            return
        each = [str(gpu.index) for gpu in self._setup.gpus]
        try:
            for index in each:
                subprocess.run(["nvidia-smi", "-i", index, "-lgc", f"{mhz},{mhz}"], check=True, capture_output=True)
            yield
        finally:
            for index in each:
                subprocess.run(["nvidia-smi", "-i", index, "-rgc"], check=True, capture_output=True)


@contextmanager
def _beside(count: int) -> Iterator[None]:
    """So many processes that do nothing but work, each in a session of its own, as strangers are: Linux shares by sessions."""
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"], start_new_session=True) for _ in range(count)]
    try:
        yield
    finally:
        for process in busy:
            process.kill()
            process.wait()
