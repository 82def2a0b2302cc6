"""A host of a subnet for real sockets: its core from settings, and the codec of what it tells other subnets."""

import hashlib
from collections.abc import Callable, Iterable
from random import Random
from typing import Final, Literal

import msgspec

from dhtboot.bootstrap_client import BootstrapClient, ClientConfig, OnContact
from dhtboot.bootstrap_messages import BootstrapPacket
from dhtboot.chord.config import ChordConfig
from dhtboot.ids import Address
from dhtboot.kademlia.config import KademliaConfig
from dhtboot.overlay import OverlayConfig, packet_type
from dhtboot.wire import Codec
from mdht.keeping.config import KeepingConfig
from mdht.keeping.keeper import Keeper
from mdht.messages import Get, Got
from mdht.records import Copy, Verifier
from mdht.subnet.face_config import FaceConfig
from mdht.subnet.face_messages import OverlayDatagram
from mdht.subnet.founding import Founding
from mdht.subnet.founding_config import FoundingConfig
from mdht.subnet.host import SubnetHost
from mdht.subnet.hostset_config import HostSetConfig
from mdht.subnet.identity import Identity, Subnet, overlay_bytes
from mdht.subnet.kept import Kept
from mdht.subnet.membership import Membership
from mdht.subnet.membership_config import MembershipConfig
from mdht.subnet.merging import Merging
from mdht.subnet.merging_config import MergingConfig
from mdht.subnet.node_part import NodePart
from mdht.subnet.node_part_config import NodePartConfig
from mdht.subnet.overlay_wire import MAGIC, OverlayCodec
from mdht.subnet.policies import policy_from
from mdht.subnet.search import EntryPoints

Protocol = Literal["kademlia", "chord"]


AT_ENTRY_POINTS: Final = FoundingConfig(retry_min_s=5.0, retry_max_s=60.0)
"Whoever is named as an entry point expects to be asked, and may be started later; a server serves many."
ALONE_S: Final = 0.01
"A host that is on no link does not wait for siblings."


class HostSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What a host is told by its user."""

    network: str
    "Name of the overlay."
    protocol: Protocol = "kademlia"
    server: Address | None = None
    "The bootstrap server; without one the subnet is a ring of its own."
    allow_private: bool = False
    "Tell other subnets private addresses, and believe them, even those that are reached by public ones."
    public: Address | None = None
    "Where they reach this host, if that is no address of its own."
    alone: bool = False
    "It is a subnet of its own, on no link."
    host_keys: bool = False
    "Hosts of the subnet sign what they say of themselves, and believe nothing else."
    merge: Literal["auto", "never"] = "auto"
    "Whether its subnet gives way to a larger one that it meets late on its link."
    keeping: KeepingConfig | None = None
    "How it keeps records; None where it keeps none."

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
        self._overlay = OverlayCodec(settings.network, packet_type(settings.overlay, None, Get, Got), keys)
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
    *,
    entry_points: EntryPoints = tuple,
    kept: Kept | None = None,
    former: Iterable[Copy] = (),
    now: float = 0.0,
) -> SubnetHost:
    """The core of a host.

    Args:
        settings: of the host.
        hid: its name.
        incarnation: number of this start.
        addresses: where it can be reached, now.
        derive: makes the subnet's identity, if this host founds it.
        rng: unpredictable.
        entry_points: gives addresses of hosts that may be in the overlay.
        kept: what it remembers of the link.
        former: the records that it held before it was started again.
        now: the time.
    """
    overlay_hash = hashlib.sha1(overlay_bytes(settings.network), usedforsecurity=False).digest()
    membership = Membership(
        hid, incarnation, addresses(), overlay_hash, MembershipConfig(), rng, proven=settings.host_keys
    )
    face = FaceConfig(hosts=HostSetConfig(allow_private=settings.allow_private))
    config = NodePartConfig(overlay=settings.overlay, face=face)
    server, keeping = settings.server, settings.keeping

    def make_part(subnet: Subnet, now: float) -> NodePart:
        def make_client(on_contact: OnContact) -> BootstrapClient:
            node_id = subnet.identity.node_id(settings.network)
            return BootstrapClient(node_id, server or ("", 0), ClientConfig(), rng, on_contact=on_contact)

        client = None if server is None else make_client
        return NodePart(
            subnet, settings.network, membership, addresses, config, client, rng, now, entry_points=entry_points
        )

    founding_config = FoundingConfig() if server else AT_ENTRY_POINTS
    if keeping is not None:
        founding_config = msgspec.structs.replace(founding_config, policy=str(policy_from(keeping.policy)))
    if settings.alone:
        founding_config = msgspec.structs.replace(founding_config, window_s=ALONE_S)
    merging = Merging(membership, settings.network, MergingConfig(), rng) if settings.merge == "auto" else None
    founding = Founding(hid, derive, kept, founding_config, rng, merging)
    if keeping is None:
        return SubnetHost(membership, founding, make_part, named=settings.public)
    verify = Verifier()

    def make_records(subnet: Subnet, part: NodePart, held: list[Copy], now: float) -> Keeper:
        return Keeper(membership, part, addresses, keeping, verify, rng, now, held, policy=subnet.policy)

    return SubnetHost(membership, founding, make_part, make_records, former, now, settings.public)
