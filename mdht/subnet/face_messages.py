"""What hosts of different subnets say to each other: a packet of the overlay, and what keeps host sets fresh.

Values only. What the codec needs: contacts inside a packet travel as their 20-byte identifiers, since their addresses
follow from these (`face_nodes.pseudo_address`); the packet's own sender follows from the identity. The sizes here are
those of that codec.
"""

from typing import Any, Final

import msgspec

from dhtboot.ids import ID_BYTES, Address
from dhtboot.kademlia.messages import FindNode, Nodes
from mdht.messages import Answer, Got, Note, Offer, Pushed, Put, Question, Stored, Wanted
from mdht.subnet.identity import Identity
from mdht.subnet.messages import HostRef, NodeEntry, Reason, Standing
from mdht.wire import copy_bytes

NAMED_MAX: Final = 24
"Entries in one datagram: a list of 16, a single contact, and some room."
RECORDS_ROOM: Final = 950
"For copies in one datagram, beside the longest identity; then it does not name the sender's hosts."
RIDING_ROOM: Final = 700
"Likewise beside the contacts in a reply."
_HEAD_BYTES: Final = 32 + 16 + 7 + 11 + 4 + 21
"Header, MAC, what is held of the receiver, cookie, standing, and the address of who waits for the answer."
_PACKET_BYTES: Final = 64
"Request id, type, target, flags: whatever a packet has beside contacts and what the layer above adds."
_RIDING_BYTES: Final = 32
"Key and offset of a question; count and digest of an answer."
_OFFERED_BYTES: Final = 1 + 2 + ID_BYTES + 9
"Key and digest of one."
_CONTACT_BYTES: Final = ID_BYTES + 2
_HOST_BYTES: Final = 8 + 1 + 2 + 2 + 1 + 2
"Name, family, port, age, fails, round trip; the address itself comes to that."
_ENTRY_BYTES: Final = 3 + 2 + 1 + 1 + 8 + 4 + 2
"Number and length of the field, kind, two lengths, tag, epoch, size."


class Carried(msgspec.Struct, frozen=True, kw_only=True):
    """A packet from the core of one node to that of another."""

    packet: Any
    "Of the overlay's own union."
    reply_to: Address | None = None
    """Of a packet that is passed on for somebody else: the host that waits for the answer. The packet names its node
    only, whose other hosts would not know what it is about."""


class Taken(msgspec.Struct, frozen=True, kw_only=True):
    """A packet that is answered by somebody else, if at all, has come in: do not try another host."""

    request_id: int


class WhoIs(msgspec.Struct, frozen=True, kw_only=True):
    """Which hosts do you know of this node? None that the sender knows of answers."""

    number: int
    node_id: bytes
    "20 bytes."


class ItIs(msgspec.Struct, frozen=True, kw_only=True):
    """Those that the datagram names, if any."""

    number: int


class Knock(msgspec.Struct, frozen=True, kw_only=True):
    """Who are you? Said to an address of which nothing else is known: a bootstrap server has given it."""

    number: int


class Welcome(msgspec.Struct, frozen=True, kw_only=True):
    """What the datagram says of its sender, whose node is in this ring."""

    number: int
    ring_id: bytes
    "8 bytes."
    alone: bool
    "Whether it is the only one there."
    seen: Address | None = None
    "Where the knock came from."


class HostsChanged(msgspec.Struct, frozen=True, kw_only=True):
    """The hosts of the sender's node have changed: the datagram names them."""

    number: int
    reason: Reason


class HostsHeard(msgspec.Struct, frozen=True, kw_only=True):
    """I have heard it; and this node comes before mine on the circle, if there is a circle."""

    number: int
    before: bytes | None = None
    "20 bytes."


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """A question about records to a node, which any host of it may answer."""

    number: int
    question: Question


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """The answer."""

    number: int
    answer: Answer


class Noted(msgspec.Struct, frozen=True, kw_only=True):
    """Records that the receiver follows; nobody answers."""

    note: Note


class TryMe(msgspec.Struct, frozen=True, kw_only=True):
    """See whether I am reached where you see me, or at that port of that address: have somebody else try."""

    number: int
    address: Address | None = None


