import os
import socket
from collections.abc import Sequence

import pytest
import trio

from netserv.errors import SystemRefusedError
from netserv.publisher.keep_alives import sniffing
from netserv.publisher.keep_alives.sniffing import DATAGRAM_MAX, Datagram, Sniffer, _datagram

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="raw sockets need CAP_NET_RAW")
FAMILIES = [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")]


def servers(family: int, address: str, count: int) -> list[socket.socket]:
    found = [socket.socket(family, socket.SOCK_DGRAM) for _ in range(count)]
    for sock in found:
        sock.bind((address, 0))
    return found


@needs_root
@pytest.mark.parametrize(("family", "address"), FAMILIES)
async def test_what_begins_as_a_keep_alive_is_seen_and_still_reaches_the_server(family: int, address: str) -> None:
    agent, first, second, other = servers(family, address, 4)
    ports = [sock.getsockname()[1] for sock in (first, second)]
    wanted = [b"NOTIFY sip:a SIP/2.0", b"\r\n\r\n", bytes(4), b"\0\1\0\0"]
    seen: list[Datagram] = []
    with agent, first, second, other, Sniffer(ports) as sniffer, trio.move_on_after(10.0) as patience:
        for data in (b"INVITE", b"", *wanted):
            for server in (first, second, other):
                agent.sendto(data, server.getsockname()[:2])

        def take(group: Sequence[Datagram]) -> None:
            seen.extend(group)
            if len(seen) >= 2 * len(wanted):
                patience.cancel()

        source = agent.getsockname()[1]
        assert first.recv(100) == b"INVITE"
        await sniffer.run(take)
    expected = [Datagram(address, source, address, data) for data in wanted for _ in ports]
    assert seen == expected


@needs_root
async def test_any_number_of_ports_and_long_datagrams_are_no_fault() -> None:
    agent, server = servers(socket.AF_INET, "127.0.0.1", 2)
    ports = [*range(1, 32), server.getsockname()[1]]
    with agent, server, Sniffer(ports) as sniffer, trio.move_on_after(10.0) as patience:
        agent.sendto(b"N" * 5_000, server.getsockname())
        sizes: list[int] = []

        def take(group: Sequence[Datagram]) -> None:
            sizes.extend(len(each.data) for each in group)
            patience.cancel()

        await sniffer.run(take)
    assert sizes == [DATAGRAM_MAX - 28]


def test_who_may_not_is_told_what_he_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(_family: int, _ports: Sequence[int]) -> socket.socket:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(sniffing, "_opened", refused)
    with pytest.raises(SystemRefusedError, match="CAP_NET_RAW"):
        Sniffer([5060])


@pytest.mark.parametrize("data", [b"", b"\x45", b"\x4f" + bytes(30), bytes(27), b"\x45" + bytes(27)])
def test_what_is_cut_off_is_no_datagram_or_an_empty_one(data: bytes) -> None:
    found = _datagram(data, (), "192.0.2.7")
    assert found is None or found.data == b""
