from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio
import trio.lowlevel
import trio.testing
from trio.testing import MockClock

from mdht.signing import SigningKey
from netserv.errors import SystemRefusedError
from netserv.signaling.gist.addresses import packed
from netserv.signaling.transport.authorised_peers import FINGERPRINT, authorised_peers
from netserv.signaling.transport.listeners import open_listeners, port_of
from netserv.signaling.transport.tcp import NOT_AUTHORISED, AssociationLimits, Associations
from netserv.signaling.transport.tls import TlsContexts, TlsFiles, contexts
from tests.netserv.signaling.transport.certificates import BEGINS, ENDS, Authority

LOOPBACK = packed("127.0.0.1")
LIMITS = AssociationLimits()


class Node:
    """Notes what it is told."""

    def __init__(self, nursery: trio.Nursery, limits: AssociationLimits, tls: TlsContexts | None) -> None:
        self.associations = Associations(nursery, self, limits=limits, tls=tls)
        self.told: list[tuple[Any, ...]] = []
        self.bytes: dict[int, bytes] = {}
        self.names: dict[int, tuple[str, ...]] = {}
        self.news = trio.Event()

    def _note(self, *what: Any) -> None:
        self.told.append(what)
        self.news.set()

    def accepted(self, number: int, peer: Any, *, secure: bool, names: tuple[str, ...]) -> None:
        assert peer[0] == LOOPBACK
        self.names[number] = names
        self._note("accepted", number, secure)

    def opened(self, number: int, names: tuple[str, ...]) -> None:
        self.names[number] = names
        self._note("opened", number)

    def received(self, number: int, data: bytes) -> None:
        self.bytes[number] = self.bytes.get(number, b"") + data
        self.news.set()

    def closed(self, number: int, reason: str) -> None:
        self._note("closed", number, reason)

    async def until(self, condition: Any) -> None:
        with trio.fail_after(10):
            while not condition():
                self.news = trio.Event()
                await self.news.wait()

    async def told_of(self, *what: Any) -> None:
        await self.until(lambda: any(each[: len(what)] == what for each in self.told))

    def reason(self, number: int) -> str:
        (found,) = [each[2] for each in self.told if each[:2] == ("closed", number)]
        return found


@asynccontextmanager
async def two(
    limits: AssociationLimits = LIMITS, tls: tuple[TlsContexts | None, TlsContexts | None] = (None, None)
) -> AsyncIterator[tuple[Node, Node]]:
    async with trio.open_nursery() as nursery:
        yield Node(nursery, limits, tls[0]), Node(nursery, limits, tls[1])
        nursery.cancel_scope.cancel()


async def listening(node: Node, *, secure: bool, host: str) -> int:
    """Have a node accept connections; the port."""
    listeners = await open_listeners(0, host)
    node.associations.accept(listeners, secure=secure)
    return port_of(listeners)


async def connected(a: Node, b: Node, *, secure: bool = False) -> None:
    """Associate a and b, by the numbers 1 and 2."""
    port = await listening(b, secure=secure, host="127.0.0.1")
    a.associations.open(1, (LOOPBACK, port), secure=secure)
    await a.told_of("opened", 1)
    await b.told_of("accepted", 2, secure)


def own(directory: Path, name: str) -> TlsFiles:
    """Files of a node that has signed for itself."""
    key = SigningKey.generate()
    (directory / f"{name}.pem").write_bytes(key.certificate(name, begins=BEGINS, ends=ENDS))
    (directory / f"{name}.key").write_bytes(key.pem())
    return TlsFiles(certificate=directory / f"{name}.pem", key=directory / f"{name}.key")


async def test_bytes_pass_both_ways_in_order() -> None:
    async with two() as (a, b):
        await connected(a, b)
        for number in range(1_000):
            a.associations.send(1, b"%05d" % number)
        b.associations.send(2, b"answer")
        await b.until(lambda: len(b.bytes.get(2, b"")) == 5_000)
        await a.until(lambda: a.bytes.get(1) == b"answer")
        assert b.bytes[2] == b"".join(b"%05d" % number for number in range(1_000))
        assert (len(a.associations), len(b.associations)) == (1, 1)