class Trying(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody does."""

    number: int
    seen: Address
    "Where the question came from."


class TryThem(msgspec.Struct, frozen=True, kw_only=True):
    """Send a probe to an address, where somebody wants one."""

    number: int
    address: Address


class Probe(msgspec.Struct, frozen=True, kw_only=True):
    """It has come through. Sent from a port that is used for nothing else; nobody answers."""

    number: int
    address: Address
    "Where it was sent."


class Prove(msgspec.Struct, frozen=True, kw_only=True):
    """Show that you receive at your address: say again what you have said, with this cookie."""

    cookie: bytes
    "8 bytes."


class Occupied(msgspec.Struct, frozen=True, kw_only=True):
    """Your identifier is that of the node which the datagram names: another founding, whose hosts live."""


class Contest(msgspec.Struct, frozen=True, kw_only=True):
    """My subnet has your identifier, and is another founding; so old it is."""

    age_s: int


class Contested(msgspec.Struct, frozen=True, kw_only=True):
    """So old is mine, and so old yours was when I have compared them."""

    age_s: int
    other_age_s: int


Body = (
    Carried
    | Taken
    | WhoIs
    | ItIs
    | Knock
    | Welcome
    | HostsChanged
    | HostsHeard
    | Prove
    | Asked
    | Told
    | Noted
    | Occupied
    | Contest
    | Contested
    | TryMe
    | Trying
    | TryThem
    | Probe
)


class OverlayDatagram(msgspec.Struct, frozen=True, kw_only=True):
    """What one host tells a host of another subnet."""

    identity: Identity
    tag: bytes
    hid: bytes
    view_epoch: int
    "Of the sender's members."
    held: int | None
    "Epoch of the set that the sender has of the receiver's node; None where it has none from that node itself."
    entry: NodeEntry | None = None
    "The sender's own hosts, where the receiver is not known to have this epoch of them."
    named: tuple[NodeEntry, ...] = ()
    "Hearsay: hosts of the nodes that the packet names."
    cookie: bytes | None = None
    "8 bytes that the receiver has given the sender for its address; None at first contact."
    marks: bytes | None = None
    "Of a request: of which nodes around its target the sender knows hosts (`face_known`)."
    standing: Standing | None = None
    "None where the sender may be named at the address that it is seen at."
    body: Body


def entry_bytes(entry: NodeEntry) -> int:
    """What an entry takes of a datagram."""
    identity = entry.identity
    return _ENTRY_BYTES + len(identity.data) + len(identity.salt) + sum(_host_bytes(host) for host in entry.hosts)


def entry_bytes_min(entry: NodeEntry) -> int:
    """Likewise of one that is cut down to one host."""
    return entry_bytes(msgspec.structs.replace(entry, hosts=entry.hosts[:1]))


def _host_bytes(host: HostRef) -> int:
    return _HOST_BYTES + (16 if ":" in host.address[0] else 4)


def packet_bytes(contacts: int) -> int:
    """What a packet that names so many contacts takes, without what the layer above adds to it."""
    return _PACKET_BYTES + _CONTACT_BYTES * contacts


def marks_bytes(marks: bytes | None) -> int:
    """What the marks of a request take."""
    return 0 if marks is None else 3 + len(marks)


def riding_bytes(packet: Any) -> int:
    """What rides on a packet about records, at most."""
    message = packet.message
    if isinstance(message, FindNode) and message.question is not None:
        return _RIDING_BYTES
    if isinstance(message, Nodes) and message.answer is not None:
        return _RIDING_BYTES + sum(map(copy_bytes, message.answer.copies))
    return 0


def record_bytes(body: Body) -> int:
    """What a body about records takes, at most; 0 for any other."""
    match body:
        case Asked(question=Put(copies=copies)) | Told(answer=Got(copies=copies)) | Noted(note=Pushed(copies=copies)):
            return _PACKET_BYTES + sum(map(copy_bytes, copies))
        case Asked(question=Offer(entries=entries)):
            return _PACKET_BYTES + _OFFERED_BYTES * len(entries)
        case Told(answer=Wanted(positions=numbers)) | Told(answer=Stored(codes=numbers)):
            return _PACKET_BYTES + len(numbers)
        case Asked() | Told() | Noted():
            return _PACKET_BYTES
        case _:
            return 0


def fitting(entries: list[NodeEntry], room: int, hosts_max: int) -> tuple[NodeEntry, ...]:
    """As many as there is room for: first each with fewer hosts, then without the last ones, which are the farthest."""
    for hosts in range(hosts_max, 0, -1):
        cut = [msgspec.structs.replace(entry, hosts=entry.hosts[:hosts]) for entry in entries[:NAMED_MAX]]
        if sum(map(entry_bytes, cut)) <= room:
            return tuple(cut)
    while cut and sum(map(entry_bytes, cut)) > room:
        cut.pop()
    return tuple(cut)


def head_bytes(identity: Identity) -> int:
    """What a datagram takes before packet and entries."""
    return _HEAD_BYTES + _ENTRY_BYTES + len(identity.data) + len(identity.salt)
