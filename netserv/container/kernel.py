"""The one door to calls of the kernel that Python 3.11 has no function for; each is named in its manual page.

A container's walls are built by these, before anything of a publisher is there.
"""

import ctypes
import os
import platform
import struct
from typing import Final

from netserv.container.syscalls import NUMBERS

CLONE_NEWNS: Final = 0x0002_0000
CLONE_NEWUTS: Final = 0x0400_0000
CLONE_NEWIPC: Final = 0x0800_0000
CLONE_NEWUSER: Final = 0x1000_0000
CLONE_NEWPID: Final = 0x2000_0000
CLONE_NEWNET: Final = 0x4000_0000

MS_RDONLY: Final = 1
MS_NOSUID: Final = 2
MS_NODEV: Final = 4
MS_NOEXEC: Final = 8
MS_REMOUNT: Final = 32
MS_BIND: Final = 4096
MNT_DETACH: Final = 2

PR_SET_PDEATHSIG: Final = 1
PR_GET_PDEATHSIG: Final = 2
PR_SET_DUMPABLE: Final = 4
PR_SET_KEEPCAPS: Final = 8
PR_SET_SECCOMP: Final = 22
PR_CAPBSET_READ: Final = 23
PR_CAPBSET_DROP: Final = 24
PR_SET_SECUREBITS: Final = 28
PR_SET_NO_NEW_PRIVS: Final = 38
PR_GET_NO_NEW_PRIVS: Final = 39

_CAPABILITY_HEADER: Final = struct.pack("=Ii", 0x20080522, 0)
"_LINUX_CAPABILITY_VERSION_3, this process."
_libc: Final = ctypes.CDLL(None, use_errno=True)
_syscall: Final = _libc.syscall
_syscall.restype = ctypes.c_long
_numbers: Final = NUMBERS.get(platform.machine(), {})


def call(name: str, *arguments: int | bytes | None) -> int:
    """A system call by its name.

    Raises:
        OSError: what the kernel answers; ENOSYS where this machine has no such call.
    """
    return call_number(_numbers.get(name, -1), *arguments)


def call_number(number: int, *arguments: int | bytes | None) -> int:
    """A system call by its number.

    Raises:
        OSError: what the kernel answers.
    """
    given = [
        ctypes.c_char_p(argument) if isinstance(argument, bytes) else ctypes.c_void_p(argument)
        for argument in arguments
    ]
    result = int(_syscall(ctypes.c_long(number), *given))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def prctl(option: int, *arguments: int) -> int:
    """Ask or set something of this process (prctl(2)).

    Raises:
        OSError: what the kernel answers.
    """
    return call("prctl", option, *(*arguments, 0, 0, 0, 0)[:4])


def signal_at_parents_death() -> int:
    """Which signal comes when the parent ends; 0 for none."""
    word = ctypes.c_int(0)
    prctl(PR_GET_PDEATHSIG, ctypes.addressof(word))
    return word.value


def capabilities() -> tuple[int, int, int]:
    """Effective, permitted and inheritable capabilities of this process, a bit each (capget(2))."""
    words = ctypes.create_string_buffer(24)
    call("capget", _CAPABILITY_HEADER, ctypes.addressof(words))
    effective, permitted, inheritable, *high = struct.unpack("=6I", words.raw)
    return effective | high[0] << 32, permitted | high[1] << 32, inheritable | high[2] << 32


def set_capabilities(effective: int, permitted: int) -> None:
    """Set those of this process; none is inheritable.

    Raises:
        OSError: what the kernel answers.
    """
    low, high = 0xFFFF_FFFF, 32
    words = struct.pack("=6I", effective & low, permitted & low, 0, effective >> high, permitted >> high, 0)
    call("capset", _CAPABILITY_HEADER, words)


def unshare(flags: int) -> None:
    """Leave namespaces for new ones (unshare(2)).

    Raises:
        OSError: what the kernel answers.
    """
    call("unshare", flags)


def setns(descriptor: int, flags: int) -> None:
    """Enter a namespace (setns(2)).

    Raises:
        OSError: what the kernel answers.
    """
    call("setns", descriptor, flags)


def mount(source: str, target: str, kind: str | None, flags: int, options: str | None = None) -> None:
    """Mount a file system (mount(2)).

    Raises:
        OSError: what the kernel answers, with the target.
    """
    try:
        call("mount", source.encode(), target.encode(), _text(kind), flags, _text(options))
    except OSError as error:
        raise OSError(error.errno, error.strerror, target) from None


def bind(source: str, target: str, flags: int) -> None:
    """Show a file or directory at another place, with flags of its own.

    Raises:
        OSError: what the kernel answers, with the target.
    """
    mount(source, target, None, MS_BIND)
    mount(source, target, None, MS_REMOUNT | MS_BIND | flags)


def unmount(target: str) -> None:
    """Unmount at once, whoever still looks at it (umount2(2)).

    Raises:
        OSError: what the kernel answers.
    """
    call("umount2", target.encode(), MNT_DETACH)


def pivot_root(new: str, old: str) -> None:
    """Change the root mount (pivot_root(2)).

    Raises:
        OSError: what the kernel answers.
    """
    call("pivot_root", new.encode(), old.encode())


def _text(value: str | None) -> bytes | None:
    return None if value is None else value.encode()
