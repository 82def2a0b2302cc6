import errno
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random
from typing import Any

import pytest
import trio
import trio.testing

from dhtboot.effects import Effect, Joined, Send
from dhtboot.errors import LocalProtocolError
from dhtboot.ids import Address, NodeRef, id_bytes, random_id
from dhtboot.kademlia.config import KademliaConfig
from dhtboot.kademlia.messages import Packet, Ping, Tell
from dhtboot.kademlia.node import KademliaNode
from dhtboot.udp import DelayLine, UdpDriver, open_sockets
from dhtboot.wire import Codec

CODEC: Codec[Any] = Codec(Packet[str, str, str], network="test")
HOSTS = ["127.0.0.1", "::1"]


class Running:
    """One node on real sockets."""

    def __init__(self, driver: UdpDriver, node: KademliaNode, events: list[Effect]) -> None:
        self.driver, self.node, self.events = driver, node, events
        self.address = driver.addresses[0]

    def join(self, *entries: Address) -> None:
        self.driver.perform(self.node.join([NodeRef(0, entry) for entry in entries], trio.current_time()))


@asynccontextmanager
async def running(host: str, seed: int) -> AsyncIterator[Running]:
    async with open_sockets(host, 0, fall_back=False) as sockets, trio.open_nursery() as nursery:
        rng = Random(seed)
        node = KademliaNode(random_id(rng), KademliaConfig(), rng, trio.current_time())
        events: list[Effect] = []
        driver = UdpDriver(node, CODEC, sockets, events.append)
        nursery.start_soon(driver.run)
        yield Running(driver, node, events)
        nursery.cancel_scope.cancel()


async def until(predicate: Any) -> None:
    """Let the loop run until the predicate holds: datagrams on loopback need the kernel, not time."""
    with trio.fail_after(10.0):
        while not predicate():
            await trio.lowlevel.checkpoint()


@pytest.mark.parametrize("host", HOSTS)
def test_two_nodes_join_and_look_up_over_real_sockets(host: str) -> None:
    async def main() -> None:
        async with running(host, 1) as first, running(host, 2) as second:
            first.join()
            second.join(first.address)
            await until(lambda: second.events)
            assert second.events == [Joined(1)]
            await until(lambda: len(first.node.table) == 1)
            assert [contact.address for contact in first.node.table] == [second.address]
            results: list[Any] = []
            second.node.lookup(1, trio.current_time(), on_done=lambda result, _now: results.append(result))
            second.driver.perform(second.node.collect())
            await until(lambda: results)
            assert [node.id for node in results[0].answered] == [first.node.id]
            assert first.driver.counters["received"] >= 2

    trio.run(main)


def test_strange_datagrams_are_counted_and_break_nothing() -> None:
    async def main() -> None:
        async with running("127.0.0.1", 1) as node, running("127.0.0.1", 2) as other:
            node.join()
            rng = Random(3)
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
                stranger.sendto(b"", node.address)
                stranger.sendto(CODEC.encode(Packet(b"", 1, Ping()))[:-1], node.address)
                stranger.sendto(Codec(Packet[str, str, str], network="o").encode(Packet(b"", 1, Ping())), node.address)
                stranger.sendto(CODEC.encode(Packet(b"", 1, Ping())) + bytes(1500), node.address)
                for _ in range(200):
                    stranger.sendto(rng.randbytes(rng.randint(0, 1400)), node.address)
                    await trio.lowlevel.checkpoint()
            await until(lambda: node.driver.counters["received"] == 204)
            counters = node.driver.counters
            assert counters["refused_malformed"] >= 1
            assert counters["refused_other_network"] >= 1
            assert counters["refused_too_large"] == 1
            assert counters["refused_version"] > 150
            assert sum(count for name, count in counters.items() if name.startswith("refused")) == 204
            assert counters["sent"] == 0
            other.join(node.address)
            await until(lambda: other.events)

    trio.run(main)


def test_timers_run_and_a_silent_entry_point_is_tried_again() -> None:
    async def main() -> None:
        async with running("127.0.0.1", 1) as node:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as deaf:
                deaf.bind(("127.0.0.1", 0))
                deaf.setblocking(False)
                node.join(deaf.getsockname())
                await trio.sleep_until(30.0)
            assert len(node.events) >= 3, "of virtual time"
            assert node.driver.counters["sent"] >= 6

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


def test_what_cannot_be_sent_is_counted() -> None:
    async def main() -> None:
        async with running("127.0.0.1", 1) as node:
            me = id_bytes(node.node.id)
            node.driver.perform(
                [
                    Send(("::1", 9), Packet(me, 1, Ping())),
                    Send(node.address, Packet(me, 1, Tell("x" * 1300))),
                    Send(("255.255.255.255", 9), Packet(me, 1, Ping())),  # broadcasting was not asked for
                ]
            )
            assert node.driver.counters == {"no_family": 1, "too_large": 1, "send_errors": 1}

    trio.run(main)


def test_a_peer_that_is_gone_does_not_stop_the_reading() -> None:
    async def main() -> None:
        async with running("127.0.0.1", 1) as node, running("127.0.0.1", 2) as other:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as closed:
                closed.bind(("127.0.0.1", 0))
                gone = closed.getsockname()
            node.join(gone)  # the kernel answers with "port unreachable"
            other.join(node.address)
            await until(lambda: other.events)

    trio.run(main)


def test_all_addresses_means_both_families_on_one_port() -> None:
    async def main() -> None:
        async with open_sockets("", 0, fall_back=False) as sockets:
            assert [sock.family for sock in sockets] == [socket.AF_INET, socket.AF_INET6]
            assert len({sock.getsockname()[1] for sock in sockets}) == 1
        assert all(sock.fileno() == -1 for sock in sockets)

    trio.run(main)


@pytest.mark.parametrize("host", HOSTS)
def test_a_port_that_is_taken_is_named_with_the_remedy(host: str) -> None:
    async def main() -> None:
        async with open_sockets(host, 0, fall_back=False) as (sock,):
            port = sock.getsockname()[1]
            with pytest.raises(LocalProtocolError, match=f"UDP port {port} on {host} is taken.*another port") as caught:
                async with open_sockets(host, port, fall_back=False):
                    pass
            assert isinstance(caught.value.__cause__, OSError)
            assert caught.value.__cause__.errno == errno.EADDRINUSE
            async with open_sockets(host, port, fall_back=True) as (other,):
                assert other.getsockname()[1] not in (0, port)

    trio.run(main)


def test_an_address_of_another_host_is_refused_in_one_line() -> None:
    async def main() -> None:
        with pytest.raises(LocalProtocolError, match=r"cannot bind UDP port 4000 on 192\.0\.2\.1"):
            async with open_sockets("192.0.2.1", 4000, fall_back=True):
                pass

    trio.run(main)


def test_a_delay_line_sends_each_datagram_after_its_own_delay_whatever_came_before() -> None:
    async def main() -> None:
        delays = iter([3.0, 1.0, 2.0])
        line = DelayLine(lambda: next(delays))
        sent: list[tuple[str, float]] = []

        def send(name: str) -> None:
            sent.append((name, trio.current_time() - began))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(line.run)
            began = trio.current_time()
            line.put(lambda: send("first"))
            line.put(lambda: send("second"))
            await trio.sleep(0.5)
            line.put(lambda: send("third"))
            await trio.sleep(5.0)
            nursery.cancel_scope.cancel()
        assert [(name, pytest.approx(at)) for name, at in sent] == [("second", 1.0), ("third", 2.5), ("first", 3.0)]

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0.0))
