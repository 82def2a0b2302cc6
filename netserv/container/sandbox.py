"""How a forked process becomes a container: all walls in their order, their tests, `Ready`, and then the runtime.

Runs in the child of the zygote, which has imported everything before; nothing here is undone.
"""

import fcntl
import gc
import os
import socket
import sys
import traceback
from collections.abc import Callable, Collection, Container, Sequence
from contextlib import suppress
from typing import Final, NamedTuple, NoReturn

from netserv.container.frames import send
from netserv.container.kernel import call
from netserv.container.landlock import restrict
from netserv.container.messages import Failed, Ready
from netserv.container.namespaces import (
    become_nobody,
    change_root,
    drop_capabilities,
    end_with_parent,
    leave_namespaces,
    limit,
    limit_descriptors,
    renounce,
)
from netserv.container.root import DATA
from netserv.container.seccomp import Filter, Loadable
from netserv.container.walls import Kept, test_walls
from netserv.container.zygote_messages import Start
from netserv.errors import NetservError

CONTROL: Final = 3
"Its descriptor of the socket to the node; 0 to 2 are as in every process."
_MEMBERS: Final = "cgroup.procs"
Runtime = Callable[[socket.socket], None]


class Given(NamedTuple):
    """Descriptors that the child starts with."""

    control: int
    output: int
    groups: Sequence[int]
    lifeline: int
    process: int


class Workshop(NamedTuple):
    """What the zygote has made once for all children."""

    runtime: Runtime
    filter: Loadable
    namespaces: dict[str, int]
    root_names: frozenset[str]
    scratch: str


def become_container(start: Start, given: Given, workshop: Workshop) -> NoReturn:
    """Confine this process, test it, and run; it ends here, whatever happens."""
    status = 1
    try:
        walls = _confine(start, given, workshop)
        gc.enable()
        node = socket.socket(fileno=CONTROL)
        send(node, Ready(walls))
        workshop.runtime(node)
        status = 0
    except BaseException:  # the process ends here
        text = traceback.format_exc()[-2000:]
        with suppress(NetservError, OSError):
            send(_node(given), Failed(module=0, where="start", text=text))
    finally:
        with suppress(Exception):
            sys.stdout.flush()
        os._exit(status)


def _node(given: Given) -> socket.socket:
    """The socket to the node, wherever it is by now."""
    try:
        return socket.socket(fileno=given.control)
    except OSError:
        return socket.socket(fileno=CONTROL)


def _confine(start: Start, given: Given, workshop: Workshop) -> dict[str, bool]:
    if "session" not in start.left_out:
        os.setsid()
    if "descriptors" not in start.left_out:  # those of all other containers, which count against the limit below
        _close_others({0, 1, 2, given.control, given.output, given.lifeline, given.process, *given.groups})
    files = _join(start, given.groups)
    leave_namespaces(start.left_out)
    change_root(start, workshop.scratch)
    limit(start, given.process)
    become_nobody(start, given.process)
    renounce(start.left_out)
    given = given._replace(lifeline=_above(given.lifeline))
    kept = _arrange_descriptors(start, given, files, workshop)
    limit_descriptors(start)
    loadable = _filter(start.left_out, workshop)
    _last_walls(start.left_out, given.lifeline, loadable, workshop.scratch)
    os.umask(0o077)
    try:
        return test_walls(start, kept)
    finally:
        os.close(given.lifeline)
        os.close(kept.process)
        for pair in kept.groups:
            for file in pair:
                os.close(file)


def _last_walls(left_out: Container[str], lifeline: int, loadable: Loadable | None, scratch: str) -> None:
    """Those that would hinder the building of others."""
    if "no_new_privileges" not in left_out:  # without that, only a capability lets the last two in
        drop_capabilities(left_out)
    end_with_parent(left_out, lifeline)
    if "landlock" not in left_out:
        restrict(writable=(DATA, scratch), devices=("/dev/null",))
    if loadable is not None:
        loadable.load()


def _filter(left_out: Container[str], workshop: Workshop) -> Loadable | None:
    if "system_calls" in left_out:
        return None
    if "executable_memory" in left_out or "sockets" in left_out:
        return Loadable(
            Filter(executable_memory="executable_memory" not in left_out, sockets="sockets" not in left_out)
        )
    return workshop.filter


def _join(start: Start, groups: Sequence[int]) -> list[tuple[int, int]]:
    """Enter the control groups; returns files that tell of it, members and limit of each."""
    files = []
    for group, directory in zip(start.groups, groups, strict=True):
        if group.wall not in start.left_out:
            members = os.open(_MEMBERS, os.O_WRONLY | os.O_CLOEXEC, dir_fd=directory)
            os.write(members, b"0")  # who writes it
            os.close(members)
        files.append((directory, group.file))
    return [
        (
            os.open(_MEMBERS, os.O_RDONLY | os.O_CLOEXEC, dir_fd=directory),
            os.open(file, os.O_RDONLY | os.O_CLOEXEC, dir_fd=directory),
        )
        for directory, file in files
    ]


def _arrange_descriptors(start: Start, given: Given, files: list[tuple[int, int]], workshop: Workshop) -> Kept:
    """Only 0 to 3 stay, and until their tests are over those that the tests read, above them."""
    process = _above(given.process)
    files = [(_above(members), _above(value)) for members, value in files]
    kept = {given.lifeline, process, *(file for pair in files for file in pair)}
    control, output = _above(given.control), _above(given.output)
    os.dup2(os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC), 0)
    for standard in (1, 2):
        os.dup2(output, standard)
    os.dup2(control, CONTROL, inheritable=False)
    may_be_open = {0, 1, 2, CONTROL, *kept}
    if "descriptors" not in start.left_out:
        _close_others(may_be_open)
    return Kept(
        process=process,
        groups=files,
        namespaces=workshop.namespaces,
        root_names=workshop.root_names,
        open_descriptors=frozenset(may_be_open),
    )


def _above(descriptor: int) -> int:
    """The same at a number that is not needed for another."""
    return fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, CONTROL + 1)


def _close_others(wanted: Collection[int]) -> None:
    ordered = sorted(wanted)
    for below, above in zip(ordered, [*ordered[1:], 1 << 32], strict=True):
        if below + 1 < above:
            call("close_range", below + 1, above - 1, 0)
