"""Control groups of containers: memory, processor and processes, of either version (cgroups(7)).

Each controller is taken where this machine has it: mounted by itself (version 1), or in the unified hierarchy, if the
node's own group is delegated to it (version 2; systemd's `Delegate=yes`). All groups of a node lie in one directory
`netserv-TOKEN` per hierarchy, which the node holds locked: a directory whose lock is free is left over from a node that
was killed, and is removed by the next.
"""

import errno
import fcntl
import os
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Final, NamedTuple

from netserv.container.descriptors import close_all
from netserv.container.installation import Limits
from netserv.container.zygote_messages import GroupWall
from netserv.errors import SystemRefusedError

CONTROLLERS: Final = ("memory", "cpu", "pids")
PERIOD_US: Final = 20_000
"Of the processor quota: a container that has used its share waits 20 ms at most, not the kernel's 100."
QUOTA_MIN_US: Final = 1_000
"The kernel's own."
PREFIX: Final = "netserv-"
LEAF: Final = "netserv-node"
"Where the node itself goes in version 2, in which a group with controllers for others has no processes."
DIRECTORIES_MAX: Final = 20_000
"Looked through for leftovers."
REMOVE_S: Final = 2.0
"Longest wait for killed processes to leave a group."
_MEMBERS: Final = "cgroup.procs"


class Hierarchy(NamedTuple):
    """Where a controller is."""

    version: int
    mounted: Path
    own: Path
    "The group that this process is in."


class Usage(NamedTuple):
    """What a container uses, as the kernel counts."""

    memory_bytes: int
    cpu_s: float
    pids: int
    killed_for_memory: int


def hierarchies(mountinfo: str, membership: str) -> dict[str, Hierarchy]:
    """Where each controller of a machine is, by name; `cpuacct` beside ours, the unified hierarchy as "".

    Args:
        mountinfo: /proc/self/mountinfo.
        membership: /proc/self/cgroup.
    """
    found: dict[str, Hierarchy] = {}
    own = dict(line.split(":", 2)[1:] for line in membership.splitlines())
    groups = {name: path for names, path in own.items() for name in names.split(",")}
    for line in mountinfo.splitlines():
        head, _, tail = line.partition(" - ")
        kind, _, options = tail.split(" ", 2)
        root, place = head.split(" ")[3:5]
        names = [""] if kind == "cgroup2" else options.split(",") if kind == "cgroup" else []
        for name in names:
            if name in groups and name not in found:
                found[name] = Hierarchy(
                    2 if kind == "cgroup2" else 1, Path(place), _own(Path(place), root, groups[name])
                )
    return found


def _own(place: Path, root: str, group: str) -> Path:
    relative = os.path.relpath(group, root)
    own = place if relative.startswith("..") else place / relative
    return own.parent if own.name == LEAF else own  # where this process has gone before


def choose(found: dict[str, Hierarchy]) -> dict[str, Hierarchy]:
    """Where `CONTROLLERS` are, and `cpuacct` where it stands alone.

    Raises:
        SystemRefusedError: one of them is nowhere.
    """
    unified = found.get("")
    offered = _words(unified.own / "cgroup.controllers") if unified else []
    chosen: dict[str, Hierarchy] = {}
    for name in CONTROLLERS:
        if name in found:
            chosen[name] = found[name]
        elif unified and name in offered:
            chosen[name] = unified
        else:
            raise SystemRefusedError(
                f"no control groups for {name}: mount that controller, or run the node with Delegate=yes (systemd)"
            )
    if chosen["cpu"].version == 1:
        chosen["cpuacct"] = found.get("cpuacct", chosen["cpu"])
    return chosen


