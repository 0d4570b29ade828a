"""Engines that share a GPU are one server in every format that can start several processes, and are refused in the others."""

import json
import os
import shlex
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import deployed
import psutil
import pytest
import yaml
from deployed_samples import HAZARDS, to_deploy
from samples import FINGERPRINT
from waiting import wait_for

from tuner.errors import UsageError
from tuner.export.chosen import Chosen
from tuner.export.command import bare_command
from tuner.export.formats import EXPORTERS
from tuner.export.serving import gpus, replicas_inside
from tuner.launch.mps import is_running
from tuner.types import Params

#: As tuner/launch/shared_gpu.py says them to vLLM: three engines on one GPU.
SHARED: Params = {"max_num_seqs": 64, "data_parallel_size": 3, "data_parallel_size_local": 1, "api_server_count": 2}
#: What shells, YAML and units read as something else; one that Helm cannot carry is left out.
HARD: Params = {f"x{n}": text for n, text in enumerate(HAZARDS) if "\x7f" not in text and not text.startswith("[")}
PIPES = "CUDA_MPS_PIPE_DIRECTORY"
#: Writes its words, and ends when it is asked to.
STUB = """\
#!/bin/sh
trap 'echo ended > "$RUNS/$$.ended"; exit 0' TERM
printf '%s\\0' "$@" > "$RUNS/$$.new" && mv "$RUNS/$$.new" "$RUNS/$$.words"
case "$*" in *"$FAILS"*) exit 3;; esac
while :; do sleep 0.05; done
"""


def of_command(text: str) -> deployed.Run:
    return deployed.Run(tuple(shlex.split(text, comments=True)), {})


READERS: Mapping[str, Callable[[str], deployed.Run]] = {
    "command": of_command,
    "compose": deployed.of_compose,
    "kubernetes": deployed.of_kubernetes,
    "llm-d": deployed.of_llm_d,
    "systemd": deployed.of_systemd,
}


@pytest.fixture
def stub(tmp_path: Path) -> Path:
    (tmp_path / "runs").mkdir()
    program = tmp_path / "vllm"
    program.write_text(STUB)
    program.chmod(0o755)
    return program


@contextmanager
def running(words: tuple[str, ...], stub: Path, fails: str = "none fails") -> Iterator[subprocess.Popen[bytes]]:
    found = {"PATH": f"{stub.parent}:{os.environ['PATH']}", "RUNS": str(stub.parent / "runs"), "FAILS": fails}
    with subprocess.Popen(words, env=found, start_new_session=True) as server:
        try:
            yield server
        finally:
            with suppress(ProcessLookupError):
                os.killpg(server.pid, signal.SIGKILL)


def started(stub: Path) -> dict[int, tuple[str, ...]]:
    """The words of what runs, by process."""
    files = (stub.parent / "runs").glob("*.words")
    return {int(file.stem): tuple(file.read_text().split("\0")[:-1]) for file in files}


def all_started(stub: Path) -> dict[int, tuple[str, ...]]:
    wait_for(lambda: len(started(stub)) == 3)
    return started(stub)


def ended(stub: Path) -> set[int]:
    return {int(file.stem) for file in (stub.parent / "runs").glob("*.ended")}


def living(processes: Iterable[int]) -> list[int]:
    return [process for process in processes if Path(f"/proc/{process}").exists()]


def words_of(format: str, stub: Path, settings: Params = SHARED) -> tuple[str, ...]:
    return READERS[format](EXPORTERS[format](to_deploy(settings=settings, program=str(stub)))).argv


@pytest.mark.parametrize("format", READERS)
def test_all_are_started_with_the_words_that_ran_and_end_when_asked_to(format: str, stub: Path) -> None:
    found = to_deploy(settings={**HARD, **SHARED}, program=str(stub))
    host = "127.0.0.1" if format in ("command", "systemd") else "0.0.0.0"
    address = ("--host", host, "--port", "8000")
    with running(words_of(format, stub, {**HARD, **SHARED}), stub) as server:
        runs = all_started(stub)
        first, *others = sorted(runs.values(), key=lambda words: "--headless" in words)
        assert first == (*found.trial.command.argv[1:], *address)
        assert sorted(others) == sorted(words[1:] for words in found.trial.command.headless)
        assert [words[-1] for words in sorted(others)] == ["1", "2"]
        server.send_signal(signal.SIGTERM)
        assert server.wait(20) == 0
    assert ended(stub) == set(runs)


