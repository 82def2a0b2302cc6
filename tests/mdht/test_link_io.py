import ipaddress
import logging
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import pytest
import trio
import trio.testing

from mdht import link_io
from mdht.errors import LocalProtocolError
from mdht.link_config import GROUP_PORT, InterfaceState, LinkConfig, group4
from mdht.link_io import Datagram, UdpLink, UdpPort, interface_state, open_link

pytestmark = pytest.mark.loopback

PATIENCE_S = 5.0
LOOPBACK = InterfaceState(index=socket.if_nametoindex("lo"), addresses=(ipaddress.ip_interface("127.0.0.1/8"),))


def free_port() -> int:
    """A port of our own: programs of this machine may meet on the well-known one."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def config(group_port: int, **settings: Any) -> LinkConfig:
    return LinkConfig(**{"overlay": "test", "interfaces": ("lo",), "group_port": group_port, **settings})


@asynccontextmanager
async def two_links(**settings: Any) -> AsyncIterator[tuple[UdpLink, UdpLink]]:
    port = free_port()
    async with open_link(config(port, **settings)) as first, open_link(config(port, **settings)) as second:
        yield first, second


def group_port(link: UdpLink) -> UdpPort:
    return next(port for port in link.ports if port._interface is not None)


def own_port(link: UdpLink) -> UdpPort:
    return next(port for port in link.ports if port._interface is None and port.sock.family == socket.AF_INET)


async def next_batch(port: UdpPort) -> list[Datagram]:
    with trio.fail_after(PATIENCE_S):
        return await port.receive()


async def nothing_comes(port: UdpPort) -> bool:
    with trio.move_on_after(0.05):
        await port.receive()
        return False
    return True


def test_every_program_of_the_machine_hears_the_group_the_sender_too() -> None:
    async def main() -> None:
        async with two_links() as (first, second):
            first.multicast(b"hello")
            for link in (first, second):
                (datagram,) = await next_batch(group_port(link))
                assert (datagram.data, datagram.source[0], datagram.multicast) == (b"hello", "127.0.0.1", True)
            assert await nothing_comes(own_port(second))

    trio.run(main)


def test_a_unicast_reaches_one_port_only() -> None:
    async def main() -> None:
        async with two_links() as (first, second):
            ((host, port),) = [address for address in second.addresses if address[0] == "127.0.0.1"]
            first.unicast(b"you", (host, port))
            (datagram,) = await next_batch(own_port(second))
            assert datagram == Datagram(b"you", first.addresses[0], multicast=False)
            assert await nothing_comes(group_port(second))
            assert first.counters == {"sent": 1}

    trio.run(main)


def test_what_is_sent_apart_comes_from_a_port_that_is_used_for_nothing_else() -> None:
    async def main() -> None:
        async with two_links() as (first, second):
            ((host, port),) = [address for address in second.addresses if address[0] == "127.0.0.1"]
            sources = set()
            for _ in range(3):
                first.send_away(b"probe", (host, port), apart=True)
                (datagram,) = await next_batch(own_port(second))
                assert (datagram.data, datagram.source[0]) == (b"probe", "127.0.0.1")
                sources.add(datagram.source)
            assert first.addresses[0] not in sources
            first.send_away(b"no probe", (host, port))
            (datagram,) = await next_batch(own_port(second))
            assert datagram.source == first.addresses[0]
            assert first.counters == {"sent": 4}

    trio.run(main)


def test_the_node_of_the_record_store_and_the_link_live_on_one_machine() -> None:
    async def main() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as node:
            node.bind(("0.0.0.0", 0))
            node.setblocking(False)
            async with two_links() as (first, second):
                first.multicast(b"hello")
                await next_batch(group_port(second))
                with pytest.raises(BlockingIOError):
                    node.recv(100)

    trio.run(main)
    assert GROUP_PORT != 27_183


def test_a_burst_is_taken_in_slices_and_in_order() -> None:
    async def main() -> None:
        async with two_links() as (first, second):
            sent = [number.to_bytes(2) for number in range(200)]
            for data in sent:
                first.multicast(data)
            got: list[bytes] = []
            while len(got) < 200:
                batch = await next_batch(group_port(second))
                assert 1 <= len(batch) <= link_io.SLICE_MAX
                got += [datagram.data for datagram in batch]
            assert got == sent

    trio.run(main)


def test_what_comes_to_the_group_from_elsewhere_is_dropped_and_counted() -> None:
    async def main() -> None:
        async with two_links() as (link, _):
            assert link.admit(("127.9.9.9", 5), "lo") == ("127.9.9.9", 5)
            assert link.admit(("192.0.2.1", 5), "lo") is None
            assert link.admit(("192.0.2.1", 5), None) == ("192.0.2.1", 5), "hosts of other subnets say something too"
            assert link.counters == {"off_link": 1}

    trio.run(main)


def test_nothing_is_sent_to_who_is_not_on_the_link() -> None:
    async def main() -> None:
        async with two_links() as (link, _):
            link.unicast(b"victim", ("192.0.2.1", 5))
            link.unicast(b"victim", ("2001:db8::1", 5))
            assert link.counters == {"off_link_to": 2}

    trio.run(main)


def test_a_link_local_address_is_answered_on_the_interface_that_it_was_heard_on() -> None:
    async def main() -> None:
        async with two_links() as (link, _):
            assert link.admit(("fe80::1%eth7", 5, 0, 77), None) == ("fe80::1", 5)
            assert link._scope("fe80::1") == 77
            assert link._scope("fe80::2") == LOOPBACK.index
            for number in range(link_io.SCOPES_MAX):
                link.admit((f"fe80::1:{number:x}", 5, 0, 1), None)
            assert len(link._scopes) == link_io.SCOPES_MAX

    trio.run(main)


def test_the_group_is_left_and_joined_once_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        async with two_links() as (first, second):
            times: list[float] = []
            rejoin = link_io.leave_and_join

            def noted(*arguments: Any) -> None:
                times.append(now)
                rejoin(*arguments)

            monkeypatch.setattr(link_io, "leave_and_join", noted)
            start = trio.current_time()
            for second_s in range(200):
                now = start + second_s
                assert second.refresh(now) == []
            assert [round(time_s - start) for time_s in times] == [60, 120, 180]
            first.multicast(b"still there")
            await next_batch(group_port(second))

    trio.run(main, clock=trio.testing.MockClock())


def test_an_interface_that_goes_and_comes_is_followed(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    state: InterfaceState | None = LOOPBACK

    async def main() -> None:
        nonlocal state
        async with two_links() as (first, second), trio.open_nursery() as nursery:
            monkeypatch.setattr(link_io, "interface_state", lambda _name: state)
            ended = trio.Event()

            async def read(port: UdpPort) -> None:
                try:
                    await port.receive()
                except trio.ClosedResourceError:
                    ended.set()

            port = group_port(second)
            nursery.start_soon(read, port)
            await trio.testing.wait_all_tasks_blocked()
            state = None
            assert second.refresh(0.0) == second.refresh(1.0) == []
            with trio.fail_after(PATIENCE_S):
                await ended.wait()
            with pytest.raises(trio.ClosedResourceError):
                await port.receive()
            assert (second.addresses, second.interfaces) == ((), ())
            second.multicast(b"into nothing")
            state = LOOPBACK
            (again,) = second.refresh(2.0)
            assert second.interfaces == ("lo",)
            first.multicast(b"welcome back")
            assert (await next_batch(again))[0].data == b"welcome back"
            state = InterfaceState(index=LOOPBACK.index, addresses=(ipaddress.ip_interface("127.0.0.2/8"),))
            (third,) = second.refresh(3.0)
            assert third is not again
            assert second.addresses[0][0] == "127.0.0.2"

    trio.run(main)
    assert caplog.text.count("interface lo is down, or without address") == 1
    assert caplog.text.count("interface lo has changed") == 1


def test_an_interface_that_fails_is_told_once_and_tried_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(*_arguments: Any) -> None:
        raise OSError(19, "No such device")

    async def main() -> None:
        async with two_links(rejoin_s=10.0) as (_, link):
            monkeypatch.setattr(link_io, "leave_and_join", fails)
            link.refresh(trio.current_time() + 11.0)
            assert link.interfaces == ()
            assert link.counters == {"rejoin_errors": 1}
            with monkeypatch.context() as patch:
                patch.setattr(link_io, "open4", fails)
                assert link.refresh(0.0) == link.refresh(1.0) == []
            assert len(link.refresh(2.0)) == 1

    trio.run(main)
    assert caplog.text.count("interface 'lo' cannot be used for multicast: No such device") == 1


@contextmanager
def holding(port: int) -> Iterator[None]:
    """A program that does not share a port."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("0.0.0.0", port))
        yield


