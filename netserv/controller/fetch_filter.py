"""The system calls of a process for downloads (seccomp(2)): names, sockets of the internet, reading, memory, time.

It starts nothing, signals nobody, makes and changes no file, and its sockets are of four families. Code comes from
files only, since the C library loads what resolves names when it needs it; memory that was written never becomes code.
"""

import os
from typing import Final

from netserv.container.seccomp import (
    ANY_BIT,
    EQUAL,
    PASS,
    PROT_EXEC,
    REFUSE,
    SOCKET_PROGRAMS,
    Instruction,
    encode,
    low,
    one_of,
    only,
    prologue,
)
from netserv.container.syscalls import NUMBERS

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


def download_filter(machine: str) -> bytes:
    """The filter as the kernel takes it, for a machine (`os.uname().machine`).

    Raises:
        SystemRefusedError: a machine whose calls are not known here.
    """
    steps = prologue(machine, "downloads")
    numbers = NUMBERS[machine]
    for name, block in _judged().items():
        if name in numbers:
            steps += only(numbers[name], block)
    for name in ALLOWED.split():
        if name in numbers:
            steps += only(numbers[name], [PASS])
    return encode([*steps, REFUSE])


def _judged() -> dict[str, list[Instruction]]:
    """What is done about calls that are judged by an argument; each block returns in all its ways."""
    no_attaching = [
        Instruction(EQUAL, len(SOCKET_PROGRAMS) - at, 0, option) for at, option in enumerate(SOCKET_PROGRAMS)
    ]
    return {
        "open": [low(1), Instruction(ANY_BIT, 0, 1, _WRITING), REFUSE, PASS],
        "openat": [low(2), Instruction(ANY_BIT, 0, 1, _WRITING), REFUSE, PASS],
        "mmap": [
            low(2),
            Instruction(ANY_BIT, 0, 2, PROT_EXEC),
            Instruction(ANY_BIT, 0, 1, _PROT_WRITE),
            REFUSE,
            PASS,
        ],
        "mprotect": [low(2), Instruction(ANY_BIT, 0, 1, PROT_EXEC), REFUSE, PASS],
        "socket": one_of(0, FAMILIES),
        "ioctl": one_of(1, IOCTLS),
        "setsockopt": [low(2), *no_attaching, PASS, REFUSE],
    }
