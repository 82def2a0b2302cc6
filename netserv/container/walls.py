"""A test from inside for each wall: it is run in the confined child, before anything of a publisher is loaded.

Each tries what its wall forbids, or reads what the kernel says of this process where trying would do harm (a test of
the memory limit would end in being killed). A test that cannot be carried out has failed.
"""

import errno
import mmap
import os
import resource
import signal
import socket
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Final, NamedTuple

from netserv.container import kernel
from netserv.container.namespaces import HOST_NAME, LAST_CAPABILITY
from netserv.container.root import DATA, MODULES, NODE_ONLY
from netserv.container.zygote_messages import INNER_ID, Start

OVERFLOW_ID: Final = 65_534
"How a user that has no number in this namespace is shown (/proc/sys/kernel/overflowuid)."
TRIED_CALLS: Final[Mapping[str, tuple[int | None, ...]]] = {
    "execve": (None, None, None),
    "execveat": (-1, None, None, None, 0),
    "ptrace": (-1, 1, None, None),
    "process_vm_readv": (1, None, 0, None, 0, 0),
    "process_vm_writev": (1, None, 0, None, 0, 0),
    "pidfd_getfd": (-1, 0, 0),
    "kcmp": (1, 1, 0, 0, 0),
    "io_uring_setup": (0, None),
    "userfaultfd": (-1,),
    "keyctl": (-1, 0, 0, 0, 0),
    "add_key": (None, None, None, 0, 0),
    "perf_event_open": (None, 0, -1, -1, 0),
    "unshare": (0,),
    "setns": (-1, 0),
    "open_tree": (-1, None, 0),
    "name_to_handle_at": (-1, None, None, None, 0),
    "personality": (0xFFFF_FFFF,),
    "setpriority": (0, 0, 19),
    "memfd_create": (None, 0),
    "bind": (-1, None, 0),
    "connect": (-1, None, 0),
    "listen": (-1, 0),
}
"Calls with arguments that without the filter do nothing, or have another answer than EPERM."


class Kept(NamedTuple):
    """What is opened before the walls stand, for their tests; closed after these."""

    process: int
    "/proc of the zygote."
    groups: Sequence[tuple[int, int]]
    "Members and limit of each control group."
    namespaces: Mapping[str, int]
    "Those of the zygote, by name: their inode numbers."
    root_names: frozenset[str]
    "What is in the root directory."
    open_descriptors: frozenset[int]
    "Those that may be open."


def test_walls(start: Start, kept: Kept) -> dict[str, bool]:
    """Whether each wall stands.

    Args:
        start: what was asked for.
        kept: what was opened before.
    """
    result = {}
    for name, test in TESTS.items():
        try:
            result[name] = test(start, kept)
        except (OSError, ValueError, IndexError):
            result[name] = False
    return result


def _refused(code: int, function: Callable[..., object], *arguments: object) -> bool:
    try:
        function(*arguments)
    except OSError as error:
        return error.errno == code
    return False


def _own_user(_start: Start, _kept: Kept) -> bool:
    """Not the machine's root under another number: its file is closed to us."""
    ids = {*os.getresuid(), *os.getresgid(), *os.getgroups()}
    return ids == {INNER_ID} and _refused(errno.EACCES, os.open, NODE_ONLY, os.O_RDONLY)


def _user_namespace(_start: Start, kept: Kept) -> bool:
    """The machine's root has no number here."""
    return os.stat(NODE_ONLY).st_uid == OVERFLOW_ID and _apart("user")(_start, kept)


def _apart(name: str) -> Callable[[Start, Kept], bool]:
    def test(_start: Start, kept: Kept) -> bool:
        return os.stat(f"self/ns/{name}", dir_fd=kept.process).st_ino != kept.namespaces[name]

    return test


def _pid_namespace(start: Start, kept: Kept) -> bool:
    """The first process of all that it can see."""
    return os.getpid() == 1 and os.getppid() == 0 and _apart("pid")(start, kept)


def _uts_namespace(start: Start, kept: Kept) -> bool:
    return os.uname().nodename == HOST_NAME and _apart("uts")(start, kept)


def _net_namespace(start: Start, kept: Kept) -> bool:
    """Only a loopback interface (of UNIX sockets one may ask too), which is down."""
    return _apart("net")(start, kept)


def _root(_start: Start, kept: Kept) -> bool:
    """Nothing but what was built, and no way up."""
    above = {os.stat(path).st_ino for path in ("/", "/..", "/../..")}
    return set(os.listdir("/")) == kept.root_names and len(above) == 1 and not os.path.exists("/proc")


def _read_only_root(start: Start, _kept: Kept) -> bool:
    """Neither its root nor modules can be written, whoever asks."""
    tries = ("/x", f"{MODULES}/x", f"{os.path.dirname(os.__file__)}/x")
    return all(_refused(errno.EROFS, os.mkdir, path) for path in tries) and start.slot >= 0


def _disk(start: Start, _kept: Kept) -> bool:
    """A file larger than the limit has no room, and the file system says how large it is."""
    total = os.statvfs(DATA)
    if total.f_blocks * total.f_frsize > start.disk_bytes + mmap.PAGESIZE or not total.f_files:
        return False
    path = f"{DATA}/.test"
    file = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        return _refused(errno.ENOSPC, os.posix_fallocate, file, 0, start.disk_bytes + 2 * mmap.PAGESIZE)
    finally:
        os.close(file)
        os.unlink(path)


