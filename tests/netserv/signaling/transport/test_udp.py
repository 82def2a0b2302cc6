"""The GIST port over the loopback interface, without privileges."""

import socket
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio
import trio.testing

from netserv.errors import LocalProtocolError, SystemRefusedError
from netserv.signaling.gist.effects import Caught, SendDatagram
from netserv.signaling.transport.udp import UdpPort

LOOPBACKS = pytest.mark.parametrize("address", [bytes([127, 0, 0, 1]), bytes(15) + b"\x01"])


def run(main: Callable[[], Awaitable[Any]]) -> Any:
    async def bounded() -> Any:
        with trio.fail_after(10):
            return await main()

    return trio.run(bounded)


async def received(port: UdpPort) -> Caught:
    while (found := port.take()) is None:
        await port.ready()
    return found


def closed_port(address: bytes) -> int:
    with socket.socket(socket.AF_INET if len(address) == 4 else socket.AF_INET6, socket.SOCK_DGRAM) as sock:
        sock.bind(("", 0))
        return int(sock.getsockname()[1])


@LOOPBACKS
def test_a_datagram_comes_with_ends_ttl_and_interface(address: bytes) -> None:
    async def main() -> Caught:
        with UdpPort(0) as here, UdpPort(0) as there:
            assert here.send_datagram(SendDatagram(b"hello", (address, there.port), here.port, 33))
            found = await received(there)
            assert found.source == (address, here.port)
            assert found.destination == (address, there.port)
            return found

    found = run(main)
    assert (found.payload, found.ip_ttl, found.in_transit) == (b"hello", 33, False)
    assert found.interface == socket.if_nametoindex("lo")
    assert (found.dscp, found.router_alert) == (0, False)


@LOOPBACKS
def test_a_closed_port_is_told_with_the_payload_and_hinders_nothing(address: bytes) -> None:
    async def main() -> None:
        with UdpPort(0) as here, UdpPort(0) as there:
            nobody = (address, closed_port(address))
            for number in range(3):
                assert here.send_datagram(SendDatagram(b"cookie %d" % number, nobody, here.port, 33))
                # The error of the one before is pending now, and this one goes all the same.
                assert here.send_datagram(SendDatagram(b"other", (address, there.port), here.port, 33))
                assert (await received(there)).payload == b"other"
                assert there.send_datagram(SendDatagram(b"back", (address, here.port), there.port, 33))
                assert (await received(here)).payload == b"back"
            found = []
            async for destination, quoted in here.unreachables():
                assert destination == address
                found.append(quoted)
                if len(found) == 3:
                    break
            assert found == [b"cookie 0", b"cookie 1", b"cookie 2"]
            assert here.counters["port_unreachable"] == 3

    run(main)


def test_errors_alone_wake_nobody_for_nothing() -> None:
    async def main() -> None:
        with UdpPort(0) as here:
            address = bytes([127, 0, 0, 1])
            async with trio.open_nursery() as nursery:
                nursery.start_soon(here.ready)
                await trio.testing.wait_all_tasks_blocked()
                here.send_datagram(SendDatagram(b"x", (address, closed_port(address)), here.port, 33))
                async for error in here.errors():
                    assert error.offender == address
                    break
                await trio.testing.wait_all_tasks_blocked(0.01)  # it would spin if the queue were not empty
                nursery.cancel_scope.cancel()

    run(main)


def test_an_error_of_this_machine_itself_wakes_nobody_for_nothing() -> None:
    async def main() -> None:
        with UdpPort(0) as here:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(here.ready)
                await trio.testing.wait_all_tasks_blocked()
                with pytest.raises(OSError, match="Message too long"):  # it is in the queue only, and fails no call
                    here._sockets[4].sendto(bytes(65_508), ("127.0.0.1", 9))
                await trio.testing.wait_all_tasks_blocked(0.01)
                nursery.cancel_scope.cancel()

    run(main)


def test_many_datagrams_come_in_order() -> None:
    async def main() -> None:
        with UdpPort(0) as here, UdpPort(0) as there:
            to = (bytes([127, 0, 0, 1]), there.port)
            for number in range(500):
                assert here.send_datagram(SendDatagram(number.to_bytes(2), to, here.port, 33))
            for number in range(500):
                assert (await received(there)).payload == number.to_bytes(2)
            assert there.counters["received"] == 500

    run(main)


def test_what_does_not_fit_is_counted() -> None:
    async def main() -> None:
        with UdpPort(0) as here:
            to = (bytes([127, 0, 0, 1]), here.port)
            assert not here.send_datagram(SendDatagram(bytes(65_508), to, here.port, 33))
            assert here.counters["too_large"] == 1
            assert here.send_datagram(SendDatagram(b"x", to, here.port, 33))

    run(main)


def test_a_foreign_source_port_is_refused() -> None:
    async def main() -> None:
        with UdpPort(0) as here, pytest.raises(LocalProtocolError, match="source port"):
            here.send_datagram(SendDatagram(b"x", (bytes([127, 0, 0, 1]), 9), here.port - 1, 33))

    run(main)


def test_a_taken_port_is_an_error_that_names_it() -> None:
    async def main() -> None:
        with UdpPort(0) as first, pytest.raises(SystemRefusedError, match=f"{first.port} is held by another program"):
            UdpPort(first.port)

    run(main)


def test_who_waits_is_woken_by_the_closing() -> None:
    async def main() -> None:
        port = UdpPort(0)

        async def wait() -> None:
            with pytest.raises(trio.ClosedResourceError):
                await port.ready()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            await trio.testing.wait_all_tasks_blocked()
            port.close()

    run(main)
