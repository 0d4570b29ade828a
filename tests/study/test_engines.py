"""Which engine: what is refused before anything starts, and what a study on recordings says of itself."""

import re
import sys
from dataclasses import replace
from pathlib import Path

import commands
import pytest
from replay_samples import line, written

from tuner.errors import UsageError
from tuner.sim.launcher import SimLauncher
from tuner.study.checks import check
from tuner.study.engines import set_up
from tuner.study.options import Options
from tuner.study.setup import Setup

SIM = Options(engine="sim", gpu="t4")
SPACE = """
gpu: {names: ["NVIDIA X"], memory_gib: 24.0, compute_capability: "8.9", bandwidth_gb_per_s: 500.0, tflops: {fp16: 100.0}}
parameters:
  max_num_seqs: {type: int, low: 1, high: 256, log: true}
"""


def setup(options: Options) -> Setup:
    check(options)
    with set_up(options, lambda text: None) as (found, engine):
        assert engine.info.version == found.fingerprint.engine_version
        return found


def test_a_simulated_study_needs_neither_gpu_nor_vllm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = setup(SIM)
    assert found.study == "sim-t4-DeepSeek-R1-Distill-Qwen-1.5B-chat"
    assert isinstance(found.launcher, SimLauncher)
    assert (found.gpus, found.warm, found.caches.is_cold()) == ((), False, False)
    assert found.fingerprint.unreal == "SIMULATED"
    assert found.workload.precision == 0.1
    assert setup(replace(SIM, window=30.0, precision=0.05)).workload.window_s == 30.0
    assert not list(tmp_path.iterdir())


def test_the_command_is_that_of_vllm_with_another_program() -> None:
    found = setup(SIM).launcher
    command = found.command({"max_num_seqs": 8})
    at = command.argv.index("serve")
    assert command.argv[:4] == (sys.executable, "-m", "tuner.sim", "--gpu")
    assert command.argv[at + 1 :] == (found.model, "--dtype", "half", "--max-num-seqs", "8")
    assert not command.environment  # what is told besides is no part of what is exported


def test_a_space_of_the_users_own_is_simulated(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(SPACE)
    found = setup(replace(SIM, gpu="auto", space=tmp_path / "mine.yaml"))
    assert str(tmp_path / "mine.yaml") in found.launcher.command({}).argv
    assert found.fingerprint.gpu == "SIMULATED NVIDIA X"


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (replace(SIM, gpu="auto"), r"--gpu is auto: name one of a100-80gb, .*, t4"),
        (replace(SIM, gpu="cpu"), "--gpu is cpu: name one of"),
        (
            replace(SIM, engine="vllmm"),
            r"--engine is 'vllmm' \(did you mean 'vllm'\?\): choose one of vllm, sim, replay",
        ),
        (
            replace(SIM, sampler="modle"),
            r"--sampler is 'modle' \(did you mean 'model'\?\): choose one of model, tpe, gp, random, grid",
        ),
        (
            replace(SIM, sampler="grid"),
            r"--sampler grid goes through every setting of t4, and it has [0-9,]+ of them, more",
        ),
        (replace(SIM, surface=Path("x")), "--engine replay and --surface FILE"),
        (Options(engine="replay"), "--engine replay and --surface FILE"),
        (replace(SIM, model="org/unheard-of"), "org/unheard-of"),
        (replace(SIM, slo=("itl_p99=50ms",)), "use tpot"),
        (replace(SIM, engine_arg=["cpu_offload_gb=2"]), "does not know cpu_offload_gb"),
    ],
)
def test_what_cannot_be_simulated_is_refused_in_one_sentence(options: Options, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        setup(options)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ((", tflops: {fp16: 100.0}", ""), r"add tflops: \{fp16: ...\} to its `gpu`"),
        ((", bandwidth_gb_per_s: 500.0", ""), "add bandwidth_gb_per_s to"),
        (('names: ["NVIDIA X"], memory_gib: 24.0, compute_capability: "8.9"', "names: []"), "only GPUs are simulated"),
        (("max_num_seqs", "num_gpu_blocks_override"), "does not know num_gpu_blocks_override"),
    ],
)
def test_a_space_that_does_not_say_enough_is_refused(change: tuple[str, str], why: str, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(SPACE.replace(*change))
    with pytest.raises(UsageError, match=why):
        setup(replace(SIM, gpu="auto", space=tmp_path / "mine.yaml"))


@pytest.fixture
def surface(tmp_path: Path) -> Path:
    """Nine points of one parameter, the last one the defaults."""
    lines = [{"surface": {"gpu": "Tesla T4", "engine_version": "0.32.0"}}]
    lines += [line(100.0 + n, params={"max_num_seqs": 2**n}, is_default=n == 8) for n in range(9)]
    (tmp_path / "mine.yaml").write_text(SPACE)
    return written(tmp_path, *lines)


def test_a_replayed_study_says_so_everywhere(surface: Path) -> None:
    def tuner(*arguments: str) -> commands.Done:
        done = commands.tuner(surface.parent, *arguments)
        assert done.returncode == 0, done.stderr
        return done

    command = ["optimize", "--engine", "replay", "--surface", surface.name, "--space", "mine.yaml"]
    done = tuner(*command, "--study", "r", "--trials", "4")
    assert done.stderr.startswith("REPLAYED from ")
    assert re.search(r"^REPLAYED trial 0: vLLM defaults", done.stderr, re.MULTILINE)
    assert done.stdout.startswith("REPLAYED: ")
    assert tuner("export", "r").stdout.startswith("# REPLAYED: ")
    assert tuner("export", "r", "--format", "json").stdout.startswith('{"replayed": "')
    assert not (surface.parent / "tuner-logs" / "r" / "trial-0.log").exists()  # nothing was launched
