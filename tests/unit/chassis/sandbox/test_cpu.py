"""How workers are kept to their share of a processor."""

from pathlib import Path

import pytest

from infrafabric_server.chassis.sandbox.cpu import CgroupShare, SignalShare, cpu_share


@pytest.mark.parametrize("quota", ["cpu.max", "cpu.cfs_quota_us"])
def test_x2_a_folder_that_is_no_cgroup_is_not_taken_for_one(tmp_path: Path, quota: str) -> None:
    with pytest.raises(FileNotFoundError):
        CgroupShare(tmp_path, quota)
    assert list(tmp_path.iterdir()) == []


def test_x2_what_services_left_that_are_gone_is_removed(tmp_path: Path) -> None:
    gone, there, others = (
        tmp_path / name for name in (f"infrafabric-{1 << 23}-7", "infrafabric-1-7", "infrafabric-x")
    )
    for folder in (gone, there, others):
        folder.mkdir()
    with pytest.raises(FileNotFoundError):
        CgroupShare(tmp_path, "cpu.max")
    assert sorted(tmp_path.iterdir()) == sorted((there, others))


def test_x2_the_way_says_what_it_is() -> None:
    assert "SIGSTOP" in SignalShare().described
    assert cpu_share().described.startswith(("cgroup, cpu.", "SIGSTOP"))
