"""The zygote: a process that has imported what containers need, and forks them (thesis 6.1.4).

It is alone in a PID namespace, as its first process: when it ends, for whatever reason, the kernel kills all containers
with it. It ends when the node does: it is killed then (setpriv(1), `--pdeathsig`), and its socket closes. It has one
thread, since a fork takes only the one that calls it, and holds no secret, since every container inherits its memory.

    python -I -m netserv.container.zygote DESCRIPTOR RUNTIME [DIRECTORY ..]
"""

import importlib
import io
import os
import resource
import select
import shutil
import signal
import socket
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from netserv.container import root
from netserv.container.descriptors import close_all, receive, send
from netserv.container.kernel import CLONE_NEWPID, MS_NODEV, MS_NOEXEC, MS_NOSUID, mount, setns, unmount, unshare
from netserv.container.namespaces import data_options
from netserv.container.runtime.memory import settle
from netserv.container.runtime.preload import preload
from netserv.container.runtime.rehearsal import rehearse
from netserv.container.sandbox import Given, Workshop, become_container
from netserv.container.seccomp import Loadable
from netserv.container.zygote_messages import (
    Ended,
    FromZygote,
    Prepare,
    Prepared,
    Refused,
    Release,
    Start,
    Started,
    ToZygote,
    Up,
)
from netserv.errors import NetservError

THREAD_STACK: Final = 512 << 10
"Bytes; the default of 8 MiB counts against the memory limit of a container with each thread."
_DIRECTORY_FLAGS: Final = MS_NOSUID | MS_NODEV | MS_NOEXEC
_FRAME_MAX: Final = 8192
_DESCRIPTORS_MAX: Final = 8
_NAMESPACES: Final = ("user", "pid", "mnt", "ipc", "uts", "net")


class Zygote:
    """Serves the node over one socket."""

    def __init__(self, node: socket.socket, workshop: Workshop) -> None:
        self._node, self._workshop = node, workshop
        self._process = os.open("/proc", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._own_pids = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
        self._lifeline, self._life = os.pipe2(os.O_CLOEXEC)
        self._children: dict[int, int] = {}
        "Slot of each process, by its descriptor."
        self._poll = select.poll()
        self._poll.register(node, select.POLLIN)

    def serve(self) -> None:
        """Until the node closes the socket."""
        self._say(Up())
        while True:
            for descriptor, _event in self._poll.poll():
                if descriptor != self._node.fileno():
                    self._reap(descriptor)
                elif not self._take():
                    return

    def _take(self) -> bool:
        try:
            data, descriptors, flags = receive(self._node, _FRAME_MAX, _DESCRIPTORS_MAX)
        except ConnectionError:
            return False  # ended with words of ours unread
        if not data:
            return False
        request = msgspec.msgpack.decode(data, type=ToZygote)  # the node's own words: a fault here is a bug
        if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
            raise AssertionError("a request that is too long")
        try:
            self._carry_out(request, descriptors)
        except OSError as error:
            self._say(Refused(request.slot, f"{type(request).__name__.lower()}: {error}"))
        finally:
            close_all(descriptors)
        return True

    def _carry_out(self, request: ToZygote, descriptors: Sequence[int]) -> None:
        match request:
            case Prepare():
                self._prepare(request)
            case Start():
                self._start(request, descriptors)
            case Release(slot=slot):
                self._release(slot)

    def _prepare(self, request: Prepare) -> None:
        data, store = f"{root.ACCOUNTS}/{request.slot}", f"{root.STORE}/{request.slot}"
        os.mkdir(data)
        os.mkdir(store)
        size = request.disk_bytes or None
        mount("tmpfs", data, "tmpfs", _DIRECTORY_FLAGS, data_options(request.user, size))
        opened = [
            os.open(data, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC),
            os.open(store, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC),
        ]
        self._say(Prepared(request.slot), opened)
        close_all(opened)

    def _start(self, request: Start, descriptors: Sequence[int]) -> None:
        """A fork into a PID namespace of its own; ours is taken back for the next."""
        if "pid_namespace" not in request.left_out:
            unshare(CLONE_NEWPID)
        pid = os.fork()
        if pid == 0:
            control, output, *groups = descriptors
            given = Given(control, output, groups, self._lifeline, self._process)
            os.close(self._life)
            become_container(request, given, self._workshop)
        if "pid_namespace" not in request.left_out:
            setns(self._own_pids, CLONE_NEWPID)
        process = os.pidfd_open(pid)
        self._children[process] = request.slot
        self._poll.register(process, select.POLLIN)
        self._say(Started(request.slot), [process])

    def _reap(self, process: int) -> None:
        slot = self._children.pop(process)
        self._poll.unregister(process)
        ended = os.waitid(os.P_PIDFD, process, os.WEXITED)
        os.close(process)
        status = 0
        if ended is not None:
            status = ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status
        self._say(Ended(slot, status))

    def _release(self, slot: int) -> None:
        data = f"{root.ACCOUNTS}/{slot}"
        with suppress(OSError):
            unmount(data)
        with suppress(OSError):
            os.rmdir(data)
        # Only the node has written here: no link of a publisher can lie in it.
        shutil.rmtree(f"{root.STORE}/{slot}", ignore_errors=True)

    def _say(self, message: FromZygote, descriptors: Sequence[int] = ()) -> None:
        send(self._node, msgspec.msgpack.encode(message), descriptors)


def _import_all(runtime: str) -> Workshop:
    preload()
    run = importlib.import_module(runtime).run
    "".encode("idna")
    threading.stack_size(THREAD_STACK)
    return Workshop(
        runtime=run,
        filter=Loadable(),
        namespaces={name: os.stat(f"/proc/self/ns/{name}").st_ino for name in _NAMESPACES},
        root_names=frozenset(),
        scratch=root.SCRATCH,
    )


def _settle(scratch: str) -> None:
    """No environment, no signal of a terminal; Python's objects stay on pages that are seldom written again."""
    os.environ.clear()
    os.environ["TMPDIR"] = scratch
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(line_buffering=True, errors="backslashreplace")
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the node ends this, when it has ended what it does
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    settle()


def main(arguments: Sequence[str]) -> int:
    """Serve; the node starts this."""
    descriptor, runtime, *directories = arguments
    node = socket.socket(fileno=int(descriptor))
    sys.path.extend(directories)
    workshop = _import_all(runtime)
    try:
        scratch = root.build(map(Path, directories))
    except (OSError, NetservError) as error:
        sys.stderr.write(f"netserv: containers: {error}\n")
        return 1
    workshop = workshop._replace(root_names=frozenset(os.listdir(root.SKELETON)), scratch=scratch)
    rehearse(workshop.runtime, Path(root.STORE, "rehearsal"))
    _settle(scratch)
    Zygote(node, workshop).serve()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