def refused(settings: LinkConfig) -> str:
    async def main() -> str:
        with pytest.raises(LocalProtocolError) as caught:
            async with open_link(settings):
                pass
        return str(caught.value)

    return trio.run(main)


def test_what_cannot_be_used_is_one_line_with_the_remedy() -> None:
    port = free_port()
    assert refused(config(port, interfaces=("nope0",))).startswith("no interface 'nope0'; there are: ")
    with holding(port):
        assert f"UDP port {port}" in refused(config(port))
        assert "stop that one" in refused(config(port))
        assert refused(config(free_port(), port=port)).startswith(f"UDP port {port} is taken")


def test_an_interface_that_is_down_is_named_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link_io, "interface_state", lambda _name: None)
    assert refused(config(free_port())) == ("interface 'lo' is down or has no address; try: ip link set lo up")


def test_the_default_routes_interface_is_taken_and_may_be_missing_later(monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> str:
        raise LocalProtocolError("no interface but loopback is up and has an address")

    async def main() -> None:
        monkeypatch.setattr(link_io, "default_interface", lambda: "lo")
        async with open_link(config(free_port(), interfaces=())) as link:
            assert link.interfaces == ("lo",)
            monkeypatch.setattr(link_io, "default_interface", none)
            assert link.refresh(0.0) == []
            assert link.interfaces == ()

    trio.run(main)
    assert "no interface but loopback" in refused(config(free_port(), interfaces=()))


def test_loopback_has_the_state_that_the_kernel_says() -> None:
    state = interface_state("lo")
    assert state is not None
    assert (state.index, str(state.ipv4), state.speaks_ipv6) == (LOOPBACK.index, "127.0.0.1", False)
    assert interface_state("nope0") is None
    assert group4("test").startswith("239.255.")
