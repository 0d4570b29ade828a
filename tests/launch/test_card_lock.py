"""Two tuners and one card: real locks, of real processes."""

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tuner.errors import RunError
from tuner.launch import card_lock
from tuner.launch.card_lock import holding_cards
from tuner.types import DetectedGpu


def card(index: int) -> DetectedGpu:
    return DetectedGpu(
        index=index, uuid=f"GPU-{index}", name="NVIDIA L4", memory_bytes=1, compute_capability=(8, 9), driver="550.1"
    )


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(card_lock, "_FOLDER", tmp_path)
    return tmp_path


@contextmanager
def another(folder: Path) -> Iterator["subprocess.Popen[str]"]:
    """Another tuner that holds card 0."""
    program = (
        "import sys, time; from pathlib import Path; from tuner.launch import card_lock; from tuner.types import DetectedGpu\n"
        f"card_lock._FOLDER = Path({str(folder)!r})\n"
        "gpu = DetectedGpu(index=0, uuid='GPU-0', name='x', memory_bytes=1, compute_capability=(8, 9), driver='1')\n"
        "with card_lock.holding_cards([gpu], 0.0, print):\n"
        "    print('held', flush=True); time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        try:
            yield other
        finally:
            other.kill()


def test_a_card_is_one_tuners(folder: Path) -> None:
    told: list[str] = []
    with another(folder) as other:
        in_use = rf"GPU 0 \(NVIDIA L4\) is in use by another tuner \(process {other.pid}\)"
        with pytest.raises(RunError, match=in_use), holding_cards([card(1), card(0)], 0.3, told.append):
            pass
        assert told == [f"waiting for GPU 0: another tuner (process {other.pid}) uses it"]
        with holding_cards([card(1)], 0.0, told.append):
            pass
    with holding_cards([card(0)], 0.0, told.append):
        pass


def test_it_is_waited_for_and_a_killed_tuner_holds_nothing(folder: Path) -> None:
    with another(folder) as other:
        killing = threading.Timer(1.0, other.kill)
        killing.start()
        began = time.monotonic()
        with holding_cards([card(0)], 30.0, lambda text: None):
            assert 0.5 < time.monotonic() - began < 20
        killing.join()


def test_where_no_lock_can_be_kept_the_card_is_used(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(card_lock, "_FOLDER", folder / "missing")
    with holding_cards([card(0)], 0.0, lambda text: None):
        pass


def test_another_users_file_is_locked_too(folder: Path) -> None:
    (folder / "tuner-GPU-0.lock").write_text("4711")
    (folder / "tuner-GPU-0.lock").chmod(0o444)
    with holding_cards([card(0)], 0.0, lambda text: None):
        pass
