"""UDP ports of modules: what is on the way between node and container, and who gets a datagram."""

import os
import socket
from collections.abc import Iterator
from contextlib import closing, suppress
from ipaddress import ip_network

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from netserv.container.datagrams import PAYLOAD_MAX, Datagram, DatagramSocket, decode, encode
from netserv.container.udp_relay import PEER_S, PEERS_MAX, Peers, UdpRelay
from netserv.errors import LocalProtocolError, RemoteProtocolError
from netserv.modules.manifest import PortWish
from tests.netserv.container.world import PATIENCE_S, installation, said, supervised

DATAGRAMS = st.builds(Datagram, st.ip_addresses().map(str), st.integers(1, 65_535), st.binary(max_size=100))


@given(DATAGRAMS)
def test_a_datagram_comes_as_it_was(datagram: Datagram) -> None:
    assert decode(encode(datagram)) == datagram


@given(st.binary(max_size=60))
def test_any_bytes_are_a_datagram_or_are_refused(data: bytes) -> None:
    with suppress(RemoteProtocolError):
        assert encode(decode(data)) == data


@pytest.mark.parametrize(
    "datagram",
    [
        Datagram("host.example", 1, b""),
        Datagram("192.0.2.1", 0, b""),
        Datagram("192.0.2.1", 70_000, b""),
        Datagram("192.0.2.1", 1, bytes(PAYLOAD_MAX + 1)),
    ],
)
def test_what_is_no_datagram_is_not_sent(datagram: Datagram) -> None:
    with pytest.raises(LocalProtocolError):
        encode(datagram)


def test_only_those_who_spoke_lately_are_answered() -> None:
    peers = Peers()
    assert not peers.may_be_answered("192.0.2.1", 5, 0.0)
    peers.heard("192.0.2.1", 5, 0.0)
    assert peers.may_be_answered("192.0.2.1", 5, PEER_S - 1)
    assert not peers.may_be_answered("192.0.2.1", 6, 1.0)
    assert not peers.may_be_answered("192.0.2.1", 5, PEER_S)


def test_only_so_many_peers_are_known() -> None:
    peers = Peers()
    for number in range(PEERS_MAX + 1):
        peers.heard("192.0.2.1", number, 0.0)
    assert not peers.may_be_answered("192.0.2.1", 0, 0.0)
    assert peers.may_be_answered("192.0.2.1", 1, 0.0)


@pytest.fixture
def outside() -> Iterator[socket.socket]:
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock


async def test_a_container_answers_and_speaks_to_nobody_else(outside: socket.socket) -> None:
    """On the loopback interface, where each service of the node listens."""
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as peer:
        peer.bind(("127.0.0.1", 0))
        peer.settimeout(PATIENCE_S)
        victim = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        victim.bind(("127.0.0.1", 0))
        victim.setblocking(False)
        async with trio.open_nursery() as nursery:
            relay = UdpRelay(outside, lambda: (ip_network("0.0.0.0/0"),))
            end = relay.box_end(nursery)
            box = DatagramSocket(end.detach())
            peer.sendto(b"hello", outside.getsockname())
            with trio.fail_after(PATIENCE_S):
                payload, address = await box.recvfrom()
                assert (payload, address) == (b"hello", peer.getsockname())
                await box.sendto(b"attack", victim.getsockname())
                await box.sendto(b"hello, too", address)
                assert (await trio.to_thread.run_sync(peer.recv, 99)) == b"hello, too"
            with closing(victim), pytest.raises(BlockingIOError):
                victim.recv(99)
            assert relay.refused == 1
            box.close()
            relay.close()


ECHO = """
from netserv.container.datagrams import decode, encode
import os, socket
sock = socket.socket(fileno=os.dup(descriptors[0]))
say(sock.family)
while True:
    sock.send(encode(decode(sock.recv(99))._replace(payload=b"from the box")))
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can put up the walls of a container")
async def test_a_granted_udp_port_is_served() -> None:
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as free:
        free.bind(("", 0))
        port = free.getsockname()[1]
    async with supervised() as supervisor:
        number = await supervisor.install(installation(beside=ECHO, ports=(PortWish("udp", port),)))
        with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as peer, trio.fail_after(PATIENCE_S):
            peer.connect(("127.0.0.1", port))
            peer.settimeout(PATIENCE_S)
            peer.send(b"hello")
            assert (await trio.to_thread.run_sync(peer.recv, 99)) == b"from the box"
        assert [line.text for line in supervisor.log(number)] == [str(int(socket.AF_UNIX))]
        assert await said(supervisor, "say('here')") == ["here"]
