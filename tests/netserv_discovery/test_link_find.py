"""What announces itself on a link, told by a link in memory; the nodes answer on loopback."""

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from ipaddress import ip_address
from random import SystemRandom
from typing import cast

import msgspec
import pytest
import trio

from mdht.signing import SigningKey
from netserv_discovery import link_find
from netserv_discovery.items_find import ItemsWanted
from netserv_discovery.link_find import LinkFinder
from netserv_discovery.link_io import LinkChange, Links
from netserv_discovery.link_text import SERVICE_TYPE, pack_txt, txt_of
from netserv_discovery.location import Location
from netserv_discovery.ping import Responder
from netserv_discovery.ping_io import open_ping_server
from netserv_discovery.ranking import Trust
from netserv_discovery.record import NodeRecord, encode
from netserv_discovery.versions import Offer, parse_need
from netserv_discovery.want import Wanted
from z2z.service_item import ServiceItem

NEW_YORK, PARIS = Location(40.71, -74.01), Location(48.86, 2.35)
PATIENCE_S = 5.0


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link_find, "LOOK_S", 0.1)  # nobody answers late here


class MemoryLinks:
    """Tells every reader what is told it."""

    def __init__(self) -> None:
        self._told: list[LinkChange] = []
        self._readers: list[trio.MemorySendChannel[LinkChange]] = []

    def tell(self, change: LinkChange) -> None:
        self._told.append(change)
        for reader in self._readers:
            reader.send_nowait(change)

    @asynccontextmanager
    async def browse(self) -> AsyncIterator[trio.MemoryReceiveChannel[LinkChange]]:
        send, receive = trio.open_memory_channel[LinkChange](100)
        for change in self._told:
            send.send_nowait(change)
        self._readers.append(send)
        yield receive
        self._readers.remove(send)


def node(name: str, ping_port: int, key: SigningKey, location: Location = NEW_YORK, life_s: int = 60) -> ServiceItem:
    now = int(time.time())
    record = NodeRecord(
        public_key=key.public_key,
        node_id=name,
        addresses=(bytes((203, 0, 113, 1)),),  # not where it is reached on the link
        ping_port=ping_port,
        blocks=(Offer("ffmpeg", "5.1"),),
        location=location,
        issued=now - 10,
        expires=now + life_s,
    )
    return ServiceItem(
        instance=name.encode(),
        service_type=SERVICE_TYPE,
        host=b"h",
        port=270,
        txt=pack_txt(txt_of(record, encode(record, key))),
        addresses=(ip_address("127.0.0.1"),),
    )


def found(item: ServiceItem, interface: str = "eth0") -> LinkChange:
    return LinkChange(kind="found", interface=interface, instance=item.display_name, item=item)


def run(main: Callable[[MemoryLinks, LinkFinder, int, SigningKey], Awaitable[None]]) -> None:
    async def whole() -> None:
        key, links = SigningKey.generate(), MemoryLinks()
        with trio.fail_after(4 * PATIENCE_S):
            async with open_ping_server(Responder(key, SystemRandom(), trio.current_time())) as server:
                await main(links, LinkFinder(cast("Links", links)), server.port, key)

    trio.run(whole)


def test_nodes_of_the_link_are_verified_asked_where_they_are_and_ranked() -> None:
    async def main(links: MemoryLinks, finder: LinkFinder, port: int, key: SigningKey) -> None:
        other = SigningKey.generate()
        right, bad = node("right", port, key, PARIS), node("false", port, other)
        links.tell(found(right))
        links.tell(found(right, "eth1"))  # of two links: one node
        links.tell(found(bad))
        links.tell(found(msgspec.structs.replace(right, instance=b"no record", txt=b"\0")))
        links.tell(found(node("expired", port, SigningKey.generate(), life_s=-1)))
        near = Wanted(blocks=(parse_need("ffmpeg"),), near=NEW_YORK)
        done = await finder.find(ItemsWanted(wanted=near))
        assert [(each.record.node_id, each.trust) for each in done.found] == [
            ("right", Trust.CONFIRMED),
            ("false", Trust.WRONG_KEY),
        ]
        assert done.counters == {"malformed": 1, "expired": 1, "wrong_key": 1}
        none = Wanted(blocks=(parse_need("ffmpeg>=6"),))
        assert (await finder.find(ItemsWanted(wanted=none))).found == ()
        radius = Wanted(near=NEW_YORK, radius_km=100.0)
        assert [each.record.node_id for each in (await finder.find(ItemsWanted(wanted=radius))).found] == ["false"]

    run(main)


def test_a_watch_of_the_link_tells_who_comes_and_goes() -> None:
    async def main(links: MemoryLinks, finder: LinkFinder, port: int, key: SigningKey) -> None:
        item = node("right", port, key)
        async with finder.watch(ItemsWanted()) as changes:
            links.tell(found(item))
            change = await changes.receive()
            assert (change.kind, change.node.record.node_id) == ("found", "right")
            links.tell(LinkChange(kind="lost", interface="eth0", instance="right"))
            assert (await changes.receive()).kind == "lost"

    run(main)
