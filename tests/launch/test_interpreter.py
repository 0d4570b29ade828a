"""Finding vLLM."""

from pathlib import Path

import pytest

from tuner.errors import EngineError
from tuner.launch.interpreter import find_python


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
