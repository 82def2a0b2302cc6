"""What the console shows of a node's signed record."""

from typing import Literal

from dhtboot.ids import format_address
from netserv_discovery.console.items import NodeSeen, Offer, Place
from netserv_discovery.record import LOAD_MAX, NodeRecord


def node_seen(record: NodeRecord, way: Literal["link", "DHT"], *, interface: str = "", name: str = "") -> NodeSeen:
    """What the console shows of a record.

    Args:
        record: its signature holds.
        way: by which it was found.
        interface: of the link on which it was.
        name: by which it was found there.
    """
    place = record.location
    limits = {
        "modules of a publisher": record.limits.modules,
        "MiB of memory for a container": record.limits.memory_mib,
        "s at most for a module": record.limits.ttl_s,
    }
    return NodeSeen(
        node=record.node_id,
        public_key=record.public_key.hex(),
        name=name or record.node_id,
        way=way,
        interface=interface,
        where=tuple(format_address((str(each), record.gist_port)) for each in record.ip_addresses),
        blocks=tuple(Offer(name=each.name, version=each.version) for each in record.blocks),
        modules=tuple(Offer(name=each.name, version=each.version) for each in record.modules),
        load=record.load / LOAD_MAX,
        place=None if place is None else Place(latitude=place.latitude, longitude=place.longitude),
        operator=record.operator,
        expires=record.expires,
        signed=True,
        notes=(
            *(f"{number} {what}" for what, number in limits.items() if number),
            *(() if record.more is None else ("more blocks and modules in a list of its own",)),
        ),
    )
