"""The machine as its files tell it, from trees that a test writes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from workers.harness.host import CLOCK_TICKS, Host

Tree = Callable[[dict[str, str]], Host]


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    """Write files below a root and give the host that reads them; it may use processors 0 to 3."""

    def write(files: dict[str, str]) -> Host:
        for name, text in files.items():
            path = tmp_path / name.lstrip("/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return Host(str(tmp_path), cpus=[0, 1, 2, 3])

    return write


def test_an_empty_tree_is_unknown_and_no_error(tree: Tree) -> None:
    host = tree({})
    assert (host.cpu_times(), host.throttled_periods(), host.quota_cpus()) == (None, None, None)
    assert (host.load_average(), host.cpu_stall_s(), host.microcode()) == (None, None, None)
    assert (host.temperatures_c(), host.passive_limits_c()) == ({}, {})
    assert host.clock_policy() == {"governor": "unknown", "boost": "unknown"}
    assert host.cpu_model()


V2_QUOTA = {
    "/proc/self/cgroup": "0::/pod/worker\n",
    "/sys/fs/cgroup/cgroup.procs": "",
    "/sys/fs/cgroup/pod/cpu.max": "200000 100000\n",
    "/sys/fs/cgroup/pod/cpu.stat": "usage_usec 5\nnr_periods 9\nnr_throttled 3\nthrottled_usec 77\n",
    "/sys/fs/cgroup/pod/worker/cpu.max": "max 100000\n",
    "/sys/fs/cgroup/pod/worker/cpu.stat": "usage_usec 5\nnr_periods 9\nnr_throttled 4\nthrottled_usec 77\n",
}
V1_QUOTA = {
    "/proc/self/cgroup": "11:memory:/docker/abc\n4:cpu,cpuacct:/docker/abc\n",
    "/sys/fs/cgroup/cpu,cpuacct/cgroup.procs": "",
    "/sys/fs/cgroup/cpu,cpuacct/docker/abc/cpu.cfs_quota_us": "150000\n",
    "/sys/fs/cgroup/cpu,cpuacct/docker/abc/cpu.cfs_period_us": "50000\n",
    "/sys/fs/cgroup/cpu,cpuacct/docker/abc/cpu.stat": "nr_periods 10\nnr_throttled 7\nthrottled_time 900\n",
    "/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "-1\n",
    "/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
}
V1_IN_CONTAINER = {
    "/proc/self/cgroup": "4:cpu,cpuacct:/docker/not-mounted-here\n",
    "/sys/fs/cgroup/cpu/cgroup.procs": "",
    "/sys/fs/cgroup/cpu/cpu.cfs_quota_us": "50000\n",
    "/sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
    "/sys/fs/cgroup/cpu/cpu.stat": "nr_periods 10\nnr_throttled 1\nthrottled_time 900\n",
}


@pytest.mark.parametrize(
    ("files", "quota", "origin", "threads", "throttled"),
    [
        (V2_QUOTA, 2.0, "/sys/fs/cgroup/pod/cpu.max", 2, 7),
        (V1_QUOTA, 3.0, "/sys/fs/cgroup/cpu,cpuacct/docker/abc/cpu.cfs_quota_us", 3, 7),
        (V1_IN_CONTAINER, 0.5, "/sys/fs/cgroup/cpu/cpu.cfs_quota_us", 1, 1),
    ],
    ids=["v2, quota on the parent", "v1", "v1 in a container, less than one processor"],
)
def test_quota_and_throttling_of_control_groups(
    tree: Tree, files: dict[str, str], quota: float, origin: str, threads: int, throttled: int
) -> None:
    host = tree(files)
    assert host.quota_cpus() == (quota, origin)
    assert host.cpu_limit().threads == threads
    assert origin in host.cpu_limit().origin
    assert host.throttled_periods() == throttled


def test_without_a_quota_the_affinity_limits(tree: Tree) -> None:
    limit = tree({"/proc/self/cgroup": "0::/\n", "/sys/fs/cgroup/cpu.max": "max 100000\n"}).cpu_limit()
    assert limit == (4, "the 4 processors that this process may use")


def test_processor_times_are_those_of_the_usable_processors(tree: Tree) -> None:
    host = tree(
        {
            "/proc/stat": (
                "cpu  9999 0 0 0 0 0 0 0 0 0\n"
                "cpu0 100 20 30 5000 900 4 6 8 0 0\n"
                "cpu3 200 0 0 5000 0 0 0 2 0 0\n"
                "cpu7 7777 0 0 0 0 0 0 7777 0 0\n"
                "intr 5\n"
            )
        }
    )
    times = host.cpu_times()
    assert times is not None
    assert times.busy_s * CLOCK_TICKS == pytest.approx(360)
    assert times.steal_s * CLOCK_TICKS == pytest.approx(10)
    assert host.cpu_count() == 3


def test_names_and_policies(tree: Tree) -> None:
    host = tree(
        {
            "/proc/cpuinfo": "processor\t: 0\nmodel name\t: Some CPU @ 3 GHz\nmicrocode\t: 0xa1\n",
            "/etc/os-release": 'ID=debian\nPRETTY_NAME="Debian 12"\n',
            "/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "performance\n",
            "/sys/devices/system/cpu/cpu1/cpufreq/scaling_governor": "schedutil\n",
            "/sys/devices/system/cpu/intel_pstate/no_turbo": "1\n",
            "/sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq": "2400000\n",
            "/sys/class/thermal/thermal_zone0/temp": "48500\n",
            "/sys/class/thermal/thermal_zone0/type": "x86_pkg_temp\n",
            "/sys/class/thermal/thermal_zone0/trip_point_0_type": "critical\n",
            "/sys/class/thermal/thermal_zone0/trip_point_0_temp": "105000\n",
            "/sys/class/thermal/thermal_zone0/trip_point_1_type": "passive\n",
            "/sys/class/thermal/thermal_zone0/trip_point_1_temp": "95000\n",
            "/sys/class/thermal/thermal_zone1/temp": "61000\n",
            "/sys/class/thermal/thermal_zone1/type": "iwlwifi_1\n",
            "/proc/loadavg": "0.25 0.1 0.1 1/99 123\n",
            "/proc/pressure/cpu": "some avg10=1.50 avg60=0.00 avg300=0.00 total=2500000\nfull avg10=0.00\n",
            "/proc/meminfo": "MemTotal:  2048 kB\n",
        }
    )
    assert (host.cpu_model(), host.microcode(), host.operating_system()) == ("Some CPU @ 3 GHz", "0xa1", "Debian 12")
    assert host.clock_policy() == {"governor": "performance+schedutil", "boost": "0"}
    assert (host.frequencies_mhz(), host.temperatures_c()) == ([2400], {"0 x86_pkg_temp": 48.5})
    assert host.passive_limits_c() == {"0 x86_pkg_temp": 95.0}
    assert (host.load_average(), host.cpu_stall_s(), host.memory_bytes()) == (0.25, 2.5, 2048 * 1024)


def test_stalls_are_those_of_the_own_control_group_where_it_counts_them(tree: Tree) -> None:
    host = tree(
        {
            **V2_QUOTA,
            "/proc/pressure/cpu": "some avg10=9.00 avg60=9.00 avg300=9.00 total=9000000\n",
            "/sys/fs/cgroup/pod/worker/cpu.pressure": "some avg10=0.00 avg60=0.00 avg300=0.00 total=1000000\n",
        }
    )
    assert host.cpu_stall_s() == 1.0


def test_a_board_is_named_by_its_device_tree(tree: Tree) -> None:
    processor = "processor\t: 0\nmodel name\t: ARMv8 Processor rev 1 (v8l)\n"
    host = tree({"/proc/cpuinfo": processor, "/proc/device-tree/model": "Some Board Rev 2\0"})
    assert host.cpu_model() == "Some Board Rev 2"


def test_this_machine_can_be_read() -> None:
    host = Host()
    times = host.cpu_times()
    assert times is not None
    assert times.busy_s > 0
    assert 1 <= host.cpu_limit().threads <= len(host.cpus)