async def test_closing_sends_what_is_queued_and_the_peer_is_told() -> None:
    async with two(AssociationLimits(linger_s=1_000.0)) as (a, b):
        await connected(a, b)
        a.associations.send(1, bytes(200_000))
        a.associations.close(1)
        a.associations.close(1)
        a.associations.send(1, b"too late")
        await b.told_of("closed", 2)
        assert (len(b.bytes[2]), b.reason(2)) == (200_000, "closed by the peer")
        assert a.told == [("opened", 1)]
        assert a.associations.counters["sent_too_late"] == 1
        with trio.fail_after(5):
            while len(a.associations):
                await trio.lowlevel.checkpoint()


async def test_a_connection_on_which_nothing_was_said_closes_without_waiting_for_the_peer() -> None:
    async with two(AssociationLimits(linger_s=1_000.0)) as (_, b):
        port = await listening(b, secure=False, host="127.0.0.1")
        async with await trio.open_tcp_stream("127.0.0.1", port) as stranger:
            await b.told_of("accepted", 2)
            b.associations.close(2)
            assert await stranger.receive_some() == b""
            with trio.fail_after(5):
                while len(b.associations):
                    await trio.lowlevel.checkpoint()


async def test_of_too_many_tls_handshakes_the_oldest_ends(tmp_path: Path) -> None:
    tls = contexts(own(tmp_path, "b"))
    async with two(AssociationLimits(handshakes_max=1), (None, tls)) as (_, b):
        port = await listening(b, secure=True, host="127.0.0.1")
        strangers = []
        for _number in range(2):
            strangers.append(await trio.open_tcp_stream("127.0.0.1", port))
            with trio.fail_after(5):
                while len(b.associations) == 0:
                    await trio.lowlevel.checkpoint()
        with trio.fail_after(5):
            assert await strangers[0].receive_some() == b""
            assert len(b.associations) == 1
        assert b.associations.counters["handshakes_displaced"] == 1
        for stranger in strangers:
            await stranger.aclose()


async def test_nobody_listening_is_told_as_a_closed_association() -> None:
    async with two() as (a, b):
        port = await listening(b, secure=False, host="127.0.0.2")
        a.associations.open(1, (LOOPBACK, port), secure=False)
        await a.told_of("closed", 1)
        assert a.reason(1) == f"127.0.0.1:{port}: Connection refused"
        assert len(a.associations) == 0


async def test_the_source_address_can_be_chosen() -> None:
    async with two() as (a, b):
        port = await listening(b, secure=False, host="127.0.0.1")
        a.associations.open(1, (LOOPBACK, port), secure=False, source=packed("192.0.2.1"))
        await a.told_of("closed", 1)
        assert "Cannot assign requested address" in a.reason(1)
        a.associations.open(3, (LOOPBACK, port), secure=False, source=LOOPBACK)
        await a.told_of("opened", 3)


async def test_a_peer_that_does_not_read_loses_its_association_and_no_memory_grows() -> None:
    async with trio.open_nursery() as nursery, await trio_listener() as listener:
        node = Node(nursery, AssociationLimits(queue_max=100_000), None)
        node.associations.open(1, (LOOPBACK, listener.socket.getsockname()[1]), secure=False)
        stream = await listener.accept()
        await node.told_of("opened", 1)
        sent = 0
        with trio.fail_after(10):
            while len(node.associations):
                node.associations.send(1, bytes(50_000))
                sent += 50_000
                await trio.lowlevel.checkpoint()
        assert "does not read what is sent to it" in node.reason(1)
        assert sent < 30_000_000  # the kernel's buffers of both ends take some
        assert node.associations.counters["queues_full"] >= 1
        await stream.aclose()
        nursery.cancel_scope.cancel()


async def test_what_waits_for_all_peers_is_bounded_too() -> None:
    async with two(AssociationLimits(queues_max=1_000)) as (a, b):
        await connected(a, b)
        a.associations.send(1, bytes(900))
        a.associations.send(1, bytes(900))
        await a.told_of("closed", 1)
        await connected_again(a, b)
        a.associations.send(3, bytes(900))
        await b.until(lambda: len(b.bytes.get(4, b"")) == 900)


async def connected_again(a: Node, b: Node) -> None:
    port = await listening(b, secure=False, host="127.0.0.1")
    a.associations.open(3, (LOOPBACK, port), secure=False)
    await a.told_of("opened", 3)
    await b.told_of("accepted", 4)