@pytest.mark.parametrize("which", ["--port", "--headless"])
@pytest.mark.parametrize(("how", "code"), [(signal.SIGKILL, 128 + 9), (signal.SIGTERM, 1)])
def test_the_end_of_one_is_the_end_of_all_and_a_failure(which: str, how: int, code: int, stub: Path) -> None:
    """However it ended: asked by itself to end, the stub ends with 0."""
    with running(words_of("command", stub), stub) as server:
        runs = all_started(stub)
        one = next(process for process, words in runs.items() if which in words)
        os.kill(one, how)
        assert server.wait(20) == code
    assert ended(stub) >= set(runs) - {one}


@pytest.mark.parametrize("fails", ["start-rank 1", "start-rank 2", "--port", "serve"])
def test_what_cannot_start_ends_all(fails: str, stub: Path) -> None:
    with running(words_of("kubernetes", stub), stub, fails) as server:
        assert server.wait(20) != 0
    wait_for(lambda: not living(started(stub)))


def test_one_that_does_not_end_is_killed(stub: Path) -> None:
    stub.write_text(STUB.replace("exit 0", "true"))
    words = tuple(word.replace("{1..60}", "{1..1}") for word in words_of("compose", stub))
    with running(words, stub) as server:
        runs = all_started(stub)
        server.send_signal(signal.SIGTERM)
        assert server.wait(20) == 0
    wait_for(lambda: not living(runs))


def test_the_file_is_one_for_sh(stub: Path) -> None:
    file = stub.parent / "serve.sh"
    file.write_text(EXPORTERS["command"](to_deploy(settings=SHARED, program=str(stub), environment={"A B": "$x"})))
    with running(("sh", str(file)), stub) as server:
        os.kill(next(iter(all_started(stub))), signal.SIGKILL)
        assert server.wait(20) == 128 + 9


def over_mps(stub: Path) -> tuple[str, ...]:
    """The words of a trial that was measured over NVIDIA's multi-process service."""
    found = to_deploy(settings=SHARED, program=str(stub))
    return of_command(EXPORTERS["command"](replace(found, fingerprint=replace(FINGERPRINT, mps=True)))).argv


def pipes(processes: Iterable[int]) -> set[str]:
    """Where these look for the service."""
    found = set()
    for process in processes:
        variables = dict(one.partition("=")[::2] for one in Path(f"/proc/{process}/environ").read_text().split("\0"))
        found.add(variables.get(PIPES, ""))
    return found


def test_what_was_measured_over_mps_brings_it_and_ends_it_last(mps_control: Path, stub: Path) -> None:
    with running(over_mps(stub), stub) as server:
        runs = all_started(stub)
        (place,) = pipes(runs)
        assert is_running({"CUDA_MPS_PIPE_DIRECTORY": place})
        server.send_signal(signal.SIGTERM)
        assert server.wait(20) == 0
    assert ended(stub) == set(runs)
    assert not Path(place).exists()
    assert not is_running({"CUDA_MPS_PIPE_DIRECTORY": place})


def test_the_death_of_an_engine_ends_the_service_too(mps_control: Path, stub: Path) -> None:
    with running(over_mps(stub), stub) as server:
        runs = all_started(stub)
        (place,) = pipes(runs)
        os.kill(next(iter(runs)), signal.SIGKILL)
        assert server.wait(20) == 128 + 9
    assert not Path(place).exists()
    assert not is_running({"CUDA_MPS_PIPE_DIRECTORY": place})


def test_a_service_that_is_there_is_used_and_left(mps_control: Path, stub: Path, tmp_path: Path) -> None:
    there = tmp_path / "there"
    there.mkdir()
    own = {**os.environ, "CUDA_MPS_PIPE_DIRECTORY": str(there), "CUDA_MPS_LOG_DIRECTORY": str(there)}
    with subprocess.Popen([mps_control, "-f"], env=own, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT) as daemon:
        try:
            wait_for(lambda: is_running(own))
            words = ("env", f"CUDA_MPS_PIPE_DIRECTORY={there}", *over_mps(stub))
            with running(words, stub) as server:
                assert pipes(all_started(stub)) == {str(there)}
                server.send_signal(signal.SIGTERM)
                assert server.wait(20) == 0
            assert is_running(own)
        finally:
            daemon.kill()


