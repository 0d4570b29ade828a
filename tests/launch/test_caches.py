from dataclasses import replace
from pathlib import Path

import pytest
from samples import FINGERPRINT

from tuner.errors import UsageError
from tuner.launch.caches import caches_of, default_root


def test_studies_share_a_folder_unless_their_compiled_code_differs(tmp_path: Path) -> None:
    first = caches_of(FINGERPRINT, tmp_path)
    assert caches_of(replace(FINGERPRINT, workload_hash="other"), tmp_path) == first
    for other in (replace(FINGERPRINT, engine_version="0.33.0"), replace(FINGERPRINT, gpu="NVIDIA L4")):
        assert caches_of(other, tmp_path).folder != first.folder


def test_a_host_is_cold_until_a_server_was_measured_and_again_after_a_boot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    caches = caches_of(FINGERPRINT, tmp_path)
    assert caches.is_cold()
    caches.mark_warm()
    assert not caches.is_cold()
    boot = tmp_path / "boot_id"
    boot.write_text("another boot")
    monkeypatch.setattr("tuner.launch.caches._BOOT", boot)
    assert caches.is_cold()


def test_a_place_that_the_user_chose_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VLLM_CACHE_ROOT", raising=False)
    monkeypatch.setenv("TRITON_CACHE_DIR", "/mine")
    environment = caches_of(FINGERPRINT, tmp_path).environment()
    assert "TRITON_CACHE_DIR" not in environment
    assert Path(environment["VLLM_CACHE_ROOT"]).is_relative_to(tmp_path)


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match=r"file/.* cannot be made .*: see --cache-dir"):
        caches_of(FINGERPRINT, tmp_path / "file")


def test_the_usual_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert default_root() == Path("~/.cache/tuner")
    monkeypatch.setenv("XDG_CACHE_HOME", "/c")
    assert default_root() == Path("/c/tuner")