def _capabilities(_start: Start, _kept: Kept) -> bool:
    """None now, and none that a program could give back."""
    for capability in range(LAST_CAPABILITY + 1):
        try:
            if kernel.prctl(kernel.PR_CAPBSET_READ, capability):
                return False
        except OSError:
            break  # past the last
    return kernel.capabilities() == (0, 0, 0)


def _no_new_privileges(_start: Start, _kept: Kept) -> bool:
    return kernel.prctl(kernel.PR_GET_NO_NEW_PRIVS) == 1


def _dies_with_node(_start: Start, _kept: Kept) -> bool:
    return kernel.signal_at_parents_death() == signal.SIGKILL


def _limits(start: Start, _kept: Kept) -> bool:
    """No descriptor at or above the limit; more memory than the limit is not given; no core is written."""
    too_high = _refused(errno.EBADF, os.dup2, 0, start.descriptors)
    cores = resource.getrlimit(resource.RLIMIT_CORE) == (0, 0)
    try:
        mmap.mmap(-1, start.memory_bytes + (64 << 20), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS).close()
    except OSError as error:
        return too_high and cores and error.errno == errno.ENOMEM
    return False


def _group(wall: str) -> Callable[[Start, Kept], bool]:
    """This process is a member, and the limit is the one that was asked for: told by the kernel, by files kept open."""

    def test(start: Start, kept: Kept) -> bool:
        at = [group.wall for group in start.groups].index(wall)
        members, limit = (_read(file) for file in kept.groups[at])
        return str(os.getpid()) in members.split() and limit.strip() == start.groups[at].value

    return test


def _read(file: int) -> str:
    return os.pread(file, 4096, 0).decode()


def _landlock(_start: Start, _kept: Kept) -> bool:
    """A device that everybody may write, but for whom Landlock has no rule for it."""
    return _refused(errno.EACCES, os.open, "/dev/full", os.O_WRONLY)


def _system_calls(_start: Start, _kept: Kept) -> bool:
    """Those of the list, and a namespace by way of clone."""
    tried = all(_refused(errno.EPERM, kernel.call, name, *arguments) for name, arguments in TRIED_CALLS.items())
    # With CLONE_FS, which the kernel itself would refuse with EINVAL: no process is made here in any case.
    no_namespace = _refused(errno.EPERM, kernel.call, "clone", kernel.CLONE_NEWUSER | 0x200, 0, 0, 0, 0)
    return tried and no_namespace and _refused(errno.ENOSYS, kernel.call, "clone3", None, 0)


def _executable_memory(_start: Start, _kept: Kept) -> bool:
    """Neither new memory nor old becomes code."""
    for rights in (mmap.PROT_EXEC, mmap.PROT_EXEC | mmap.PROT_WRITE | mmap.PROT_READ):
        try:
            mmap.mmap(-1, mmap.PAGESIZE, prot=rights).close()
        except PermissionError:
            continue
        return False
    return _refused(errno.EPERM, kernel.call, "mprotect", 0, 0, mmap.PROT_EXEC)


def _sockets(_start: Start, _kept: Kept) -> bool:
    """Only UNIX sockets: not of the internet, packet, netlink, AF_ALG, vsock or what comes later."""
    families = (socket.AF_INET, socket.AF_INET6, socket.AF_PACKET, socket.AF_NETLINK, 38, 40, 44)
    return all(_refused(errno.EAFNOSUPPORT, _socket, family) for family in families)


def _socket(family: int) -> None:
    socket.socket(family, socket.SOCK_DGRAM).close()


def _session(_start: Start, _kept: Kept) -> bool:
    """No terminal of the node."""
    return os.getsid(0) == os.getpid() and _refused(errno.ENOENT, os.open, "/dev/tty", os.O_RDWR)


def _descriptors(start: Start, kept: Kept) -> bool:
    """Nothing of the node is left open."""
    found = set()
    for descriptor in range(start.descriptors):
        with suppress(OSError):
            os.fstat(descriptor)
            found.add(descriptor)
    return found <= kept.open_descriptors


TESTS: Final[Mapping[str, Callable[[Start, Kept], bool]]] = {
    "user": _own_user,
    "user_namespace": _user_namespace,
    "pid_namespace": _pid_namespace,
    "mount_namespace": _apart("mnt"),
    "ipc_namespace": _apart("ipc"),
    "uts_namespace": _uts_namespace,
    "net_namespace": _net_namespace,
    "root": _root,
    "read_only_root": _read_only_root,
    "disk": _disk,
    "memory": _group("memory"),
    "cpu": _group("cpu"),
    "pids": _group("pids"),
    "limits": _limits,
    "capabilities": _capabilities,
    "no_new_privileges": _no_new_privileges,
    "dies_with_node": _dies_with_node,
    "session": _session,
    "descriptors": _descriptors,
    "landlock": _landlock,
    "system_calls": _system_calls,
    "executable_memory": _executable_memory,
    "sockets": _sockets,
}
"By the names that `Ready` and PROBE show."