async def trio_listener() -> trio.SocketListener:
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    return listener


@pytest.fixture
def clock() -> MockClock:
    """A clock that stands still until it is moved: sockets take their own time."""
    return MockClock()


async def test_a_connection_on_which_nothing_comes_is_closed(clock: MockClock) -> None:
    async with two() as (a, b):
        await connected(a, b)
        clock.jump(LIMITS.first_data_s - 0.1)
        await trio.testing.wait_all_tasks_blocked()
        assert len(b.associations) == 1
        clock.jump(0.2)
        await b.told_of("closed", 2)
        await a.told_of("closed", 1)
        assert (b.reason(2), a.reason(1)) == ("nothing came on it", "closed by the peer")


async def test_a_connection_on_which_something_came_may_be_quiet(clock: MockClock) -> None:
    async with two() as (a, b):
        await connected(a, b)
        a.associations.send(1, b"confirm")
        await b.until(lambda: b.bytes.get(2) == b"confirm")
        clock.jump(10_000.0)
        await trio.testing.wait_all_tasks_blocked()
        a.associations.send(1, b" and data")
        await b.until(lambda: b.bytes.get(2) == b"confirm and data")


@pytest.mark.parametrize("limits", [AssociationLimits(associations_max=1), AssociationLimits(per_address_max=1)])
async def test_connections_over_the_limit_are_refused(limits: AssociationLimits) -> None:
    async with two(limits) as (a, b):
        port = await listening(b, secure=False, host="127.0.0.1")
        first, second = await trio.open_tcp_stream("127.0.0.1", port), await trio.open_tcp_stream("127.0.0.1", port)
        async with first, second:
            with trio.fail_after(5):
                assert await second.receive_some() == b""
            assert b.told == [("accepted", 2, False)]
            await first.aclose()
            await b.told_of("closed", 2)
            async with await trio.open_tcp_stream("127.0.0.1", port):
                await b.told_of("accepted", 4)
        a.associations.open(1, (LOOPBACK, port), secure=False)
        a.associations.open(3, (LOOPBACK, port), secure=False)
        if limits.associations_max == 1:
            await a.told_of("closed", 3, "too many associations")


async def test_a_port_in_use_is_a_clear_error() -> None:
    async with two() as (_a, b):
        port = await listening(b, secure=False, host="127.0.0.1")
        with pytest.raises(SystemRefusedError, match=f"TCP port {port}: Address already in use; end what uses it"):
            await open_listeners(port, "127.0.0.1")


async def test_a_free_port_is_the_same_one_in_both_families() -> None:
    listeners = await open_listeners(0)
    assert len({each.socket.getsockname()[1] for each in listeners}) == 1
    for each in listeners:
        await each.aclose()


async def test_a_cut_connection_is_told() -> None:
    async with two() as (_a, b):
        port = await listening(b, secure=False, host="127.0.0.1")
        stream = await trio.open_tcp_stream("127.0.0.1", port)
        await b.told_of("accepted", 2)
        stream.setsockopt(1, 13, b"\x01\0\0\0\0\0\0\0")  # SO_LINGER of no time: the kernel resets the connection
        await stream.aclose()
        await b.told_of("closed", 2)
        assert b.reason(2) == "Connection reset by peer"


async def test_tls_shows_the_fingerprints_of_certificates_that_nobody_has_signed(tmp_path: Path) -> None:
    tls = contexts(own(tmp_path, "a")), contexts(own(tmp_path, "b"))
    async with two(tls=tls) as (a, b):
        await connected(a, b, secure=True)
        a.associations.send(1, b"hidden")
        await b.until(lambda: b.bytes.get(2) == b"hidden")
        b.associations.send(2, b"answer")
        await a.until(lambda: a.bytes.get(1) == b"answer")
        ((name,), none) = a.names[1], b.names[2]
        assert name.startswith(FINGERPRINT)
        assert none == ()
        a.associations.send(1, bytes(100_000))
        a.associations.close(1)
        await b.told_of("closed", 2)
        assert len(b.bytes[2]) == 100_006


async def test_an_authority_vouches_for_the_names_of_both_ends(tmp_path: Path) -> None:
    authority = Authority.made(tmp_path)
    tls = contexts(authority.node("a", "a.example", "a2.example")), contexts(authority.node("b.example"))
    async with two(tls=tls) as (a, b):
        await connected(a, b, secure=True)
        assert a.names[1][:-1] == ("b.example",)
        assert b.names[2][:-1] == ("a.example", "a2.example")


