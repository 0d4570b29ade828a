"""One process with a real vLLM imported: what it resolves, what it forks, and what becomes of it and its servers."""

import sys
from pathlib import Path

import pytest

from tuner.errors import EngineError
from tuner.launch.engine_host import EngineHost
from tuner.types import Failed, FailureKind


def test_an_interpreter_without_vllm() -> None:
    with EngineHost(Path(sys.executable), {}) as host, pytest.raises(EngineError, match="No module named 'vllm'"):
        _ = host.info


@pytest.mark.engine
def test_vllm_resolves_defaults_and_refuses_with_its_own_sentence(engine_python: Path, demo_model: Path) -> None:
    environment = {"VLLM_CPU_KVCACHE_SPACE": "1"}
    with EngineHost(engine_python, environment) as host:
        assert {"max_num_seqs", "stream_interval", "api_server_count"} <= host.info.arguments
        defaults = host.resolve((str(demo_model),))
        assert not isinstance(defaults, Failed)
        assert defaults["max_num_seqs"] == 128  # the CPU's default in vLLM 0.32
        assert defaults["max_num_batched_tokens"] == 2048
        assert defaults["enable_prefix_caching"] is True
        assert defaults["api_server_count"] == 1
        changed = host.resolve((str(demo_model), "--max-num-seqs", "16", "--no-enable-prefix-caching"))
        assert not isinstance(changed, Failed)
        assert (changed["max_num_seqs"], changed["enable_prefix_caching"]) == (16, False)
        low = host.resolve((str(demo_model), "--max-num-seqs", "128", "--max-num-batched-tokens", "64"))
        assert low == Failed(
            kind=FailureKind.REJECTED,
            message="max_num_batched_tokens (64) must be greater than or equal to max_num_seqs (128).",
        )
        unknown = host.resolve((str(demo_model), "--no-such-flag", "1"))
        assert isinstance(unknown, Failed)
        assert "unrecognized arguments: --no-such-flag" in unknown.message
        awq = host.resolve((str(demo_model), "--quantization", "awq"))
        assert isinstance(awq, Failed)
        assert awq.kind is FailureKind.UNSUPPORTED_QUANTIZATION
        again = host.resolve((str(demo_model),))
        assert again == defaults  # one call leaves nothing behind for the next