class Groups:
    """All groups of this node."""

    def __init__(self, token: str, places: dict[str, Hierarchy]) -> None:
        """Make them, after removing those of nodes that were killed.

        Raises:
            SystemRefusedError: they cannot be made.
        """
        self._places = places
        self._locks: list[int] = []
        try:
            mounts = sorted({place.mounted for place in places.values()})
            with ExitStack() as alone:
                # A directory that another node has made and not locked yet is no leftover.
                for mounted in mounts:
                    alone.callback(os.close, _lock(mounted, wait=True))
                for mounted in mounts:
                    sweep(mounted)
                self._delegate()
                self._homes = {name: place.own / f"{PREFIX}{token}" for name, place in places.items()}
                for home in sorted(set(self._homes.values())):
                    home.mkdir()
                    self._locks.append(_lock(home))
            self._enable(self._homes)
        except OSError as error:
            self.close()
            raise SystemRefusedError(f"control groups: {error}; containers need root") from error

    def _delegate(self) -> None:
        """Version 2: leave the node's own group, and hand its controllers down."""
        for group in {place.own for place in self._places.values() if place.version == 2}:
            if (group / "cgroup.type").exists():  # all but the root of the machine
                leaf = group / LEAF
                leaf.mkdir(exist_ok=True)
                for member in _words(group / _MEMBERS):
                    with suppress(ProcessLookupError):
                        (leaf / _MEMBERS).write_text(member)
        self._enable({name: place.own for name, place in self._places.items()})

    def _enable(self, homes: dict[str, Path]) -> None:
        for name, home in homes.items():
            if self._places[name].version == 2:
                (home / "cgroup.subtree_control").write_text(f"+{name}")

    def make(self, name: str) -> "Group":
        """A group for one container, without limits yet.

        Raises:
            SystemRefusedError: it cannot be made.
        """
        try:
            return Group({controller: home / name for controller, home in self._homes.items()}, self._places)
        except OSError as error:
            raise SystemRefusedError(f"control groups: {error}") from error

    def close(self) -> None:
        """Remove them all, with what is in them."""
        for home in sorted(set(getattr(self, "_homes", {}).values())):
            remove(home)
        close_all(self._locks)
        self._locks.clear()


class Group:
    """The control groups of one container."""

    def __init__(self, places: dict[str, Path], hierarchy: dict[str, Hierarchy]) -> None:
        self._places, self._hierarchy = places, hierarchy
        for path in sorted(set(places.values())):
            path.mkdir()
        self.walls: tuple[GroupWall, ...] = ()
        "In the order of `open`."

    def limit(self, limits: Limits) -> None:
        """Set its limits, before a container enters.

        Raises:
            SystemRefusedError: it cannot be done.
        """
        try:
            self.walls = tuple(self._limit(limits))
        except OSError as error:
            raise SystemRefusedError(f"control groups: {error}") from error

    def hasten(self) -> None:
        """Let what has been killed have all the processor that it needs to go, until `limit` is called again.

        Processes that hold each other up at the memory limit have taken half a minute to die within their share.
        """
        file, value = ("cpu.cfs_quota_us", "-1") if self._hierarchy["cpu"].version == 1 else ("cpu.max", "max")
        with suppress(OSError):  # it has gone already
            (self._places["cpu"] / file).write_text(value)

    def _limit(self, limits: Limits) -> Iterator[GroupWall]:
        self._limit_swap("-1")  # memory can be no more than both together
        for wall, file, value in self._limit_files(limits):
            path = self._places[wall] / file
            path.write_text(value)
            yield GroupWall(wall, file, path.read_text().strip())
        self._limit_swap(str(limits.memory_bytes))

    def _limit_swap(self, both: str) -> None:
        """So much memory and swap together; in version 2 no swap at all."""
        first = self._hierarchy["memory"].version == 1
        file, value = ("memory.memsw.limit_in_bytes", both) if first else ("memory.swap.max", "0")
        with suppress(OSError):  # no swap is counted
            (self._places["memory"] / file).write_text(value)

    def _limit_files(self, limits: Limits) -> Iterator[tuple[str, str, str]]:
        first = {name: self._hierarchy[name].version == 1 for name in CONTROLLERS}
        quota = max(QUOTA_MIN_US, int(limits.cpu_share * PERIOD_US))
        yield "memory", "memory.limit_in_bytes" if first["memory"] else "memory.max", str(limits.memory_bytes)
        if first["cpu"]:
            (self._places["cpu"] / "cpu.cfs_period_us").write_text(str(PERIOD_US))
            yield "cpu", "cpu.cfs_quota_us", str(quota)
        else:
            yield "cpu", "cpu.max", f"{quota} {PERIOD_US}"
        yield "pids", "pids.max", str(limits.pids)
        if self._places.get("cpuacct", self._places["cpu"]) != self._places["cpu"]:
            yield "cpuacct", "notify_on_release", "0"  # counts, and limits nothing

    def open(self) -> list[int]:
        """A directory for each of `walls`, for the process that is to enter them."""
        return [os.open(self._places[wall.wall], os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC) for wall in self.walls]

    def usage(self) -> Usage:
        """What the container uses now; zeros once its groups are gone."""
        memory, pids = self._places["memory"], self._places["pids"]
        first = self._hierarchy["memory"].version == 1
        events = _fields(memory / ("memory.oom_control" if first else "memory.events"))
        if "cpuacct" in self._places:
            cpu_s = _number(self._places["cpuacct"] / "cpuacct.usage") / 1e9
        else:
            cpu_s = _fields(self._places["cpu"] / "cpu.stat").get("usage_usec", 0) / 1e6
        return Usage(
            memory_bytes=_number(memory / ("memory.usage_in_bytes" if first else "memory.current")),
            cpu_s=cpu_s,
            pids=_number(pids / "pids.current"),
            killed_for_memory=events.get("oom_kill", 0),
        )

    def remove(self) -> None:
        """Kill what is in them, and remove them."""
        for path in sorted(set(self._places.values())):
            remove(path)


