"""The system calls of a container: which the kernel carries out, and the program that says so (seccomp(2), bpf(4)).

A list of what is allowed, not of what is forbidden, so that a call that the next kernel invents is refused too. What is
refused says EPERM, which is what programs expect; a call younger than our table says ENOSYS, and the C library then
takes the older way. A few calls are allowed by their arguments: these are looked at first.

After the filter no memory can become executable: no native library is loaded, no machine code written.
"""

import ctypes
import errno
import os
import platform
import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from netserv.container.kernel import PR_CAPBSET_READ, PR_GET_NO_NEW_PRIVS, PR_GET_PDEATHSIG, PR_SET_SECCOMP, prctl
from netserv.container.syscalls import KNOWN_MAX, NUMBERS
from netserv.errors import SystemRefusedError

ALLOWED: Final = """
access chdir chmod close close_range copy_file_range creat dup dup2 dup3 faccessat faccessat2 fadvise64
fallocate fchdir fchmod fchmodat fcntl fdatasync flock fstat fstatfs fsync ftruncate futimesat getcwd
getdents getdents64 link linkat lseek lstat mkdir mkdirat newfstatat open openat pipe pipe2 pread64 preadv
preadv2 pwrite64 pwritev pwritev2 read readlink readlinkat readv rename renameat renameat2 rmdir sendfile
stat statfs statx symlink symlinkat truncate umask unlink unlinkat utime utimensat utimes write writev
brk madvise membarrier mincore mremap msync munmap
alarm clock_getres clock_gettime clock_nanosleep getitimer getrusage gettimeofday nanosleep setitimer time
timerfd_create timerfd_gettime timerfd_settime times
epoll_create epoll_create1 epoll_ctl epoll_pwait epoll_pwait2 epoll_wait eventfd eventfd2 pause poll ppoll
pselect6 select
kill restart_syscall rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend
rt_sigtimedwait sigaltstack signalfd signalfd4 tgkill tkill
capget exit exit_group fork futex futex_waitv get_robust_list getcpu getegid geteuid getgid getgroups
getpgid getpgrp getpid getppid getpriority getrandom getresgid getresuid getrlimit getsid gettid getuid
prlimit64 rseq sched_get_priority_max sched_get_priority_min sched_getaffinity sched_getparam
sched_getscheduler sched_yield set_robust_list set_tid_address setrlimit sysinfo uname vfork wait4 waitid
accept accept4 getpeername getsockname getsockopt recvfrom recvmmsg recvmsg shutdown
"""
"""Files within what root and Landlock show, memory, clocks, waiting, signals within the PID namespace, threads, and
sockets that the node has opened. Not bind, connect, listen: the node does these, and a socket that it has passed must
not be turned elsewhere."""
ANSWERS: Final[Mapping[str, int]] = {
    "clone3": errno.ENOSYS,  # its flags lie in memory, where a filter does not look; the C library takes clone
    "openat2": errno.ENOSYS,
} | {
    # "This file system has none", which shutil.copystat takes for an answer.
    f"{how}{what}xattr": errno.EOPNOTSUPP
    for what in ("set", "get", "list", "remove")
    for how in ("", "l", "f")
}
"Refused otherwise than with EPERM."

MACHINES: Final[Mapping[str, int]] = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
"AUDIT_ARCH_X86_64, AUDIT_ARCH_AARCH64."
X32_BIT: Final = 0x4000_0000
"Calls of the x32 form go by other numbers, and would pass by."

KILL: Final = 0x8000_0000
ALLOW: Final = 0x7FFF_0000
ERRNO: Final = 0x0005_0000
MODE_FILTER: Final = 2

