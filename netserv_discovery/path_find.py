"""Nodes on the path to a host: who answers there, and what the DHT knows of them."""

from collections.abc import Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import Final

import msgspec
import trio

from netserv_discovery.errors import LocalProtocolError
from netserv_discovery.find import Finder
from netserv_discovery.path_io import ITEMS, PathNode, PathProber
from netserv_discovery.ranking import Found
from netserv_discovery.record import made_name
from netserv_discovery.versions import Offer
from netserv_discovery.want import Wanted

NODES_MAX: Final = 64
"Of a path, that are looked up: TTL allows no more routers than 255, and real paths have 10 to 30."
NAMESAKES_MAX: Final = 8
"Nodes of one name that are looked at for the one on the path."


class OnPath(msgspec.Struct, frozen=True, kw_only=True):
    """A node on the path."""

    number: int
    "1 is the nearest to this machine."
    node: PathNode
    found: Found | None
    "Its record, if it is in the DHT, with what was seen of it."
    blocks: tuple[Offer, ...]
    modules: tuple[Offer, ...]


async def find_on_path(
    prober: PathProber,
    host: str,
    *,
    finder: Finder | None,
    timeout_s: float,
    user: str | None = None,
    key: Path | None = None,
) -> list[OnPath]:
    """Return the nodes on the path to a host, the nearest first.

    Args:
        prober: asks them.
        host: name or address.
        finder: looks their records up; None: what they say themselves must do.
        timeout_s: for their answer.
        user: in whose name they are asked.
        key: file of that one's key.

    Raises:
        DiscoveryError: nobody is on the path, or no answer came in time.
    """
    nodes = (await prober.probe(host, items=ITEMS, timeout_s=timeout_s, user=user, key=key))[:NODES_MAX]
    records: dict[int, Found] = {}
    if finder is not None:
        async with trio.open_nursery() as nursery:
            for number, node in enumerate(nodes, 1):
                nursery.start_soon(_look_up, finder, node, number, records)
    return [_on_path(number, node, records.get(number)) for number, node in enumerate(nodes, 1)]


def fitting(nodes: Sequence[OnPath], wanted: Wanted | None) -> list[OnPath]:
    """Those that have what is looked for."""
    if wanted is None:
        return list(nodes)
    named = [each for each in nodes if wanted.node_id in {None, each.node.node_id}]
    return [each for each in named if wanted.met_by(each.blocks, each.modules)]


async def _look_up(finder: Finder, node: PathNode, number: int, records: dict[int, Found]) -> None:
    try:
        wanted = Wanted(node_id=node.node_id, limit=NAMESAKES_MAX)
    except LocalProtocolError:  # a name that no record has
        return
    for each in (await finder.find(wanted)).found:
        if is_same(node, each):
            records[number] = each
            return


def is_same(node: PathNode, found: Found) -> bool:
    """Whether a record is that of the node on the path: anybody may be called as it is, but not at its address."""
    if node.node_id == made_name(found.record.public_key):
        return True
    return ip_address(node.address) in found.record.ip_addresses


def offers_of(line: str) -> tuple[Offer, ...]:
    """What a line of names and versions offers, `ffmpeg_5.1,geoip_1.0`; what is neither is left out."""
    found = []
    for text in line.split(","):
        name, _, version = text.strip().rpartition("_")
        try:
            found.append(Offer(name, version))
        except LocalProtocolError:
            continue
    return tuple(found)


def _on_path(number: int, node: PathNode, found: Found | None) -> OnPath:
    """What it says itself counts first: it is asked now, and its record may hide something."""
    blocks, modules = (offers_of(node.lines.get(item, "")) for item in ("blocks", "modules"))
    if found is not None:
        blocks, modules = blocks or found.record.blocks, modules or found.record.modules
    return OnPath(number=number, node=node, found=found, blocks=blocks, modules=modules)
