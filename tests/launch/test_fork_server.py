"""One process with a real vLLM imported: what it resolves, what it forks, and what becomes of it and its servers."""

import asyncio
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from psutil import Process
from waiting import wait_for

from tuner.errors import EngineError
from tuner.launch.engine import CannotFork
from tuner.launch.fork_server import ForkServer
from tuner.launch.processes import members
from tuner.launch.standalone import guard
from tuner.launch.vllm import VllmLauncher
from tuner.measure.server import is_vllm, kv_cache_tokens
from tuner.types import Failed, FailureKind, Params, Value
from tuner.types.settings import flag


def test_an_interpreter_without_vllm() -> None:
    with (
        ForkServer(Path(sys.executable), {}) as fork_server,
        pytest.raises(EngineError, match="No module named 'vllm'"),
    ):
        _ = fork_server.info


CPU = {"VLLM_ENABLE_V1_MULTIPROCESSING": "0", "OMP_NUM_THREADS": "1", "VLLM_CPU_KVCACHE_SPACE": "1"}


@pytest.fixture(scope="module")
def fork_server(engine_python: Path) -> Iterator[ForkServer]:
    with ForkServer(engine_python, CPU) as found:
        yield found


@pytest.mark.engine
def test_vllm_resolves_defaults_and_refuses_with_its_own_sentence(fork_server: ForkServer, demo_model: Path) -> None:
    assert {"max_num_seqs", "stream_interval", "api_server_count"} <= fork_server.info.arguments
    defaults = fork_server.resolve((str(demo_model),))
    assert not isinstance(defaults, Failed)
    assert defaults.settings["max_num_seqs"] == 128  # the CPU's default in vLLM 0.32
    assert defaults.settings["max_num_batched_tokens"] == 2048
    assert defaults.settings["enable_prefix_caching"] is True
    assert defaults.settings["api_server_count"] == 1
    changed = fork_server.resolve((str(demo_model), "--max-num-seqs", "16", "--no-enable-prefix-caching"))
    assert not isinstance(changed, Failed)
    assert (changed.settings["max_num_seqs"], changed.settings["enable_prefix_caching"]) == (16, False)
    low = fork_server.resolve((str(demo_model), "--max-num-seqs", "128", "--max-num-batched-tokens", "64"))
    assert low == Failed(
        kind=FailureKind.REJECTED,
        message="max_num_batched_tokens (64) must be greater than or equal to max_num_seqs (128).",
    )
    unknown = fork_server.resolve((str(demo_model), "--no-such-flag", "1"))
    assert isinstance(unknown, Failed)
    assert "unrecognized arguments: --no-such-flag" in unknown.message
    awq = fork_server.resolve((str(demo_model), "--quantization", "awq"))
    assert isinstance(awq, Failed)
    assert awq.kind is FailureKind.UNSUPPORTED_QUANTIZATION
    again = fork_server.resolve((str(demo_model),))
    assert again == defaults  # one call leaves nothing behind for the next


@pytest.mark.engine
def test_parts_of_nested_configs_are_known_and_resolved_by_their_dotted_names(
    fork_server: ForkServer, demo_model: Path
) -> None:
    known = {"compilation_config.cudagraph_mode", "compilation_config.pass_config.fuse_norm_quant"}
    assert {*known, "attention_config.backend", "speculative_config.method"} <= fork_server.info.arguments
    assert fork_server.info.lacks(
        ("compilation_config.cudagraf_mode", "hf_overrides.x", "speculative_config.method.x")
    ) == [
        "compilation_config.cudagraf_mode",
    ]
    defaults = fork_server.resolve((str(demo_model),))
    assert not isinstance(defaults, Failed)
    assert defaults.settings["compilation_config.cudagraph_mode"] == "NONE"  # on a CPU
    assert (defaults.settings["long_prefill_token_threshold"], defaults.settings["moe_backend"]) == (0, "auto")
    asked: Params = {
        "speculative_config.method": "ngram",
        "speculative_config.num_speculative_tokens": 2,
        "speculative_config.prompt_lookup_max": 3,
        "compilation_config.compile_sizes": "[1, 8]",
        "compilation_config.pass_config.eliminate_noops": False,
        "hf_overrides.rope_theta": 5000,
        "max_cudagraph_capture_size": 64,
        "attention_backend": "CPU_ATTN",
        "kv_offloading_size": 4,
    }
    words = (word for name, value in asked.items() for word in flag(name, value))
    resolved = fork_server.resolve((str(demo_model), *words))
    assert not isinstance(resolved, Failed), resolved.message
    had = {
        **resolved.settings,
        "attention_backend": "CPU_ATTN",
    }  # the only one here: which one is asked for changes nothing
    assert {name: had.get(name) for name in asked} == asked
    assert fork_server.resolve((str(demo_model),)) == defaults


@pytest.mark.engine
@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("compilation_config.cudagraf_mode", "FULL", "cudagraf_mode: Unexpected keyword argument"),
        ("compilation_config.cudagraph_mode", "FUL", "vLLM does not know 'FUL'"),
        ("attention_config.backend", "NO_SUCH", "NO_SUCH"),
        ("max_num_seqs.x", 3, "max-num-seqs"),
    ],
)
def test_what_is_wrong_in_a_nested_config_is_one_line(
    name: str, value: Value, why: str, fork_server: ForkServer, demo_model: Path
) -> None:
    failed = fork_server.resolve((str(demo_model), *flag(name, value)))
    assert isinstance(failed, Failed)
    assert failed.kind is FailureKind.REJECTED
    assert why in failed.message
    assert "\n" not in failed.message


