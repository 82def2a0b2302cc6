"""The programs, proved by the kernel's verifier and run by the kernel on frames; needs root.

Where nothing is routed, whatever comes is the kernel's, as it came. What goes to the broker is seen in the laboratory
(test_packet_path.py).
"""

import ctypes
import os
import socket
import struct
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_network
from pathlib import Path
from typing import TypeAlias

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netserv.errors import SystemRefusedError
from netserv.forwarding import bpf, xdp_program
from netserv.forwarding.filters import PacketFilter
from netserv.forwarding.matching import Rule
from netserv.forwarding.xdp import Tables
from netserv.modules.manifest import Prematch
from tests.netserv.forwarding.ip_packets import build, packed, packets

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="BPF needs root")
PASS, REDIRECT = 2, 4
NEW_NETWORK = 0x40000000
MAC = bytes.fromhex("020000000001")


@pytest.fixture(scope="module")
def programs() -> Iterator[tuple[int, int]]:
    tables = Tables()
    for number, proto in enumerate(("udp", "tcp"), 1):
        wanted = PacketFilter(
            proto=proto,
            ports=(5060, 4_000),
            destination=ip_network("10.0.0.0/8"),
            reverse=True,
            prematch=(Prematch(0, b"NOTIFY "), Prematch(20, b"0123456789abcdef")),
        )
        tables.add(Rule(number=number, wanted=wanted, closed=False, allowed=()))
    found = bpf.load_xdp(xdp_program.main_program(tables.maps, MAC, 64)), bpf.load_xdp(xdp_program.router_program(1))
    yield found
    for each in found:
        os.close(each)
    tables.close()


@given(
    packets() | st.binary(min_size=1, max_size=100),
    st.sampled_from((b"\x08\x00", b"\x86\xdd", b"\x81\x00", b"\x08\x06")),
)
def test_what_is_not_routed_passes_untouched(programs: tuple[int, int], packet: bytes, kind: bytes) -> None:
    frame = MAC + bytes(6) + kind + packet
    assert bpf.run_xdp(programs[0], frame) == (PASS, frame)
    assert bpf.run_xdp(programs[1], frame) == (0, frame)


def test_a_wanted_packet_without_a_route_passes(programs: tuple[int, int]) -> None:
    packet = build(packed("10.1.0.2"), packed("10.255.255.2"), 17, (1, 5060), b"NOTIFY sip:a")
    frame = MAC + bytes(6) + b"\x08\x00" + packet
    assert bpf.run_xdp(programs[0], frame) == (PASS, frame)


class Routed:
    """A program in a network namespace of its thread, where packets to 10.2.0.0/24 leave by an interface."""

    def __init__(self) -> None:
        if ctypes.CDLL(None, use_errno=True).unshare(NEW_NETWORK):
            raise OSError(ctypes.get_errno(), "unshare")
        for words in (
            "link set lo up",
            "link add out type veth peer name far",
            "link set far up",
            "address add 10.2.0.1/24 dev out",
            "link set out up",
            "neighbour add 10.2.0.2 lladdr 02:00:00:00:00:02 dev out nud permanent",
        ):
            subprocess.run(["ip", *words.split()], check=True)
        Path("/proc/sys/net/ipv4/conf/all/forwarding").write_text("1", encoding="ascii")
        Path("/proc/sys/net/ipv4/conf/lo/forwarding").write_text("1", encoding="ascii")
        self.out = socket.if_nametoindex("out")
        self.tables = Tables()
        wanted = PacketFilter(proto="udp", ports=(5060,), destination=ip_network("10.2.0.0/24"))
        self.tables.add(Rule(number=7, wanted=wanted, closed=False, allowed=()))
        self.program = bpf.load_xdp(xdp_program.main_program(self.tables.maps, MAC, 64))
        self.to_stack = bpf.load_xdp(xdp_program.main_program(self.tables.maps, MAC, 64, stack=True))

    def know(self, ttl: int, place: int, number: int = 7) -> None:
        ends = packed("10.1.0.2").ljust(16, b"\0") + packed("10.2.0.2").ljust(16, b"\0")
        key = struct.pack("!BBHHBx", 4, 17, 4_000, 5060, ttl) + ends
        bpf.update(self.tables.maps.flows, key, struct.pack("=QII", number, place, 0))

    def count(self, place: int) -> tuple[int, int]:
        packets, size = struct.unpack("=QQ", bpf.lookup(self.tables.maps.counted, struct.pack("=I", place), 16))
        return packets, size

    def close(self) -> None:
        os.close(self.program)
        os.close(self.to_stack)
        self.tables.close()


