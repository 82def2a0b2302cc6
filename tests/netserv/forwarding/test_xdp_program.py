"""The programs, proved by the kernel's verifier and run by the kernel on frames; needs root.

Here nothing is routed, so whatever comes is the kernel's, as it came. What is redirected is seen in the laboratory
(test_packet_path.py).
"""

import os
from collections.abc import Iterator
from ipaddress import ip_network

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
PASS = 2
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


def test_a_program_that_the_verifier_refuses_is_an_error_with_its_reasons() -> None:
    with pytest.raises(SystemRefusedError, match="R0"):
        bpf.load_xdp(bytes.fromhex("9500000000000000"))