def test_where_the_service_is_not_they_run_without_it_and_it_is_said(
    stub: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    if shutil.which("nvidia-cuda-mps-control"):
        pytest.skip("nvidia-cuda-mps-control is where the shell's own programs are")
    said = stub.parent / "said"
    words = ("bash", "-c", f"exec {shlex.join(over_mps(stub))} 2>{shlex.quote(str(said))}")
    with running(words, stub) as server:
        assert pipes(all_started(stub)) == {""}
        server.send_signal(signal.SIGTERM)
        assert server.wait(20) == 0
    assert "nvidia-cuda-mps-control is not here: the engines take turns on the GPU" in said.read_text()


def test_a_service_that_does_not_listen_is_done_without_and_it_is_said(stub: Path) -> None:
    control, said, daemon = stub.parent / "nvidia-cuda-mps-control", stub.parent / "said", stub.parent / "daemon"
    control.write_text(f"#!/bin/sh\n[ $# = 0 ] && exit 1\necho $$ > {daemon}; exec sleep 60\n")
    control.chmod(0o755)
    text = over_mps(stub)[-1].replace("{1..50}", "{1..5}")
    words = ("bash", "-c", f"exec bash -c {shlex.quote(text)} 2>{shlex.quote(str(said))}")
    with running(words, stub) as server:
        assert pipes(all_started(stub)) == {""}
        assert living([int(daemon.read_text())]) == []
        server.send_signal(signal.SIGTERM)
        assert server.wait(20) == 0
    assert "nvidia-cuda-mps-control does not listen: the engines take turns" in said.read_text()


def test_the_end_of_the_service_is_the_end_of_all(mps_control: Path, stub: Path) -> None:
    with running(over_mps(stub), stub) as server:
        runs = all_started(stub)
        (place,) = pipes(runs)
        daemons = [one for one in psutil.Process(server.pid).children() if one.environ().get(PIPES) == place]
        (daemon,) = [one for one in daemons if one.pid not in runs and "-f" in one.cmdline()]
        daemon.kill()
        assert server.wait(20) == 128 + 9
    assert ended(stub) == set(runs)


@pytest.mark.parametrize("format", ["command", "compose"])
def test_what_the_callers_environment_calls_alike_is_left_alone(format: str, stub: Path, tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    with subprocess.Popen(["sleep", "60"]) as other:
        try:
            with running(("env", f"d={theirs}", f"m={other.pid}", *words_of(format, stub)), stub) as server:
                all_started(stub)
                server.send_signal(signal.SIGTERM)
                assert server.wait(20) == 0
            assert theirs.exists()
            assert other.poll() is None
        finally:
            other.kill()


def test_one_engine_has_nothing_beneath_it() -> None:
    found = to_deploy()
    assert EXPORTERS["command"](found) == EXPORTERS["command"](
        replace(found, fingerprint=replace(FINGERPRINT, mps=True))
    )


def simulated(found: Chosen) -> Chosen:
    return replace(found, fingerprint=replace(FINGERPRINT, engine_version="SIMULATED vLLM 0.32"))


def test_what_was_simulated_says_the_whole_in_a_comment(stub: Path) -> None:
    found = simulated(to_deploy(settings=SHARED, program="/opt/sim"))
    lines = EXPORTERS["command"](found).splitlines()
    (on_card,) = [line.partition(": ")[2] for line in lines if line.startswith("# on the card: ")]
    assert shlex.split(lines[-1])[0] == "/opt/sim"  # a simulation is one process
    assert "headless" not in json.loads(EXPORTERS["json"](found))
    for text in (on_card, bare_command(found)):
        with running(("bash", "-c", text), stub):
            assert len(all_started(stub)) == 3
        for file in (stub.parent / "runs").iterdir():
            file.unlink()


def test_a_report_shows_the_whole() -> None:
    assert bare_command(to_deploy(settings=SHARED)).count("/opt/engine/bin/vllm serve some/model") == 3
    assert bare_command(to_deploy()).count("\n") == 1


@pytest.mark.parametrize("format", ["yaml", "helm", "kserve"])
def test_a_format_that_starts_one_process_says_what_to_use_instead(format: str) -> None:
    said = r"starts one process, and trial 3 has 3 engines on each GPU, .* use --format command, compose, systemd, kube"
    with pytest.raises(UsageError, match=said):
        EXPORTERS[format](to_deploy(settings=SHARED))


def test_engines_that_share_need_no_gpu_more() -> None:
    found = to_deploy(settings={"tensor_parallel_size": 2, "data_parallel_size": 6, "data_parallel_size_local": 2})
    assert (gpus(found), replicas_inside(found)) == (4, 2)
    (service,) = yaml.safe_load(EXPORTERS["compose"](found))["services"].values()
    assert service["deploy"]["resources"]["reservations"]["devices"][0]["count"] == 4
    parallelism = yaml.safe_load(EXPORTERS["llm-d"](found))["decode"]["parallelism"]
    assert parallelism == {"tensor": 2, "data": 2, "dataLocal": 2, "workers": 1}  # of which the chart makes 4 GPUs


def test_the_json_has_the_others_only_where_there_are_others() -> None:
    found = to_deploy(settings=SHARED)
    record = json.loads(EXPORTERS["json"](found))
    assert record["headless"] == [[*argv] for argv in found.trial.command.headless]
    assert "--headless" not in record["argv"]
    assert "headless" not in json.loads(EXPORTERS["json"](to_deploy()))