@pytest.fixture
def launcher(engine_python: Path, demo_model: Path) -> VllmLauncher:
    fixed = {"enforce_eager": True, "max_model_len": 2048}
    return VllmLauncher(python=engine_python, model=str(demo_model), fixed=fixed, environment=CPU)


async def _started(launcher: VllmLauncher, log: Path, fork_server: ForkServer | None) -> tuple[str, int, list[str]]:
    """How it was started, its session, and the kernel's names of its processes."""
    command = launcher.command({"max_num_seqs": 16, "enable_prefix_caching": False})
    async with launcher.launch(command, log, lambda _: None, fork_server) as (endpoint, server):
        (session,) = server.sessions
        return endpoint.start, session, [Process(one.pid).name() for one in members(session)]


def _configuration(log: Path) -> list[str]:
    """What vLLM says of its configuration, less what differs between any two starts."""
    lines = [line for line in log.read_text().splitlines() if "non-default args" in line or "Initializing a V1" in line]
    return [re.sub(r"^.*?\] |'port': \d+", "", line) for line in lines]


@pytest.mark.engine
def test_a_forked_server_has_the_configuration_of_a_plain_one(
    launcher: VllmLauncher, fork_server: ForkServer, tmp_path: Path
) -> None:
    assert not isinstance(fork_server.resolve(launcher.arguments({"max_num_seqs": 64, "stream_interval": 4})), Failed)
    started = asyncio.run(_started(launcher, tmp_path / "warm.log", fork_server))
    assert started[0] == "warm"
    assert asyncio.run(_started(launcher, tmp_path / "plain.log", None))[0] == "plain"
    found = _configuration(tmp_path / "warm.log")
    assert len(found) == 2
    assert found == _configuration(tmp_path / "plain.log")
    assert members(started[1]) == []
    assert started[2].count("tuner-guard") == 1  # whoever else has its name is spared for a while when all are ended
    assert len(started[2]) > 1


@pytest.mark.engine
def test_several_api_servers_are_forked_too_and_tell_their_metrics(
    launcher: VllmLauncher, fork_server: ForkServer, tmp_path: Path
) -> None:
    """Their metrics are summed over processes through files, which prometheus_client decides on when it is imported."""

    async def seen() -> tuple[list[str], bool, int | None]:
        command = launcher.command({"api_server_count": 2})
        async with launcher.launch(command, tmp_path / "log", lambda _: None, fork_server) as (endpoint, server):
            assert endpoint.start == "warm"
            lines = [" ".join(Process(one.pid).cmdline()) for one in members(server.sessions[0])]
            return lines, await is_vllm(endpoint.base_url), await kv_cache_tokens(endpoint.base_url)

    lines, tells, tokens = asyncio.run(seen())
    assert not [line for line in lines if "spawn_main" in line]
    assert tells
    assert tokens
    assert "ApiServer_1" in (tmp_path / "log").read_text()
    titles = [line.split()[0] for line in lines if line.startswith("VLLM::")]  # by which their cores are told apart
    assert {"VLLM::EngineCore", "VLLM::APIServer_0", "VLLM::APIServer_1"} <= {*titles}


@pytest.mark.engine
def test_what_must_not_be_forked_is_started_plainly(
    launcher: VllmLauncher, fork_server: ForkServer, tmp_path: Path
) -> None:
    """The executor is not Ray here, but its name among the arguments is what the fork server looks for."""
    with (tmp_path / "log").open("wb") as log, pytest.raises(CannotFork, match="Ray"):
        fork_server.fork(("m", "--distributed-executor-backend", "ray"), {}, log)


@pytest.mark.engine
def test_a_dead_fork_server_is_replaced_when_it_is_needed(launcher: VllmLauncher, fork_server: ForkServer) -> None:
    before = fork_server.resolve(launcher.arguments({}))
    for process in members(fork_server._group.session):
        process.kill()
    wait_for(lambda: not fork_server.is_alive)
    assert fork_server.resolve(launcher.arguments({})) == before
    assert fork_server.is_alive


_COUNTS_COPIES = """
import copy, sys
sys.path.insert(0, sys.argv[1])
import preparing, resolving
_, config = resolving.configured(resolving.make_parser(), [sys.argv[2]])
preparing.prepare(config)
from vllm.tokenizers import hf
from vllm.tokenizers.registry import cached_tokenizer_from_config
tokenizer = cached_tokenizer_from_config(config.model_config)
made, original = [], copy.deepcopy
copy.deepcopy = lambda value, *rest: made.append(type(value)) or original(value, *rest)
for copies, expected in ((2, 0), (1, 1)):  # those made ready are gone then
    made.clear()
    pooled = copy.copy(tokenizer)
    hf.maybe_make_thread_pool(pooled, copies)
    assert made.count(type(tokenizer)) <= expected, made
    assert pooled.encode("one two three") == tokenizer.encode("one two three")
assert hf.copy.deepcopy({"a": [1]}) == {"a": [1]}
print("right")
"""


@pytest.mark.engine
def test_servers_find_their_tokenizers_made(engine_python: Path, demo_model: Path) -> None:
    folder = Path(guard.__file__).parent
    told = subprocess.run(
        [engine_python, "-c", _COUNTS_COPIES, folder, demo_model], capture_output=True, text=True, check=False
    )
    assert told.stdout.endswith("right\n"), told.stderr
