"""Namespaces, root directory, user, capabilities and limits of a container.

Called in the forked child, as root, in the order of this file; afterwards it is nobody. The network, mount and other
namespaces belong to the machine's user namespace and not to the container's own, so that no capability of the
container, had it one, would count in them.
"""

import os
import resource
import signal
import socket
from collections.abc import Container
from typing import Final

from netserv.container.kernel import (
    CLONE_NEWIPC,
    CLONE_NEWNET,
    CLONE_NEWNS,
    CLONE_NEWUSER,
    CLONE_NEWUTS,
    MS_BIND,
    MS_NODEV,
    MS_NOEXEC,
    MS_NOSUID,
    MS_RDONLY,
    MS_REMOUNT,
    PR_CAPBSET_DROP,
    PR_SET_DUMPABLE,
    PR_SET_KEEPCAPS,
    PR_SET_NO_NEW_PRIVS,
    PR_SET_PDEATHSIG,
    PR_SET_SECUREBITS,
    bind,
    capabilities,
    mount,
    prctl,
    set_capabilities,
    unshare,
)
from netserv.container.root import ACCOUNTS, DATA, MODULES, SKELETON, STORE, enter
from netserv.container.zygote_messages import INNER_ID, Start

HOST_NAME: Final = "container"
SCRATCH_BYTES: Final = 4 << 20
"Of /tmp: for what a library leaves there; a module's own files go to its data directory."
LAST_CAPABILITY: Final = 63
"Of two words; the kernel refuses to drop those that it does not know."
SECURE_BITS: Final = 0xEF
"No privilege by being user 0, by changing users, kept or ambient, each locked (capabilities(7))."
_FLAGS: Final = {
    "mount_namespace": CLONE_NEWNS,
    "ipc_namespace": CLONE_NEWIPC,
    "uts_namespace": CLONE_NEWUTS,
    "net_namespace": CLONE_NEWNET,
}
_DIRECTORY_FLAGS: Final = MS_NOSUID | MS_NODEV | MS_NOEXEC


def leave_namespaces(left_out: Container[str]) -> None:
    """Get namespaces of its own; that of processes came with the fork."""
    flags = 0
    for wall, flag in _FLAGS.items():
        if wall not in left_out:
            flags |= flag
    unshare(flags)
    if "uts_namespace" not in left_out:
        socket.sethostname(HOST_NAME)


def data_options(user: int, size: int | None) -> str:
    """Of the tmpfs that is a publisher's directory: a limit of its own is a quota that reaches nobody else.

    A file system in a file on disk would outlast the node, which modules do not: they are soft state, and are told so.
    Memory in use counts against the memory limit of the same container, so that one number bounds both.
    """
    if size is None:
        return f"mode=700,uid={user},gid={user},size=0"
    return f"mode=700,uid={user},gid={user},size={size},nr_inodes={max(64, size // 4096)}"


def change_root(start: Start, scratch: str) -> None:
    """See the skeleton with this publisher's modules and data, and nothing else."""
    bind(f"{STORE}/{start.slot}", SKELETON + MODULES, MS_RDONLY | _DIRECTORY_FLAGS)
    bind(f"{ACCOUNTS}/{start.slot}", SKELETON + DATA, _DIRECTORY_FLAGS)
    mount("tmpfs", SKELETON + scratch, "tmpfs", _DIRECTORY_FLAGS, data_options(start.user, SCRATCH_BYTES))
    if "read_only_root" in start.left_out:
        mount("tmpfs", SKELETON, None, MS_REMOUNT | MS_BIND)
    if "root" not in start.left_out:
        enter(SKELETON)
    os.chdir(DATA)


def limit(start: Start, process: int) -> None:
    """Set limits of the process: what no control group counts.

    Memory comes before the control group's limit: an allocation that cannot be is a MemoryError in the module, where
    the control group would kill all of them.

    Args:
        start: whose container it is.
        process: the /proc of the zygote.
    """
    if "limits" in start.left_out:
        return
    data = _data_bytes(process) + start.memory_bytes
    for what, value in (
        (resource.RLIMIT_DATA, data),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_MEMLOCK, 0),
        (resource.RLIMIT_MSGQUEUE, 0),
        (resource.RLIMIT_RTPRIO, 0),
        (resource.RLIMIT_SIGPENDING, 64),
    ):
        resource.setrlimit(what, (value, value))


def limit_descriptors(start: Start) -> None:
    """When those of the building of walls are closed."""
    if "limits" not in start.left_out:
        resource.setrlimit(resource.RLIMIT_NOFILE, (start.descriptors, start.descriptors))


def _data_bytes(process: int) -> int:
    """What the zygote's memory counts for already (RLIMIT_DATA counts all of it)."""
    with open(os.open("self/status", os.O_RDONLY | os.O_CLOEXEC, dir_fd=process), encoding="ascii") as file:
        for line in file:
            if line.startswith("VmData:"):
                return int(line.split()[1]) * 1024
    return 0


def become_nobody(start: Start, process: int) -> None:
    """Take the publisher's user, in a user namespace of its own in which there is no other.

    Args:
        start: whose container it is.
        process: the /proc of the zygote, opened before the root changed.
    """
    user = start.user
    if "user" in start.left_out:
        user = 0
    prctl(PR_SET_KEEPCAPS, 1)  # machines where only root may make user namespaces ask for it
    os.setgroups([])
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)
    _raise_kept()
    if "user_namespace" in start.left_out:
        return
    unshare(CLONE_NEWUSER)
    prctl(PR_SET_DUMPABLE, 1)  # else the map is root's file
    _write(process, "self/setgroups", "deny")
    _write(process, "self/uid_map", f"{INNER_ID} {user} 1")
    _write(process, "self/gid_map", f"{INNER_ID} {user} 1")
    prctl(PR_SET_DUMPABLE, 0)


def _raise_kept() -> None:
    """Make what is permitted effective again: a change of users has cleared it."""
    _, permitted, _ = capabilities()
    set_capabilities(permitted, permitted)


def drop_capabilities(left_out: Container[str]) -> None:
    """Keep no capability, and no way to one."""
    if "capabilities" in left_out:
        return
    prctl(PR_SET_SECUREBITS, SECURE_BITS)
    for capability in range(LAST_CAPABILITY + 1):
        try:
            prctl(PR_CAPBSET_DROP, capability)
        except OSError:
            break  # past the last that this kernel has
    set_capabilities(0, 0)


def end_with_parent(left_out: Container[str], lifeline: int) -> None:
    """Be killed when the zygote ends. After the change of users, which clears it (prctl(2)).

    Args:
        left_out: walls to leave out.
        lifeline: reading end of a pipe whose writing end only the zygote has.
    """
    if "dies_with_node" not in left_out:
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    os.set_blocking(lifeline, False)
    try:
        gone = os.read(lifeline, 1) == b""
    except BlockingIOError:
        gone = False
    if gone:
        os._exit(1)


def renounce(left_out: Container[str]) -> None:
    """No program that this process could run gives it more rights."""
    if "no_new_privileges" not in left_out:
        prctl(PR_SET_NO_NEW_PRIVS, 1)


def _write(directory: int, name: str, text: str) -> None:
    file = os.open(name, os.O_WRONLY | os.O_CLOEXEC, dir_fd=directory)
    try:
        os.write(file, text.encode())
    finally:
        os.close(file)