PROT_EXEC: Final = 4
NAMESPACE_FLAGS: Final = 0x7E02_0000
"CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET; CLONE_NEWTIME is none of clone's."
MSG_FASTOPEN: Final = 0x2000_0000
"Would connect a listening socket that was shut down, and no connect is seen (tcp_sendmsg_fastopen)."
IOCTLS: Final = (0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)
"TCGETS (isatty), TIOCGWINSZ, FIONREAD, FIONBIO, FIONCLEX, FIOCLEX. Not TIOCSTI, which types for others."
PRCTLS: Final = (PR_GET_PDEATHSIG, 3, 15, 16, PR_CAPBSET_READ, PR_GET_NO_NEW_PRIVS)
"Those that read, and the name of a thread (PR_SET_NAME 15, PR_GET_NAME 16; PR_GET_DUMPABLE 3)."
SOCKET_PROGRAMS: Final = (26, 50, 51, 52)
"SO_ATTACH_FILTER, ATTACH_BPF, ATTACH_REUSEPORT_CBPF and EBPF: no programs for the kernel."
AF_UNIX: Final = 1
SOL_SOCKET: Final = 1


class Instruction(NamedTuple):
    """`struct sock_filter`."""

    code: int
    true: int
    false: int
    value: int


LOAD: Final = 0x20  # BPF_LD | BPF_W | BPF_ABS
EQUAL: Final = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
AT_LEAST: Final = 0x35  # BPF_JMP | BPF_JGE | BPF_K
ANY_BIT: Final = 0x45  # BPF_JMP | BPF_JSET | BPF_K
RETURN: Final = 0x06  # BPF_RET | BPF_K
_NUMBER_AT: Final = 0
_ARCHITECTURE_AT: Final = 4
_ARGUMENTS_AT: Final = 16
_NEAR: Final = 255
"Of a conditional jump."


def answer(verdict: int) -> Instruction:
    """End with a verdict on the call."""
    return Instruction(RETURN, 0, 0, verdict)


PASS: Final = answer(ALLOW)
REFUSE: Final = answer(ERRNO | errno.EPERM)


class Filter(NamedTuple):
    """What the filter refuses besides the calls that are not allowed; each can be left out, to test its test."""

    executable_memory: bool = True
    sockets: bool = True


WHOLE: Final = Filter()


def program(machine: str, what: Filter = WHOLE) -> list[Instruction]:
    """The filter for a machine (`os.uname().machine`).

    Raises:
        SystemRefusedError: a machine whose calls are not known here.
    """
    start = prologue(machine, "containers")
    numbers = NUMBERS[machine]
    by_argument = [only(numbers[name], block) for name, block in _checked(what) if name in numbers]
    verdicts = dict.fromkeys((numbers[name] for name in ALLOWED.split() if name in numbers), ALLOW)
    verdicts |= {numbers[name]: ERRNO | code for name, code in ANSWERS.items() if name in numbers}
    return [*start, *(step for block in by_argument for step in block), *_tree(_ranges(verdicts))]


def prologue(machine: str, what: str) -> list[Instruction]:
    """Where a filter begins: calls of another form of machine end the process, and the number of the call is loaded.

    Args:
        machine: `os.uname().machine`.
        what: runs under the filter, as in "containers".

    Raises:
        SystemRefusedError: a machine whose calls are not known here.
    """
    if machine not in MACHINES:
        raise SystemRefusedError(f"no filter of system calls for {machine}; {what} run on {', '.join(MACHINES)}")
    steps = [
        _load(_ARCHITECTURE_AT),
        Instruction(EQUAL, 1, 0, MACHINES[machine]),
        answer(KILL),
        _load(_NUMBER_AT),
    ]
    if machine == "x86_64":
        steps += [Instruction(AT_LEAST, 0, 1, X32_BIT), answer(KILL)]
    return steps


