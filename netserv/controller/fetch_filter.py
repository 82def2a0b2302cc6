"""The system calls of a process for downloads (seccomp(2)): names, sockets of the internet, reading, memory, time.

It starts nothing, signals nobody, makes and changes no file, and its sockets are of four families. Code comes from
files only, since the C library loads what resolves names when it needs it; memory that was written never becomes code.
"""

import errno
import os
from typing import Final

from netserv.container.seccomp import (
    ALLOW,
    ANY_BIT,
    AT_LEAST,
    EQUAL,
    ERRNO,
    KILL,
    LOAD,
    MACHINES,
    RETURN,
    X32_BIT,
    Instruction,
    encode,
)
from netserv.container.syscalls import NUMBERS
from netserv.errors import SystemRefusedError

ALLOWED: Final = """
close dup fcntl fstat fstatfs getcwd getdents64 lseek lstat newfstatat pread64 read readlink readlinkat readv stat
statfs statx access faccessat faccessat2 write writev
brk madvise mremap munmap
clock_getres clock_gettime clock_nanosleep gettimeofday nanosleep setitimer time
epoll_create1 epoll_ctl epoll_pwait epoll_wait poll ppoll pselect6 select
futex getegid geteuid getgid getpid getppid getrandom getresgid getresuid getrlimit getrusage gettid getuid
exit exit_group membarrier prlimit64 restart_syscall rseq rt_sigaction rt_sigprocmask rt_sigreturn sched_getaffinity
sched_yield set_robust_list sigaltstack sysinfo uname
bind connect getpeername getsockname getsockopt recvfrom recvmmsg recvmsg sendmmsg sendmsg sendto shutdown
"""
FAMILIES: Final = (1, 2, 10, 16)
"AF_UNIX, of services that resolve names; AF_INET, AF_INET6; AF_NETLINK, by which the C library sees its addresses."
IOCTLS: Final = (0x5401, 0x541B, 0x5421)
"TCGETS (isatty), FIONREAD, FIONBIO."
_WRITING: Final = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
_PROT_WRITE: Final = 2
_PROT_EXEC: Final = 4
_SO_ATTACH: Final = (26, 50, 51, 52)
"SO_ATTACH_FILTER, ATTACH_BPF, ATTACH_REUSEPORT_CBPF and EBPF."
_REFUSE: Final = Instruction(RETURN, 0, 0, ERRNO | errno.EPERM)
_PASS: Final = Instruction(RETURN, 0, 0, ALLOW)


def download_filter(machine: str) -> bytes:
    """The filter as the kernel takes it, for a machine (`os.uname().machine`).

    Raises:
        SystemRefusedError: a machine whose calls are not known here.
    """
    if machine not in MACHINES:
        raise SystemRefusedError(f"no filter of system calls for {machine}; downloads run on {', '.join(MACHINES)}")
    numbers = NUMBERS[machine]
    steps = [
        Instruction(LOAD, 0, 0, 4),
        Instruction(EQUAL, 1, 0, MACHINES[machine]),
        Instruction(RETURN, 0, 0, KILL),
        Instruction(LOAD, 0, 0, 0),
    ]
    if machine == "x86_64":
        steps += [Instruction(AT_LEAST, 0, 1, X32_BIT), Instruction(RETURN, 0, 0, KILL)]
    for name, block in _judged().items():
        if name in numbers:
            steps += [Instruction(EQUAL, 0, len(block), numbers[name]), *block]
    for name in ALLOWED.split():
        if name in numbers:
            steps += [Instruction(EQUAL, 0, 1, numbers[name]), _PASS]
    return encode([*steps, _REFUSE])


def _judged() -> dict[str, list[Instruction]]:
    """What is done about calls that are judged by an argument; each block returns in all its ways."""
    no_attaching = [Instruction(EQUAL, len(_SO_ATTACH) - at, 0, option) for at, option in enumerate(_SO_ATTACH)]
    return {
        "open": [_argument(1), Instruction(ANY_BIT, 0, 1, _WRITING), _REFUSE, _PASS],
        "openat": [_argument(2), Instruction(ANY_BIT, 0, 1, _WRITING), _REFUSE, _PASS],
        "mmap": [
            _argument(2),
            Instruction(ANY_BIT, 0, 2, _PROT_EXEC),
            Instruction(ANY_BIT, 0, 1, _PROT_WRITE),
            _REFUSE,
            _PASS,
        ],
        "mprotect": [_argument(2), Instruction(ANY_BIT, 0, 1, _PROT_EXEC), _REFUSE, _PASS],
        "socket": _one_of(0, FAMILIES),
        "ioctl": _one_of(1, IOCTLS),
        "setsockopt": [_argument(2), *no_attaching, _PASS, _REFUSE],
    }


def _one_of(argument: int, values: tuple[int, ...]) -> list[Instruction]:
    tests = [Instruction(EQUAL, len(values) - at, 0, value) for at, value in enumerate(values)]
    return [_argument(argument), *tests, _REFUSE, _PASS]


def _argument(number: int) -> Instruction:
    """Load the lower half of an argument: those that are judged have 32 bits (both machines are little-endian)."""
    return Instruction(LOAD, 0, 0, 16 + 8 * number)
