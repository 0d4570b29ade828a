"""How tuner starts a simulated server: as it starts vLLM, with another program, on another clock."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path

import tuner
from tuner.launch.together import Together
from tuner.launch.vllm import Launch, VllmLauncher
from tuner.sim.card import CARD_VARIABLE, SALT_VARIABLE
from tuner.sim.log import READY
from tuner.space.search_space import Gpu
from tuner.types import Command, Endpoint


@dataclass(frozen=True, slots=True, kw_only=True)
class SimLauncher(VllmLauncher):
    """Always started plainly. `card` is what `--gpu` of the server names, `sheet` its data sheet as JSON. Launches differ as
    `seed` and the name of their log say."""

    card: str
    sheet: str
    speed: float
    seed: int = 0

    @classmethod
    def of(cls, launcher: VllmLauncher, gpu: Gpu, card: str, speed: float, seed: int) -> "SimLauncher":
        """The same models and arguments on a simulated card."""
        same = {entry.name: getattr(launcher, entry.name) for entry in fields(VllmLauncher)}
        return cls(**same, card=card, sheet=gpu.model_dump_json(), speed=speed, seed=seed)

    def program(self) -> tuple[str, ...]:
        own = ("--gpu", self.card, "--speed", f"{self.speed:g}", "--seed", str(self.seed))
        return (str(self.python), "-m", "tuner.sim", *own)

    def unexported(self, log: Path) -> Mapping[str, str]:
        """The card, so that the server need not look for it, what tells its launches apart, and this very tuner."""
        here = str(Path(tuner.__file__).resolve().parents[1])
        path = os.pathsep.join([here, *filter(None, [os.environ.get("PYTHONPATH")])])
        return {CARD_VARIABLE: self.sheet, SALT_VARIABLE: log.stem, "PYTHONPATH": path, "PYTHONSAFEPATH": "1"}

    def replayed(self, command: Command) -> tuple[str, ...]:
        """Nothing: the simulation has no drafts, and shows no gain of them."""
        return ()

    def headless(self, command: Command) -> tuple[tuple[str, ...], ...]:
        """Nothing: one process simulates all engines."""
        return ()

    def endpoint(self, server: Together, launch: Launch, startup_s: float) -> Endpoint:
        """With the seconds that the start has taken on the server's clock."""
        told = re.search(rf"^{READY} ([\d.]+) s$", launch.log.read_text(encoding="utf-8"), re.MULTILINE)
        real = VllmLauncher.endpoint(self, server, launch, startup_s)
        return replace(real, startup_s=float(told[1]) if told else startup_s * self.speed, speed=self.speed)