def sweep(mounted: Path) -> list[Path]:
    """Remove what killed nodes have left in a hierarchy; returns what was found."""
    swept = []
    for path in _ours(mounted):
        try:
            lock = _lock(path)
        except OSError:
            continue  # of a node that lives, or gone
        try:
            remove(path)
        finally:
            os.close(lock)
        swept.append(path)
    return swept


def _ours(mounted: Path) -> Iterator[Path]:
    for seen, (directory, names, _files) in enumerate(os.walk(mounted)):
        if seen > DIRECTORIES_MAX:
            return
        for name in [name for name in names if name.startswith(PREFIX) and name != LEAF]:
            names.remove(name)
            yield Path(directory) / name


def remove(group: Path) -> None:
    """Kill all in a group and below it, and remove it; what cannot be removed stays for the next sweep."""
    deadline = time.monotonic() + REMOVE_S
    while group.exists() and time.monotonic() < deadline:
        for directory, _names, _files in os.walk(group, topdown=False):
            _kill_members(Path(directory))
            with suppress(OSError):
                os.rmdir(directory)
        if group.exists():
            time.sleep(0.005)  # killed processes need a moment to go; no event tells of it in version 1


def _kill_members(group: Path) -> None:
    for member in _words(group / _MEMBERS):
        with suppress(OSError, ValueError):
            os.kill(int(member), signal.SIGKILL)


def _lock(path: Path, *, wait: bool = False) -> int:
    """Lock a directory for as long as the descriptor is open.

    Args:
        path: of it.
        wait: until who has it lets go; nodes have that of a hierarchy for some milliseconds.

    Raises:
        OSError: somebody else has it, or it is gone.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        same = os.path.samestat(os.fstat(descriptor), os.stat(path))
    except OSError:
        os.close(descriptor)
        raise
    if not same:
        os.close(descriptor)
        raise OSError(errno.ESTALE, "made anew meanwhile", str(path))
    return descriptor


def _words(path: Path) -> Sequence[str]:
    try:
        return path.read_text().split()
    except OSError:
        return []


def _number(path: Path) -> int:
    words = _words(path)
    return int(words[0]) if words else 0


def _fields(path: Path) -> dict[str, int]:
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return {}
    return {name: int(value) for name, value in (line.split() for line in lines) if value.isdigit()}