There: TypeAlias = tuple[Routed, Callable[[Callable[[], None]], None]]
"And what calls a function on that thread."


@pytest.fixture
def routed() -> Iterator[There]:
    with ThreadPoolExecutor(1) as thread:
        made = thread.submit(Routed).result()
        yield made, lambda function: thread.submit(function).result()
        thread.submit(made.close).result()


def test_a_flow_is_counted_where_it_is_known_and_leaves_here_where_it_can(
    routed: There,
) -> None:
    there, run = routed
    frame, size = _frame(64), 20 + 8 + 5

    def look() -> None:
        there.know(64, 3)
        for _ in range(4):
            assert bpf.run_xdp(there.program, frame) == (PASS, frame), "nothing may leave by that interface yet"
        there.tables.redirect_to({there.out})
        for _ in range(3):
            verdict, left = bpf.run_xdp(there.program, frame)
            assert (verdict, left[:6], left[14 + 8]) == (REDIRECT, bytes.fromhex("020000000002"), 63)
        assert (there.count(3), there.tables.cached(7)) == ((7, 7 * size), (7, 7 * size))
        # Another TTL is another flow, and this one is for the module: without a socket it is the kernel's here.
        assert bpf.run_xdp(there.program, _frame(63))[0] == PASS
        assert there.count(3) == (7, 7 * size)
        there.know(63, 4)
        assert bpf.run_xdp(there.program, _frame(63))[0] == REDIRECT
        there.know(62, 0)
        assert bpf.run_xdp(there.program, _frame(62))[0] == REDIRECT
        assert (there.count(3), there.count(4), there.count(0)) == ((7, 7 * size), (1, size), (0, 0))
        there.know(64, 5, number=6)  # left by a filter that is gone
        assert bpf.run_xdp(there.program, frame)[0] == PASS
        assert (there.count(3), there.count(5)) == ((7, 7 * size), (0, 0))

    run(look)


def test_a_flow_is_counted_and_left_to_the_kernel_as_it_came_where_that_is_wanted(routed: There) -> None:
    there, run = routed

    def look() -> None:
        there.know(64, 3)
        there.tables.redirect_to({there.out})
        for _ in range(3):
            assert bpf.run_xdp(there.to_stack, _frame(64)) == (PASS, _frame(64))
        assert (there.count(3), there.tables.cached(7)) == ((3, 99), (3, 99))
        assert bpf.run_xdp(there.to_stack, _frame(63))[0] == PASS
        assert there.count(3) == (3, 99)

    run(look)


def test_a_flow_that_would_not_go_to_the_module_is_not_counted(
    routed: There,
) -> None:
    there, run = routed

    def look() -> None:
        there.know(64, 3)
        subprocess.run(["ip", "route", "add", "blackhole", "10.2.0.2/32"], check=True)
        assert bpf.run_xdp(there.program, _frame(64)) == (PASS, _frame(64))
        assert (there.count(3), there.tables.cached(7)) == ((0, 0), (0, 0))

    run(look)


def _frame(ttl: int) -> bytes:
    packet = build(packed("10.1.0.2"), packed("10.2.0.2"), 17, (4_000, 5060), b"hello", hops=ttl)
    return MAC + bytes(6) + b"\x08\x00" + packet


def test_a_program_that_the_verifier_refuses_is_an_error_with_its_reasons() -> None:
    with pytest.raises(SystemRefusedError, match="R0"):
        bpf.load_xdp(bytes.fromhex("9500000000000000"))
