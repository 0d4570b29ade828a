"""What a real vLLM makes of arguments, as a digest: alike where servers run alike, unlike where they do not."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from tuner.decide.twins import twin_of
from tuner.launch.effective import effective_settings
from tuner.launch.fork_server import ForkServer
from tuner.launch.vllm import VllmLauncher
from tuner.types import Command, Params, Resolved
from tuner.types.resolved import MAY_CHANGE

pytestmark = pytest.mark.engine

CPU = {"VLLM_ENABLE_V1_MULTIPROCESSING": "0", "OMP_NUM_THREADS": "1", "VLLM_CPU_KVCACHE_SPACE": "1"}


@pytest.fixture(scope="module")
def fork_server(engine_python: Path) -> Iterator[ForkServer]:
    with ForkServer(engine_python, CPU) as found:
        yield found


def _asked(fork_server: ForkServer, model: Path, *flags: str) -> Resolved:
    found = fork_server.resolve((str(model), *flags))
    assert isinstance(found, Resolved), found
    return found


def _is_as(one: Resolved, other: Resolved) -> bool:
    same = all(one.settings.get(name) == other.settings.get(name) for name in MAY_CHANGE)
    return one.digest == other.digest and same


#: Of vLLM 0.32's defaults on a CPU, each said once more, or what makes no difference there.
ALIKE = (
    "",
    "--max-num-batched-tokens 2048",
    "--max-num-seqs 128",
    "--max-num-seqs=128 --max_num_batched_tokens 2048",
    "--max-model-len 4096",
    "--stream-interval 1",
    "--kv-cache-dtype auto",
    "--enable-prefix-caching",
    "--enable-chunked-prefill",
    "--no-enforce-eager",
    "--no-async-scheduling",
    "--api-server-count 1",
    "--tensor-parallel-size 1",
    "--attention-backend FLASH_ATTN",
    "--attention-backend TRITON_ATTN",
    "--attention-config.backend FLASHINFER",
    "--compilation-config.cudagraph_mode FULL",  # there are none on a CPU
    "--dtype bfloat16",
    "--port 1234 --host 0.0.0.0",
    "--performance-mode balanced",
    "--kv-cache-memory-bytes 1000000",  # VLLM_CPU_KVCACHE_SPACE, which is set here, is heeded instead
)
UNLIKE = (
    "--max-num-batched-tokens 1024",
    "--max-num-seqs 64",
    "--max-model-len 2048",
    "--stream-interval 2",
    "--no-enable-prefix-caching",
    "--no-enable-chunked-prefill --max-num-batched-tokens 4096",
    "--enforce-eager",
    "--api-server-count 2",
    "--dtype float32",
    "--block-size 64",
    "--long-prefill-token-threshold 256",
    "--disable-log-stats",
    "--disable-uvicorn-access-log",
    "--uvicorn-log-level warning",
    "--seed 7",
    "--scheduling-policy priority",
    "--max-logprobs 3",
    "--compilation-config.mode 0",
    "--speculative-config.method ngram --speculative-config.num_speculative_tokens 2",
    "--mm-processor-cache-gb 1",
    "--tokenizer-mode slow",
)


@pytest.mark.parametrize("flags", ALIKE)
def test_what_runs_alike_has_one_digest(fork_server: ForkServer, demo_model: Path, flags: str) -> None:
    assert _is_as(_asked(fork_server, demo_model), _asked(fork_server, demo_model, *flags.split()))


@pytest.mark.parametrize("flags", UNLIKE)
def test_what_may_run_otherwise_has_another(fork_server: ForkServer, demo_model: Path, flags: str) -> None:
    changed = _asked(fork_server, demo_model, *flags.split())
    assert not _is_as(_asked(fork_server, demo_model), changed)
    assert _is_as(changed, _asked(fork_server, demo_model, *flags.split()))
    assert twin_of(changed, Command(argv=()), []) is None


def test_another_process_says_the_same(engine_python: Path, fork_server: ForkServer, demo_model: Path) -> None:
    """A study goes on in another, and compares."""
    with ForkServer(engine_python, CPU) as other:
        assert _asked(other, demo_model, "--max-num-seqs", "16") == _asked(
            fork_server, demo_model, "--max-num-seqs", "16"
        )


def test_the_compile_key_is_that_of_what_is_compiled(fork_server: ForkServer, demo_model: Path) -> None:
    usual = _asked(fork_server, demo_model).compile_key
    assert usual is not None
    assert _asked(fork_server, demo_model, "--gpu-memory-utilization", "0.5").compile_key == usual
    assert _asked(fork_server, demo_model, "--max-num-batched-tokens", "1024").compile_key not in (usual, None)
    assert _asked(fork_server, demo_model, "--dtype", "float32").compile_key not in (usual, None)
    assert _asked(fork_server, demo_model, "--enforce-eager").compile_key is None


def test_a_backend_that_this_engine_has_not_is_told_by_its_log_alone(
    engine_python: Path, fork_server: ForkServer, demo_model: Path, tmp_path: Path
) -> None:
    fixed: Params = {"enforce_eager": True, "max_model_len": 2048, "attention_backend": "FLASH_ATTN"}
    launcher = VllmLauncher(python=engine_python, model=str(demo_model), fixed=fixed, environment=CPU)

    async def start() -> None:
        async with launcher.launch(launcher.command({}), tmp_path / "log", lambda _: None, fork_server):
            pass

    asyncio.run(start())
    log, resolved = (tmp_path / "log").read_text(), _asked(fork_server, demo_model, *launcher.arguments({})[1:])
    assert "attention_backend" not in resolved.settings
    assert effective_settings(log, resolved.settings) == {"attention_backend": "CPU_ATTN"}
