"""Memory, threads and speed of a machine, read from files that a test writes."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from reelgraph import machine
from reelgraph.machine import Memory

MEMINFO = "MemTotal:       16000 kB\nMemFree:         2000 kB\nMemAvailable:    9000 kB\n"


def write(root: Path, **files: str) -> None:
    """Write files below a root; `__` in a name stands for a slash."""
    for name, text in files.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_memory_without_control_groups(tmp_path: Path) -> None:
    write(tmp_path, proc__meminfo=MEMINFO)
    assert machine.free_memory(tmp_path) == Memory(9000 * 1024, 16000 * 1024, "on this machine")


def test_the_limit_of_an_outer_group_counts(tmp_path: Path) -> None:
    write(tmp_path, proc__meminfo=MEMINFO, proc__self__cgroup="0::/batch/job\n")
    group = tmp_path / "sys/fs/cgroup/batch"
    write(group, job__memory__max="max\n")
    (group / "memory.max").write_text("6000000\n")
    (group / "memory.current").write_text("5000000\n")
    (group / "memory.stat").write_text("anon 1\ninactive_file 300000\n")
    (group / "job" / "memory.max").write_text("max\n")
    (group / "job" / "memory.current").write_text("4000000\n")
    assert machine.free_memory(tmp_path) == Memory(1_300_000, 6_000_000, "in this container")


def test_total_memory_is_that_of_the_smallest_group(tmp_path: Path) -> None:
    write(tmp_path, proc__meminfo=MEMINFO)
    assert machine.whole_memory(tmp_path) == 16000 * 1024
    write(tmp_path, proc__self__cgroup="0::/a/b\n")
    for group, limit in (("a", 9_000_000), ("a/b", 12_000_000)):
        (tmp_path / "sys/fs/cgroup" / group).mkdir(parents=True, exist_ok=True)
        (tmp_path / "sys/fs/cgroup" / group / "memory.max").write_text(f"{limit}\n")
        (tmp_path / "sys/fs/cgroup" / group / "memory.current").write_text("1\n")
    assert machine.whole_memory(tmp_path) == 9_000_000


def test_a_group_that_is_mounted_at_the_top(tmp_path: Path) -> None:
    write(tmp_path, proc__meminfo=MEMINFO, proc__self__cgroup="0::/somewhere/not/mounted\n")
    group = tmp_path / "sys/fs/cgroup"
    group.mkdir(parents=True)
    (group / "memory.max").write_text("5000000")
    (group / "memory.current").write_text("6000000")
    assert machine.free_memory(tmp_path) == Memory(0, 5_000_000, "in this container")


def test_control_groups_of_version_1(tmp_path: Path) -> None:
    write(tmp_path, proc__meminfo=MEMINFO, proc__self__cgroup="5:cpu,cpuacct:/a\n4:memory:/docker/1\n0::/\n")
    group = tmp_path / "sys/fs/cgroup/memory/docker/1"
    group.mkdir(parents=True)
    (group / "memory.limit_in_bytes").write_text("8000000")
    (group / "memory.usage_in_bytes").write_text("7000000")
    (group / "memory.stat").write_text("inactive_file 5\ntotal_inactive_file 500000\n")
    top = tmp_path / "sys/fs/cgroup/memory"
    (top / "memory.limit_in_bytes").write_text("9223372036854771712")  # no limit
    (top / "memory.usage_in_bytes").write_text("9000000")
    assert machine.free_memory(tmp_path) == Memory(1_500_000, 8_000_000, "in this container")


def test_a_limit_above_the_free_memory_does_not_count(tmp_path: Path) -> None:
    write(tmp_path, proc__meminfo=MEMINFO, proc__self__cgroup="0::/\n")
    group = tmp_path / "sys/fs/cgroup"
    group.mkdir(parents=True)
    (group / "memory.max").write_text("90000000")
    (group / "memory.current").write_text("1000000")
    found = machine.free_memory(tmp_path)
    assert found is not None
    assert found.where == "on this machine"


def test_without_proc_all_memory_counts_as_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": 1000}
    monkeypatch.setattr(os, "sysconf", sizes.__getitem__)
    assert machine.free_memory(tmp_path) == Memory(4_096_000, 4_096_000, "on this machine")
    write(tmp_path, proc__meminfo="MemTotal: 16000 kB\n")
    assert machine.free_memory(tmp_path) == Memory(4_096_000, 4_096_000, "on this machine")


def test_a_system_that_does_not_tell_its_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str) -> int:
        raise ValueError(name)

    monkeypatch.setattr(os, "sysconf", refuse)
    assert machine.free_memory(tmp_path) is None


def test_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert machine.threads() == 3
    monkeypatch.setenv("OMP_NUM_THREADS", "")
    assert 1 <= machine.threads() <= (os.cpu_count() or 1)


def test_peak_memory_is_that_of_this_process() -> None:
    code = (
        "import sys, numpy; from reelgraph.machine import peak_memory; before = peak_memory(); "
        "numpy.ones(10**8, numpy.uint8); sys.stdout.write(str(peak_memory() - before))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 0.9e8 < int(done.stdout) < 1.3e8


def test_gathers_counts_rows() -> None:
    assert machine.gathers(0.01) > machine.PROBE_GATHERED


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only for glibc")
def test_kept_memory_avoids_page_faults_and_is_released_at_the_end() -> None:
    done = subprocess.run([sys.executable, "-c", FAULTS], capture_output=True, text=True, check=True)
    before, kept, after, left = map(int, done.stdout.split())
    assert before > 10 * kept, "page faults are avoided inside the block"
    assert after > 10 * kept, "but not after it"
    assert left < ARRAY / 2, "and its memory was released"


ARRAY, ROUNDS = 64_000_000, 8
FAULTS = f"""
import resource
import numpy as np, psutil
from reelgraph.machine import kept_memory

def faults():
    np.ones({ARRAY} // 8)
    first = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range({ROUNDS}):
        np.ones({ARRAY} // 8)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - first

resident = psutil.Process().memory_info().rss
print(faults())
with kept_memory():
    print(faults())
print(faults())
print(psutil.Process().memory_info().rss - resident)
"""
