"""Control groups: where they are on machines of several kinds, and what is left over."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from netserv.container.cgroups import LEAF, PREFIX, Group, Groups, Hierarchy, choose, hierarchies, remove, sweep
from netserv.container.cgroups import _lock as lock
from netserv.container.installation import Limits
from netserv.container.zygote_messages import GroupWall
from netserv.errors import SystemRefusedError

FIRST = """\
30 20 0:26 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755
31 30 0:27 / /sys/fs/cgroup/cpu,cpuacct rw shared:9 - cgroup cgroup rw,cpu,cpuacct
32 30 0:28 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
33 30 0:29 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids
34 30 0:30 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
"""
FIRST_OWN = "4:memory:/a/b\n3:cpu,cpuacct:/\n2:pids:/\n1:name=systemd:/x\n0::/\n"
SECOND = "30 20 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
SECOND_OWN = "0::/system.slice/netserv.service\n"
# A container runtime shows a part of the hierarchy; the group is named from its root.
PART = "30 20 0:26 /docker/123 /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"


@pytest.mark.parametrize(
    ("mountinfo", "membership", "name", "expected"),
    [
        (FIRST, FIRST_OWN, "memory", Hierarchy(1, Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup/memory/a/b"))),
        (
            FIRST,
            FIRST_OWN,
            "cpuacct",
            Hierarchy(1, Path("/sys/fs/cgroup/cpu,cpuacct"), Path("/sys/fs/cgroup/cpu,cpuacct")),
        ),
        (FIRST, FIRST_OWN, "", Hierarchy(2, Path("/sys/fs/cgroup/unified"), Path("/sys/fs/cgroup/unified"))),
        (
            SECOND,
            SECOND_OWN,
            "",
            Hierarchy(2, Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/system.slice/netserv.service")),
        ),
        (
            PART,
            "4:memory:/docker/123/x\n",
            "memory",
            Hierarchy(1, Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup/memory/x")),
        ),
        (PART, "4:memory:/\n", "memory", Hierarchy(1, Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup/memory"))),
    ],
)
def test_a_controller_is_found_where_it_is_mounted(
    mountinfo: str, membership: str, name: str, expected: Hierarchy
) -> None:
    assert hierarchies(mountinfo, membership)[name] == expected


def unified(path: Path, offered: str) -> dict[str, Hierarchy]:
    (path / "cgroup.controllers").write_text(offered)
    return {"": Hierarchy(2, path, path)}


def test_version_two_serves_where_it_is_delegated(tmp_path: Path) -> None:
    found = unified(tmp_path, "cpuset cpu io memory pids")
    assert choose(found) == dict.fromkeys(("memory", "cpu", "pids"), found[""])


def test_what_is_missing_is_named_with_its_remedy(tmp_path: Path) -> None:
    with pytest.raises(SystemRefusedError, match=r"no control groups for pids: .*Delegate=yes"):
        choose(unified(tmp_path, "cpuset cpu io memory"))


def test_limits_of_version_two_go_by_other_names(tmp_path: Path) -> None:
    place = Hierarchy(2, tmp_path, tmp_path)
    names = ("memory", "cpu", "pids")
    group = Group(dict.fromkeys(names, tmp_path / "c0"), dict.fromkeys(names, place))
    group.limit(Limits(cpu_share=0.5))
    assert group.walls == (
        GroupWall("memory", "memory.max", str(64 << 20)),
        GroupWall("cpu", "cpu.max", "10000 20000"),
        GroupWall("pids", "pids.max", "16"),
    )
    (tmp_path / "c0" / "memory.current").write_text("4096\n")
    (tmp_path / "c0" / "memory.events").write_text("low 0\noom 2\noom_kill 1\n")
    (tmp_path / "c0" / "cpu.stat").write_text("usage_usec 1500000\nuser_usec 1000000\n")
    (tmp_path / "c0" / "pids.current").write_text("3\n")
    assert group.usage() == (4096, 1.5, 3, 1)
    group.hasten()
    assert (tmp_path / "c0" / "cpu.max").read_text() == "max"


def mounted() -> list[Path]:
    mountinfo = Path("/proc/self/mountinfo").read_text()
    found = hierarchies(mountinfo, Path("/proc/self/cgroup").read_text())
    wanted = [found[name] for name in ("memory", "pids", "") if name in found]
    return sorted({place.own for place in wanted})


def test_a_node_that_has_gone_into_its_leaf_is_still_of_its_group() -> None:
    own = hierarchies(SECOND, "0::/system.slice/netserv.service/netserv-node\n")[""].own
    assert own == Path("/sys/fs/cgroup/system.slice/netserv.service")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes control groups")
def test_in_version_two_the_node_leaves_its_group_to_those_of_its_containers() -> None:
    """With whatever controller this machine has there: they are handed down in the same way."""
    found = hierarchies(Path("/proc/self/mountinfo").read_text(), Path("/proc/self/cgroup").read_text())
    if "" not in found or not (offered := (found[""].mounted / "cgroup.controllers").read_text().split()):
        pytest.skip("no controller of version 2")
    top = found[""].mounted
    handed = top / "cgroup.subtree_control"
    before = handed.read_text().split()
    handed.write_text(f"+{offered[0]}")
    own = top / f"test-of-groups-{os.getpid()}"
    own.mkdir()
    node = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        (own / "cgroup.procs").write_text(str(node.pid))
        groups = Groups("0123", {offered[0]: Hierarchy(2, top, own)})
        assert (own / "cgroup.procs").read_text() == ""
        assert (own / LEAF / "cgroup.procs").read_text().split() == [str(node.pid)]
        home = own / f"{PREFIX}0123"
        assert (home / "cgroup.subtree_control").read_text().split() == [offered[0]]
        assert home not in sweep(own)
        groups.close()
        assert not home.exists()
    finally:
        node.kill()
        node.wait()
        remove(own)
        if offered[0] not in before:
            handed.write_text(f"-{offered[0]}")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes control groups")
@pytest.mark.parametrize("own", mounted(), ids=str)
def test_groups_of_a_killed_node_are_removed_and_those_of_a_living_one_stay(own: Path) -> None:
    dead, alive = own / f"{PREFIX}test-dead", own / f"{PREFIX}test-alive"
    (dead / "c0").mkdir(parents=True)
    alive.mkdir()
    held = lock(alive)
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        (dead / "c0" / "cgroup.procs").write_text(str(process.pid))
        assert dead in sweep(own)
        assert process.wait() == -9
        assert not dead.exists()
        assert alive.exists()
    finally:
        process.kill()
        process.wait()
        os.close(held)
        for path in (dead, alive):
            remove(path)
