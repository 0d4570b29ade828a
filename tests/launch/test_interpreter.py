"""Finding vLLM, and asking a real one what it would make of settings."""

import sys
from pathlib import Path

import pytest

from tuner.errors import EngineError
from tuner.launch.interpreter import Resolver, find_python
from tuner.types import Failed, FailureKind


def test_a_named_interpreter_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(EngineError, match="--vllm-python names /no/python, which is no file"):
        find_python("/no/python")
    monkeypatch.setenv("TUNER_VLLM_PYTHON", "/no/other")
    with pytest.raises(EngineError, match="TUNER_VLLM_PYTHON names /no/other"):
        find_python(None)


def test_nowhere_a_vllm(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("TUNER_VLLM_PYTHON", raising=False)
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(EngineError, match="tuner install-engine"):
        find_python(None)


def test_an_interpreter_without_vllm() -> None:
    with Resolver(Path(sys.executable), {}) as resolver, pytest.raises(EngineError, match="No module named 'vllm'"):
        _ = resolver.info


@pytest.mark.engine
def test_vllm_resolves_defaults_and_refuses_with_its_own_sentence(engine_python: Path, demo_model: Path) -> None:
    environment = {"VLLM_CPU_KVCACHE_SPACE": "1"}
    with Resolver(engine_python, environment) as resolver:
        assert {"max_num_seqs", "stream_interval", "api_server_count"} <= resolver.info.arguments
        defaults = resolver.resolve((str(demo_model),))
        assert not isinstance(defaults, Failed)
        assert defaults["max_num_seqs"] == 128  # the CPU's default in vLLM 0.32
        assert defaults["max_num_batched_tokens"] == 2048
        assert defaults["enable_prefix_caching"] is True
        assert defaults["api_server_count"] == 1
        changed = resolver.resolve((str(demo_model), "--max-num-seqs", "16", "--no-enable-prefix-caching"))
        assert not isinstance(changed, Failed)
        assert (changed["max_num_seqs"], changed["enable_prefix_caching"]) == (16, False)
        low = resolver.resolve((str(demo_model), "--max-num-seqs", "128", "--max-num-batched-tokens", "64"))
        assert low == Failed(
            kind=FailureKind.REJECTED,
            message="max_num_batched_tokens (64) must be greater than or equal to max_num_seqs (128).",
        )
        unknown = resolver.resolve((str(demo_model), "--no-such-flag", "1"))
        assert isinstance(unknown, Failed)
        assert "unrecognized arguments: --no-such-flag" in unknown.message
        awq = resolver.resolve((str(demo_model), "--quantization", "awq"))
        assert isinstance(awq, Failed)
        assert awq.kind is FailureKind.UNSUPPORTED_QUANTIZATION
        again = resolver.resolve((str(demo_model),))
        assert again == defaults  # one call leaves nothing behind for the next
