"""The filter of system calls as a program, run here as the kernel would run it, for both machines."""

import errno
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netserv.container.seccomp import (
    ALLOW,
    ALLOWED,
    ANY_BIT,
    AT_LEAST,
    EQUAL,
    ERRNO,
    KILL,
    LOAD,
    MACHINES,
    RETURN,
    Filter,
    Instruction,
    encode,
    program,
)
from netserv.container.syscalls import KNOWN_MAX, NUMBERS
from netserv.errors import SystemRefusedError

PROGRAMS = {machine: program(machine) for machine in MACHINES}
BY_ARGUMENT = {"mmap", "mprotect", "clone", "prctl", "ioctl", "socket", "socketpair", "sendto", "sendmsg", "sendmmsg"}
BY_ARGUMENT |= {"setsockopt"}
MACHINE = st.sampled_from(sorted(MACHINES))
NUMBER = st.integers(0, 2**32 - 1) | st.integers(0, KNOWN_MAX + 100)
ARGUMENTS = st.lists(st.integers(0, 2**64 - 1), max_size=6)


def verdict(steps: list[Instruction], architecture: int, number: int, *arguments: int) -> int:
    """What the kernel does with a call (Documentation/networking/filter.rst)."""
    data = struct.pack("=IIQ6Q", number, architecture, 0, *(*arguments, 0, 0, 0, 0, 0, 0)[:6])
    accumulator, at = 0, 0
    for _ in range(len(steps)):
        code, true, false, value = steps[at]
        at += 1
        match code:
            case _ if code == LOAD:
                (accumulator,) = struct.unpack_from("=I", data, value)
            case _ if code == RETURN:
                return value
            case _ if code == EQUAL:
                at += true if accumulator == value else false
            case _ if code == AT_LEAST:
                at += true if accumulator >= value else false
            case _ if code == ANY_BIT:
                at += true if accumulator & value else false
    raise AssertionError("the program does not end")


def call(machine: str, name: str, *arguments: int) -> int:
    return verdict(PROGRAMS[machine], MACHINES[machine], NUMBERS[machine][name], *arguments)


@given(
    MACHINE,
    st.integers(0, 2**32 - 1) | st.integers(0, KNOWN_MAX + 100),
    st.lists(st.integers(0, 2**64 - 1), max_size=6),
)
def test_only_what_is_listed_passes(machine: str, number: int, arguments: list[int]) -> None:
    names = [name for name, its in NUMBERS[machine].items() if its == number]
    result = verdict(PROGRAMS[machine], MACHINES[machine], number, *arguments)
    if any(name in ALLOWED.split() for name in names):
        assert result == ALLOW
    elif not any(name in BY_ARGUMENT for name in names):
        assert result != ALLOW
        if number > KNOWN_MAX and (machine == "aarch64" or number < 0x40000000):
            assert result == ERRNO | errno.ENOSYS


@given(MACHINE, st.integers(0, 2**32 - 1), st.integers(0, 500))
def test_another_machines_calls_end_the_process(machine: str, architecture: int, number: int) -> None:
    if architecture != MACHINES[machine]:
        assert verdict(PROGRAMS[machine], architecture, number) == KILL


@given(st.integers(0x40000000, 2**32 - 1))
def test_calls_by_x32_numbers_end_the_process(number: int) -> None:
    assert verdict(PROGRAMS["x86_64"], MACHINES["x86_64"], number) == KILL


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize(
    ("name", "arguments", "expected"),
    [
        ("mmap", (0, 4096, 3), ALLOW),
        ("mmap", (0, 4096, 4), ERRNO | errno.EPERM),
        ("mmap", (0, 4096, 7), ERRNO | errno.EPERM),
        ("mprotect", (0, 4096, 1), ALLOW),
        ("mprotect", (0, 4096, 5), ERRNO | errno.EPERM),
        ("pkey_mprotect", (0, 4096, 1, 0), ERRNO | errno.EPERM),
        ("clone", (0x003D0F00,), ALLOW),  # a thread
        ("clone", (0x01200011,), ALLOW),  # a process
        ("clone", (0x10000011,), ERRNO | errno.EPERM),
        ("clone", (0x00020011,), ERRNO | errno.EPERM),
        ("clone", (0x02000011,), ERRNO | errno.EPERM),
        ("clone", (0x40000011,), ERRNO | errno.EPERM),
        ("clone3", (), ERRNO | errno.ENOSYS),
        ("socket", (1, 1), ALLOW),
        ("socket", (2, 1), ERRNO | errno.EAFNOSUPPORT),
        ("socket", ((1 << 32) + 2, 1), ERRNO | errno.EAFNOSUPPORT),
        ("socket", (16, 3), ERRNO | errno.EAFNOSUPPORT),
        ("socketpair", (1, 5), ALLOW),
        ("sendto", (3, 0, 1, 0x4000, 0, 0), ALLOW),
        ("sendto", (3, 0, 1, 0x20000000, 0, 0), ERRNO | errno.EPERM),
        ("sendmsg", (3, 0, 0x20004000), ERRNO | errno.EPERM),
        ("sendmmsg", (3, 0, 1, 0x20000000), ERRNO | errno.EPERM),
        ("setsockopt", (3, 6, 1), ALLOW),
        ("setsockopt", (3, 1, 2), ALLOW),
        ("setsockopt", (3, 1, 26), ERRNO | errno.EPERM),
        ("setsockopt", (3, 1, 52), ERRNO | errno.EPERM),
        ("ioctl", (0, 0x5401), ALLOW),
        ("ioctl", (0, 0x5451), ALLOW),
        ("ioctl", (0, 0x5412), ERRNO | errno.EPERM),
        ("ioctl", (0, 0x100005412), ERRNO | errno.EPERM),
        ("prctl", (15,), ALLOW),
        ("prctl", (39,), ALLOW),
        ("prctl", (1,), ERRNO | errno.EPERM),
        ("prctl", (22,), ERRNO | errno.EPERM),
        ("getxattr", (), ERRNO | errno.EOPNOTSUPP),
        ("execve", (), ERRNO | errno.EPERM),
    ],
)
def test_calls_are_judged_by_their_arguments(
    machine: str, name: str, arguments: tuple[int, ...], expected: int
) -> None:
    assert call(machine, name, *arguments) == expected


@pytest.mark.parametrize("machine", MACHINES)
def test_a_part_of_the_filter_can_be_left_out(machine: str) -> None:
    numbers = NUMBERS[machine]
    without = program(machine, Filter(executable_memory=False, sockets=False))
    assert verdict(without, MACHINES[machine], numbers["mmap"], 0, 4096, 7) == ALLOW
    assert verdict(without, MACHINES[machine], numbers["socket"], 2, 1) == ALLOW
    assert verdict(without, MACHINES[machine], numbers["execve"]) == ERRNO | errno.EPERM


@pytest.mark.parametrize("machine", MACHINES)
def test_the_program_is_one_that_the_kernel_takes(machine: str) -> None:
    steps = PROGRAMS[machine]
    assert len(encode(steps)) == 8 * len(steps) <= 8 * 4096  # BPF_MAXINSNS
    for at, step in enumerate(steps):
        if step.code in {EQUAL, AT_LEAST, ANY_BIT}:
            assert 0 <= step.true <= 255 > step.false >= 0
            assert at + 1 + max(step.true, step.false) < len(steps)
    assert steps[-1].code == RETURN


def test_a_machine_that_is_not_known_has_no_containers() -> None:
    with pytest.raises(SystemRefusedError, match="no filter of system calls for riscv64"):
        program("riscv64")
