from contextlib import suppress
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dhtboot.compact import pack_address, pack_node, unpack_address, unpack_node
from dhtboot.errors import RemoteProtocolError
from dhtboot.ids import Address, NodeRef
from tests.dhtboot.strategies import addresses, nodes


@given(addresses)
def test_addresses_keep_their_value_through_bytes(address: Address) -> None:
    data = pack_address(address)
    assert len(data) == (18 if ":" in address[0] else 6)
    assert unpack_address(data) == address


@given(nodes)
def test_contacts_keep_their_value_through_bytes(node: NodeRef) -> None:
    data = pack_node(node)
    assert len(data) == (38 if ":" in node.address[0] else 26)
    assert unpack_node(data) == node


def test_the_bytes_are_those_of_bep_5() -> None:
    assert pack_address(("192.0.2.1", 0x1AE1)) == bytes.fromhex("c00002011ae1")
    assert pack_node(NodeRef(0xFF, ("192.0.2.1", 1))) == bytes(19) + bytes.fromhex("ff c00002010001")


@pytest.mark.parametrize(
    "address", [("localhost", 1), ("300.0.2.1", 1), ("192.0.2", 1), ("192.0.2.1", 65_536), ("fe80", 1)]
)
def test_what_is_no_address_has_no_bytes(address: Address) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - each has words of its own, Python's
        pack_address(address)


@given(st.binary(max_size=45))
def test_any_bytes_are_an_address_or_are_refused(data: bytes) -> None:
    with suppress(RemoteProtocolError):
        host, port = unpack_address(data)
        assert 0 < port < 65_536
        assert str(ip_address(host)) == host
        assert pack_address((host, port)) == data


@given(st.binary(max_size=45) | st.binary(min_size=26, max_size=26) | st.binary(min_size=38, max_size=38))
def test_any_bytes_are_a_contact_or_are_refused(data: bytes) -> None:
    with suppress(RemoteProtocolError):
        assert pack_node(unpack_node(data)) == data


@pytest.mark.parametrize("data", [bytes(6), bytes(18), b"", bytes(7)])
def test_port_zero_and_wrong_lengths_are_refused(data: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        unpack_address(data)
    with pytest.raises(RemoteProtocolError):
        unpack_node(bytes(20) + data)
