"""What this machine lends, with quotas as containers have them."""

from pathlib import Path

import pytest

from tuner.measure import host_cores
from tuner.measure.host_cores import HostTime, busy, host_time


def at(time_s: float, used: int, whole: int, quota_used_s: float | None = None, quota: float | None = None) -> HostTime:
    return HostTime(time_s=time_s, busy=used, whole=whole, quota_used_s=quota_used_s, quota=quota)


def test_busy_is_the_share_of_the_cores_ticks() -> None:
    assert busy(at(0.0, 100, 1000), at(1.0, 150, 1200)) == pytest.approx(0.25)
    assert busy(at(0.0, 100, 1000), at(1.0, 100, 1000)) is None


def test_a_full_quota_is_busy_on_idle_cores() -> None:
    assert busy(at(0.0, 0, 0, 10.0, 2.0), at(10.0, 10, 1000, 29.0, 2.0)) == pytest.approx(0.95)


def test_this_machine_tells() -> None:
    seen = host_time()
    assert seen is not None
    assert 0 < seen.busy <= seen.whole
    assert host_cores.host_cores() >= 1


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({"cpu.max": "150000 100000", "cpu.stat": "usage_usec 3000000"}, 2),
        ({"cpu.max": "max 100000", "cpu.stat": "usage_usec 3000000"}, 8),
        ({"cpu.cfs_quota_us": "300000", "cpu.cfs_period_us": "100000"}, 3),
        ({"cpu.cfs_quota_us": "-1", "cpu.cfs_period_us": "100000"}, 8),
        ({"cpu.max": "nonsense"}, 8),
        ({}, 8),
    ],
)
def test_a_quota_bounds_the_cores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str], cores: int
) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(host_cores, "_folders", lambda: [tmp_path])
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(8)))
    assert host_cores.host_cores() == cores


def test_the_groups_above_are_asked_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (own := tmp_path / "own").write_text("0::/a/b\n")
    monkeypatch.setattr(host_cores, "_OWN", own)
    monkeypatch.setattr(host_cores, "_CGROUP", tmp_path)
    assert host_cores._folders() == [tmp_path / "a" / "b", tmp_path / "a", tmp_path]
