"""Nodes along a path, told by a prober in memory."""

from collections.abc import Sequence
from ipaddress import ip_address
from pathlib import Path

import pytest
import trio

from netserv_discovery.errors import UnreachableError
from netserv_discovery.path_find import find_on_path, fitting, is_same, offers_of
from netserv_discovery.path_io import ITEMS, PathNode
from netserv_discovery.ranking import Found, Trust
from netserv_discovery.record import NodeRecord, made_name
from netserv_discovery.versions import Offer, parse_need
from netserv_discovery.want import Wanted

FIRST = PathNode(node_id="n1", address="192.0.2.1", hops=1, code=200, lines={"blocks": "ffmpeg_5.1,geoip_1.0"})
SECOND = PathNode(node_id="n2", address="192.0.2.2", hops=2, code=401)


class MemoryProber:
    """Satisfies `PathProber`."""

    def __init__(self, nodes: Sequence[PathNode]) -> None:
        self._nodes = nodes
        self.asked: list[tuple[str, str | None]] = []

    async def probe(
        self,
        host: str,
        *,
        items: tuple[str, ...],
        timeout_s: float,
        user: str | None = None,
        key: Path | None = None,
    ) -> Sequence[PathNode]:
        assert items == ITEMS
        self.asked.append((host, user))
        if not self._nodes:
            raise UnreachableError("nobody is on the path")
        return self._nodes


def test_what_nodes_say_themselves_does_where_there_is_no_record() -> None:
    async def main() -> None:
        prober = MemoryProber([FIRST, SECOND])
        found = await find_on_path(prober, "host", finder=None, timeout_s=1.0, user="alice")
        assert prober.asked == [("host", "alice")]
        assert [(each.number, each.node.node_id) for each in found] == [(1, "n1"), (2, "n2")]
        assert found[0].blocks == (Offer("ffmpeg", "5.1"), Offer("geoip", "1.0"))
        assert found[1].blocks == ()
        assert fitting(found, None) == found
        assert [each.node.node_id for each in fitting(found, Wanted(blocks=(parse_need("geoip"),)))] == ["n1"]
        assert [each.node.node_id for each in fitting(found, Wanted(node_id="n2"))] == ["n2"]

    trio.run(main)


def test_nobody_on_the_path_is_an_error() -> None:
    with pytest.raises(UnreachableError):
        trio.run(lambda: find_on_path(MemoryProber([]), "host", finder=None, timeout_s=1.0))


def record(node_id: str, address: str) -> Found:
    node = NodeRecord(
        public_key=bytes(32), node_id=node_id, addresses=(ip_address(address).packed,), issued=1, expires=2
    )
    return Found(record=node, trust=Trust.CONFIRMED, distance_km=None, rtt_s=0.1, load=0, crowded=False, reasons=())


def test_a_record_is_that_of_the_node_on_the_path_by_its_address_or_a_name_made_from_its_key() -> None:
    assert is_same(FIRST, record("n1", "192.0.2.1"))
    assert not is_same(FIRST, record("n1", "192.0.2.9"))
    named = PathNode(node_id=made_name(bytes(32)), address="192.0.2.1", hops=1, code=200)
    assert is_same(named, record(made_name(bytes(32)), "192.0.2.9"))


def test_words_that_are_no_offers_are_left_out() -> None:
    assert offers_of("ffmpeg_5.1, x, _1, NetServ.apps.Relay_1.2.0,,a_b") == (
        Offer("ffmpeg", "5.1"),
        Offer("NetServ.apps.Relay", "1.2.0"),
    )
