"""A host of a subnet for real sockets: its core from settings, and the codec of what it tells other subnets."""

import hashlib
from collections.abc import Callable
from random import Random
from typing import Any, Literal

import msgspec

from dhtboot.bootstrap_client import BootstrapClient, ClientConfig, OnContact
from dhtboot.bootstrap_messages import BootstrapPacket
from dhtboot.chord.config import ChordConfig
from dhtboot.ids import Address
from dhtboot.kademlia.config import KademliaConfig
from dhtboot.overlay import OverlayConfig, packet_type
from dhtboot.wire import Codec
from mdht.subnet.face_config import FaceConfig
from mdht.subnet.face_messages import OverlayDatagram
from mdht.subnet.founding import Founding
from mdht.subnet.founding_config import FoundingConfig
from mdht.subnet.host import SubnetHost
from mdht.subnet.hostset_config import HostSetConfig
from mdht.subnet.identity import Identity, Subnet, overlay_bytes
from mdht.subnet.membership import Membership
from mdht.subnet.membership_config import MembershipConfig
from mdht.subnet.node_part import NodePart
from mdht.subnet.node_part_config import NodePartConfig
from mdht.subnet.overlay_wire import MAGIC, OverlayCodec

Protocol = Literal["kademlia", "chord"]


class HostSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What a host is told by its user."""

    network: str
    "Name of the overlay."
    protocol: Protocol = "kademlia"
    server: Address | None = None
    "The bootstrap server; without one the subnet is a ring of its own."
    allow_private: bool = False
    "Tell other subnets private addresses, and believe them: in a laboratory."

    @property
    def overlay(self) -> OverlayConfig:
        """Settings of the overlay's cores."""
        return ChordConfig() if self.protocol == "chord" else KademliaConfig()


class AwayCodec:
    """Bytes of what a host tells those beyond its link: hosts of other subnets, and the bootstrap server.

    Args:
        settings: of the host.
        keys: shared by all hosts of the overlay, the present one first; none for an open one.
    """

    def __init__(self, settings: HostSettings, keys: tuple[bytes, ...]) -> None:
        self._overlay = OverlayCodec(settings.network, packet_type(settings.overlay, None), keys)
        self._server: Codec[BootstrapPacket] = Codec(BootstrapPacket, network=settings.network)

    def encode(self, packet: OverlayDatagram | BootstrapPacket) -> bytes:
        """The datagram of a packet."""
        return self._server.encode(packet) if isinstance(packet, BootstrapPacket) else self._overlay.encode(packet)

    def decode(self, data: bytes) -> OverlayDatagram | BootstrapPacket:
        """The packet in a datagram.

        Raises:
            WireError: it is no datagram of the overlay.
            dhtboot.errors.RemoteProtocolError: nor one of the bootstrap server.
        """
        if data[: len(MAGIC)] == MAGIC:
            return self._overlay.decode(data)
        return self._server.decode(data)


def make_host(
    settings: HostSettings,
    hid: bytes,
    incarnation: int,
    addresses: Callable[[], tuple[Address, ...]],
    derive: Callable[[], Identity],
    rng: Random,
    application: Any = None,
) -> SubnetHost:
    """The core of a host.

    Args:
        settings: of the host.
        hid: its name.
        incarnation: number of this start.
        addresses: where it can be reached, now.
        derive: makes the subnet's identity, if this host founds it.
        rng: unpredictable.
        application: the layer above the overlay's core.
    """
    overlay_hash = hashlib.sha1(overlay_bytes(settings.network), usedforsecurity=False).digest()
    membership = Membership(hid, incarnation, addresses(), overlay_hash, MembershipConfig(), rng)
    face = FaceConfig(hosts=HostSetConfig(allow_private=settings.allow_private))
    config = NodePartConfig(overlay=settings.overlay, face=face)
    server = settings.server

    def make_part(subnet: Subnet, now: float) -> NodePart:
        def make_client(on_contact: OnContact) -> BootstrapClient:
            node_id = subnet.identity.node_id(settings.network)
            return BootstrapClient(node_id, server or ("", 0), ClientConfig(), rng, on_contact=on_contact)

        client = None if server is None else make_client
        return NodePart(subnet, settings.network, membership, addresses, config, client, rng, now, application)

    return SubnetHost(membership, Founding(hid, derive, None, FoundingConfig(), rng), make_part)