def _checked(what: Filter) -> Iterator[tuple[str, list[Instruction]]]:
    """The calls that are judged by an argument."""
    no_code = [low(2), Instruction(ANY_BIT, 0, 1, PROT_EXEC), REFUSE, PASS]
    for name in ("mmap", "mprotect"):
        yield name, no_code if what.executable_memory else [PASS]
    yield "clone", [low(0), Instruction(ANY_BIT, 0, 1, NAMESPACE_FLAGS), REFUSE, PASS]
    yield "prctl", one_of(0, PRCTLS)
    yield "ioctl", one_of(1, IOCTLS)  # the kernel looks at 32 bits of it
    for name in ("socket", "socketpair"):
        only_unix = [low(0), Instruction(EQUAL, 1, 0, AF_UNIX), answer(ERRNO | errno.EAFNOSUPPORT), PASS]
        yield name, only_unix if what.sockets else [PASS]
    for name, at in (("sendto", 3), ("sendmsg", 2), ("sendmmsg", 3)):
        yield name, [low(at), Instruction(ANY_BIT, 0, 1, MSG_FASTOPEN), REFUSE, PASS]
    no_programs = [Instruction(EQUAL, len(SOCKET_PROGRAMS) - at, 0, code) for at, code in enumerate(SOCKET_PROGRAMS)]
    yield "setsockopt", [low(1), Instruction(EQUAL, 1, 0, SOL_SOCKET), PASS, low(2), *no_programs, PASS, REFUSE]


def one_of(argument: int, values: Sequence[int]) -> list[Instruction]:
    """A block that allows a call whose argument is one of these."""
    tests = [Instruction(EQUAL, len(values) - at, 0, value) for at, value in enumerate(values)]
    return [low(argument), *tests, REFUSE, PASS]


def only(number: int, block: list[Instruction]) -> list[Instruction]:
    """A block for one call: it returns in all its ways, so that the number is still loaded after it."""
    return [Instruction(EQUAL, 0, len(block), number), *block]


def _ranges(verdicts: Mapping[int, int]) -> list[tuple[int, int]]:
    """(first number, verdict), each up to the next."""
    ranges: list[tuple[int, int]] = []
    for number in range(KNOWN_MAX + 2):
        default = ERRNO | (errno.EPERM if number <= KNOWN_MAX else errno.ENOSYS)
        verdict = verdicts.get(number, default)
        if not ranges or ranges[-1][1] != verdict:
            ranges.append((number, verdict))
    return ranges


def _tree(ranges: Sequence[tuple[int, int]]) -> list[Instruction]:
    """Search by halves: the kernel runs this for each call that it has not kept a verdict for."""
    if len(ranges) == 1:
        return [answer(ranges[0][1])]
    middle = len(ranges) // 2
    below, above = _tree(ranges[:middle]), _tree(ranges[middle:])
    if len(below) > _NEAR:
        raise AssertionError("the list of calls has grown: jumps need a step between")
    return [Instruction(AT_LEAST, len(below), 0, ranges[middle][0]), *below, *above]


def _load(at: int) -> Instruction:
    return Instruction(LOAD, 0, 0, at)


def low(argument: int) -> Instruction:
    """Load the lower half of an argument: what is looked at has 32 bits (both machines are little-endian)."""
    return _load(_ARGUMENTS_AT + 8 * argument)


def encode(steps: Sequence[Instruction]) -> bytes:
    """The program as the kernel takes it."""
    return b"".join(struct.pack("=HBBI", *step) for step in steps)


class _Program(ctypes.Structure):
    """`struct sock_fprog`."""

    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))


class Loadable:
    """The filter as bytes that do not move; made before a container needs it."""

    def __init__(self, what: Filter = WHOLE) -> None:
        code = encode(program(platform.machine(), what))
        self._buffer = ctypes.create_string_buffer(code, len(code))
        self._program = _Program(len(code) // 8, ctypes.addressof(self._buffer))

    def load(self) -> None:
        """Put this process under the filter, for good.

        Raises:
            SystemRefusedError: the kernel has no seccomp filters, or no_new_privs is not set.
        """
        try:
            prctl(PR_SET_SECCOMP, MODE_FILTER, ctypes.addressof(self._program))
        except OSError as error:
            raise SystemRefusedError(f"no filter of system calls: {os.strerror(error.errno or 0)}") from error