async def test_a_server_that_no_authority_knows_is_refused(tmp_path: Path) -> None:
    authority = Authority.made(tmp_path)
    async with two(tls=(contexts(authority.node("a")), contexts(own(tmp_path, "b")))) as (a, b):
        port = await listening(b, secure=True, host="127.0.0.1")
        a.associations.open(1, (LOOPBACK, port), secure=True)
        await a.told_of("closed", 1)
        assert a.reason(1) == "TLS handshake: certificate refused: self-signed certificate"
        assert a.associations.counters["handshakes_failed"] == 1


async def test_a_client_without_the_wanted_certificate_is_refused(tmp_path: Path) -> None:
    files = msgspec.structs.replace(Authority.made(tmp_path).node("b"), clients_must_show=True)
    async with two(tls=(contexts(own(tmp_path, "a")), contexts(files))) as (a, b):
        port = await listening(b, secure=True, host="127.0.0.1")
        a.associations.open(1, (LOOPBACK, port), secure=True)
        await a.told_of("closed", 1)  # in TLS 1.3 a client stands ready before the server has looked
        assert not b.told


async def test_a_peer_s_own_certificate_may_be_its_authority(tmp_path: Path) -> None:
    await pinned({name: own(tmp_path, name) for name in ("a", "b")})


async def test_so_it_may_where_an_authority_has_signed_it(tmp_path: Path) -> None:
    authority = Authority.made(tmp_path)
    await pinned({name: authority.node(name) for name in ("a", "b")})


async def pinned(files: dict[str, TlsFiles]) -> None:
    """See that a and b take each other's certificate for the only authority."""
    tls = [
        contexts(msgspec.structs.replace(files[name], authorities=files[other].certificate))
        for name, other in (("a", "b"), ("b", "a"))
    ]
    async with two(tls=(tls[0], tls[1])) as (a, b):
        await connected(a, b, secure=True)
        assert (a.names[1][0], b.names[2][0]) == ("b", "a")


async def test_who_is_not_authorised_gets_no_association(tmp_path: Path) -> None:
    authority = Authority.made(tmp_path)
    tls = contexts(authority.node("a", "a.example")), contexts(authority.node("b", "b.example"))
    async with two(tls=tls) as (a, b):
        b.associations.authorise(authorised_peers("allow dns c.example"))
        port = await listening(b, secure=True, host="127.0.0.1")
        a.associations.open(1, (LOOPBACK, port), secure=True)
        await a.told_of("closed", 1)
        assert not b.told
        assert b.associations.counters["not_authorised"] == 1
        a.associations.authorise(authorised_peers("deny dns b.example\nallow any *"))
        a.associations.open(3, (LOOPBACK, port), secure=True)
        await a.told_of("closed", 3, NOT_AUTHORISED)


async def test_a_changed_list_ends_the_associations_that_it_forbids() -> None:
    async with two() as (a, b):
        await connected(a, b)
        b.associations.authorise(authorised_peers("allow any * 127.0.0.0/8"))
        a.associations.send(1, b"still there")
        await b.until(lambda: b.bytes.get(2) == b"still there")
        b.associations.authorise(authorised_peers("deny any *"))
        await b.told_of("closed", 2, NOT_AUTHORISED)
        await a.told_of("closed", 1)


async def test_strange_bytes_instead_of_a_handshake_are_counted(tmp_path: Path) -> None:
    async with two(tls=(None, contexts(own(tmp_path, "b")))) as (_a, b):
        port = await listening(b, secure=True, host="127.0.0.1")
        async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
            await stream.send_all(b"GET / HTTP/1.0\r\n\r\n")
            with trio.fail_after(5):
                while await stream.receive_some():
                    pass
                while len(b.associations):
                    await trio.lowlevel.checkpoint()
        assert b.associations.counters == {"handshakes_failed": 1, "refused": 1}
        assert not b.told


async def test_the_end_of_the_program_closes_all_without_telling_anybody() -> None:
    async with two() as (a, b):
        await connected(a, b)
    assert (a.told, b.told) == ([("opened", 1)], [("accepted", 2, False)])
    assert (len(a.associations), len(b.associations)) == (0, 0)
