"""Cores as the affinity and the quota of the container allow them."""

import os

import pytest

from study.plan.cpus import cores


@pytest.fixture(autouse=True)
def sixty_four_cores(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)))


def machine(tmp_path, groups: str, **files: str):
    """A root with /proc/self/cgroup and files below /sys/fs/cgroup; __ in a name stands for a slash."""
    (tmp_path / "proc" / "self").mkdir(parents=True)
    (tmp_path / "proc" / "self" / "cgroup").write_text(groups)
    for name, text in files.items():
        path = tmp_path / "sys" / "fs" / "cgroup" / name.replace("__", "/").replace("cpu_max", "cpu.max")
        path = path.with_name(path.name.replace("cfs_quota", "cpu.cfs_quota_us").replace("cfs_period", "cpu.cfs_period_us"))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


@pytest.mark.parametrize(
    ("groups", "files", "expected"),
    [
        ("", {}, 64),
        ("0::/\n", {}, 64),
        ("0::/\n", {"cpu_max": "200000 100000\n"}, 2),
        ("0::/\n", {"cpu_max": "max 100000\n"}, 64),
        ("0::/\n", {"cpu_max": "50000 100000\n"}, 1),
        ("0::/\n", {"cpu_max": "150000 100000\n"}, 2),
        ("0::/\n", {"cpu_max": "9900000 100000\n"}, 64),
        ("0::/\n", {"cpu_max": "nonsense\n"}, 64),
        ("0::/\n", {"cpu_max": ""}, 64),
        ("0::/a/b\n", {"a__b__cpu_max": "max 100000\n", "a__cpu_max": "300000 100000\n"}, 3),
        ("0::/a/b\n", {"a__b__cpu_max": "200000 100000\n", "a__cpu_max": "300000 100000\n"}, 2),
        ("0::/a/b\n", {"other__cpu_max": "100000 100000\n"}, 64),
        ("0::/../../a\n", {"a__cpu_max": "200000 100000\n"}, 2),
        ("0::/\n1:name=x:/\n", {"unified__cpu_max": "400000 100000\n"}, 4),
        ("4:cpu,cpuacct:/d\n", {"cpu,cpuacct__d__cfs_quota": "200000\n", "cpu,cpuacct__d__cfs_period": "100000\n"}, 2),
        # A container sees its own group at the root, under the path of the host.
        ("4:cpu,cpuacct:/docker/abc\n", {"cpu__cfs_quota": "200000\n", "cpu__cfs_period": "100000\n"}, 2),
        ("4:cpu:/\n", {"cpu__cfs_quota": "-1\n", "cpu__cfs_period": "100000\n"}, 64),
        ("4:cpuset:/\n", {"cpuset__cfs_quota": "100000\n", "cpuset__cfs_period": "100000\n"}, 64),
        ("4:cpu:/\n", {"cpu__cfs_quota": "200000\n", "cpu__cfs_period": "0\n"}, 64),
    ],
)
def test_the_least_of_all_limits_counts(tmp_path, groups, files, expected):
    assert cores(machine(tmp_path, groups, **files)) == expected


def test_no_more_than_the_affinity(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3})
    assert cores(machine(tmp_path, "0::/\n", cpu_max="800000 100000")) == 1


def test_a_system_without_affinity(tmp_path, monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    assert cores(tmp_path) == 6


def test_this_machine():
    assert 1 <= cores() <= 64
