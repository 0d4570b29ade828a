"""Two real vLLM servers on the CPU, users of both, and an operator's commands that restart one of them with a config file."""

import asyncio
import contextlib
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import aiohttp
import pytest
from record_samples import STUDY, a_trial
from retuning import open_proposal, script, stored_study
from samples import measured
from serving import vllm
from waiting import answers, free_port, wait_for

from tuner.export.chosen import Chosen
from tuner.export.vllm_yaml import export_yaml
from tuner.launch.processes import kill_session
from tuner.record.proposals import Proposals, State
from tuner.record.store import Store
from tuner.retune.canary import Ended, Order, run_canary
from tuner.retune.proposals import approve
from tuner.space.files import load_space
from tuner.types import Command, Params, Trial

_USERS = 6


def config_of(model: Path, **settings: int) -> Trial:
    given: Params = {"enforce_eager": True, "max_model_len": 2048, **settings}
    command = Command(argv=("vllm", "serve", str(model)), model=str(model), settings=given)
    return replace(a_trial(0, measured()), params=settings, command=command, violations={})


class Users:
    """So many of each server; each sends its next request when the last one has ended, also while a server is away."""

    def __init__(self, urls: list[str], model: Path) -> None:
        self._urls, self._model = urls, str(model)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join(60)

    async def _run(self) -> None:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60)) as session:
            await asyncio.gather(*(self._use(session, url) for url in self._urls for _ in range(_USERS)))

    async def _use(self, session: aiohttp.ClientSession, url: str) -> None:
        body = {"model": self._model, "prompt": [7] * 64, "max_tokens": 24, "ignore_eos": True}
        while not self._ended.is_set():
            with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                async with session.post(f"{url}/v1/completions", json=body) as response:
                    await response.read()
                    continue
            await asyncio.sleep(0.2)


@pytest.fixture
def canary(engine_python: Path, demo_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a server that `tmp_path`/restart FILE ends and starts again with a config file."""
    for name, value in load_space("cpu").environment.items():
        monkeypatch.setenv(name, value)
    port, pid = free_port(), tmp_path / "pid"
    program = engine_python.with_name("vllm")
    script(
        tmp_path,
        "restart",
        f"if [ -f {pid} ]; then kill -9 -$(cat {pid}); while kill -0 $(cat {pid}) 2>/dev/null; do sleep 0.2; done; fi\n"
        f'setsid {program} serve --config "$1" >> {tmp_path}/canary.log 2>&1 &\necho $! > {pid}',
    )
    old = export_yaml(
        Chosen(study="after", trial=config_of(demo_model, max_num_seqs=16), fingerprint=STUDY.fingerprint, port=port)
    )
    (tmp_path / "old.yaml").write_text(old)
    subprocess.run([str(tmp_path / "restart"), str(tmp_path / "old.yaml")], check=True)
    url = f"http://127.0.0.1:{port}"
    try:
        wait_for(lambda: answers(f"{url}/health"), 300)
        yield url
    finally:
        kill_session(int(pid.read_text()))


def tried(store: Store, canary: str, other: str, model: Path, folder: Path, max_num_seqs: int) -> Ended:
    """A proposal of that setting, approved and tried."""
    trial = config_of(model, max_num_seqs=max_num_seqs)
    if any(study.name == "after" for study in store.studies()):
        store.delete_study("after")
    number = open_proposal(store, [f"{canary}/metrics"])
    approve(store, number, by="Ada", why="try it")
    config = folder / f"{max_num_seqs}.yaml"
    port = int(canary.rpartition(":")[2])
    config.write_text(export_yaml(Chosen(study="after", trial=trial, fingerprint=STUDY.fingerprint, port=port)))
    restart = folder / "restart"
    wish = Order(
        by="Ada",
        canary_cmd=f'{restart} "$TUNER_PROPOSAL_CONFIG"',
        revert_cmd=f"{restart} {folder / 'old.yaml'}",
        url=f"{canary}/metrics",
        others=(f"{other}/metrics",),
        watch_s=36.0,
        slos=(),
        config=config,
        command_timeout_s=120,
        health_timeout_s=300,
        tolerance=0.3,
    )
    return run_canary(store, Proposals(store).get(number), wish, print)


@pytest.mark.engine
@pytest.mark.long
@pytest.mark.timeout(1500)
def test_a_worse_canary_is_taken_back_and_one_as_good_is_kept(
    engine_python: Path, demo_model: Path, canary: str, tmp_path: Path
) -> None:
    store = stored_study(f"sqlite:///{tmp_path / 'x.db'}")
    (tmp_path / "other").mkdir()
    with vllm(engine_python, demo_model, tmp_path / "other", "--max-num-seqs", "16") as other:
        with Users([canary, other], demo_model):
            worse = tried(store, canary, other, demo_model, tmp_path, max_num_seqs=1)
            assert worse.state is State.REVERTED, worse
            assert "its mean TTFT is" in worse.why
            for _ in range(3):  # what else a busy machine does may look like a worse server
                wait_for(lambda: answers(f"{canary}/health"), 300)  # the old config serves again
                good = tried(store, canary, other, demo_model, tmp_path, max_num_seqs=8)
                if good.state is State.DEPLOYED:
                    break
            assert good.state is State.DEPLOYED, good
        assert answers(f"{other}/health")  # nobody touched it
    store.close()
