"""What the kernel of this machine says of its loopback interface; changes are in the laboratory's tests."""

import socket

import pytest

from netserv.signaling.gist.addresses import PackedAddress
from netserv.signaling.transport import topology as module
from netserv.signaling.transport.topology import KernelTopology

LOOPBACK4, LOOPBACK6 = bytes([127, 0, 0, 1]), bytes(15) + b"\x01"


def test_own_addresses_are_known() -> None:
    with KernelTopology() as topology:
        assert topology.is_own(LOOPBACK4)
        assert topology.is_own(bytes([127, 9, 9, 9]))
        assert not topology.is_own(bytes([192, 0, 2, 1]))
        assert LOOPBACK4 in topology.own_addresses


@pytest.mark.parametrize("address", [LOOPBACK4, LOOPBACK6])
def test_the_way_to_an_own_address_is_the_loopback_interface(address: PackedAddress) -> None:
    with KernelTopology() as topology:
        if not topology.is_own(address):
            pytest.skip("no IPv6 on this machine")
        way = topology.outgoing(address)
        assert way is not None
        assert way.interface == socket.if_nametoindex("lo")
        assert way.address == address
        assert way.mtu >= 1_280
        assert way.next_hop is None


def test_nobody_outside_sends_from_an_own_address() -> None:
    with KernelTopology() as topology:
        assert not topology.may_come_from(LOOPBACK4, 32, socket.if_nametoindex("lo"))
        assert not topology.may_come_from(LOOPBACK4, 33, 1)
        assert not topology.may_come_from(bytes([224, 0, 0, 1]), 32, 1)


def test_what_is_kept_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KEPT_MAX", 8)
    with KernelTopology() as topology:
        for number in range(1, 30):
            assert topology.outgoing(bytes([127, 0, 0, number])) is not None
        assert 0 < len(topology._ways) <= 8
