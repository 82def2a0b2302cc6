"""What the hosts of a subnet, and subnets, say to each other (mDHT design, appendix A)."""

from enum import IntEnum, IntFlag
from typing import Final

import msgspec

from dhtboot.ids import Address
from mdht.subnet.identity import Identity
from mdht.subnet.sync_messages import Compare, Differ, KeyList, ListKeys

HID_BYTES: Final = 8
"A host's name: random, made once per installation."
HASH_BYTES: Final = 8
"Hashes that siblings compare: of view, shared state, data."
QID_BYTES: Final = 8
"A query's number, drawn at random."
HOSTS_MAX: Final = 8
"Hosts of one node that another one is told of [thesis 3.3]."
RING_BYTES: Final = 8
"An overlay's number, drawn by whoever founded it where none could be reached."
NEIGHBOURS_MAX: Final = 9
"A predecessor and eight successors."
COPIES_MAX: Final = 64
"Hosts to which one sends copies of what is for all, and that it may list as unheard (mDHT design, section 12)."


class State(IntEnum):
    """What a host is within its subnet; the number travels on the wire."""

    JOINING = 1
    "It is there and takes over state and records; not yet asked for them."
    READY = 2
    LEAVING = 3
    "It hands its records over."
    SUSPECT = 4
    "Somebody could not reach it; it may refute."
    DEAD = 5
    LEFT = 6


class Want(IntFlag):
    """What somebody who says hello wants."""

    NOTHING = 0
    ANSWER = 1
    "HERE of up to three siblings."
    COPY = 2
    "By unicast too: the asker hears nobody by multicast."


class Ask(IntFlag):
    """How a question to all siblings is to be answered."""

    ANY = 0
    LATEST = 1
    "All versions, merged by the asker."
    DENIAL = 2
    "Who does not hold the key says so."


class Reason(IntEnum):
    """Why a host set has changed."""

    JOIN = 1
    LEAVE = 2
    DEATH = 3
    PULL = 4


class AckStatus(IntEnum):
    """What became of a record that was put."""

    STORED = 0
    REFUSED = 1
    FULL = 2
    NOT_READY = 3


class Standing(IntEnum):
    """Why the sender may not be named to others; the number travels on the wire."""

    UNLISTED = 1
    "Where it is seen only those get through that it has talked to. Other hosts of its node may be named."
    CLIENT = 2
    "Its node has no place in the overlay: it asks, and is not asked."


class HostRef(msgspec.Struct, frozen=True, kw_only=True):
    """One host of a node, as another node knows it."""

    hid: bytes
    address: Address
    age_s: int
    "Since it last gave a sign of life to whoever says so."
    fails: int = 0
    rtt_ms: int = 0
    "0 when never measured."


class NodeEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A node, that is a subnet, with hosts of it: what a routing table of the overlay has for an address.

    Its identifier is not told: everybody derives it from the identity, so that nobody can claim another one.
    """

    identity: Identity
    tag: bytes
    "8 bytes."
    view_epoch: int
    "Grows with each change of the members."
    size: int
    "Live hosts, all of them."
    hosts: tuple[HostRef, ...]
    "At most 8."


class Neighbour(msgspec.Struct, frozen=True, kw_only=True):
    """A node of the overlay, in short."""

    node_id: bytes
    "20 bytes."
    tag: bytes
    view_epoch: int


class MemberEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a view."""

    hid: bytes
    incarnation: int
    state: State
    addresses: tuple[Address, ...]
    age_s: int


# ---- to all siblings, by multicast -----------------------------------------------------------------------------------


class Hello(msgspec.Struct, frozen=True, kw_only=True):
    """Is anybody here?"""

    want: Want = Want.ANSWER
    addresses: tuple[Address, ...] = ()
    overlay_hash: bytes
    "20 bytes: SHA-1 of the overlay's name, in full."
    key_id: bytes = b""
    "Which pre-shared key the sender has; empty for none."


class Here(msgspec.Struct, frozen=True, kw_only=True):
    """I am here: heartbeat, and the answer to HELLO.

    The answer, and the first heartbeat of a new state, introduce the subnet; its tag is in the header. Others do not:
    among many hosts that would be the larger part of all that is sent.
    """

    state: State
    addresses: tuple[Address, ...]
    load: int
    size: int
    "Live members that the sender sees."
    heard: int
    "Those of them that it hears by multicast; with none it lists nobody as unheard, as it is all of them."
    view_epoch: int
    view_hash: bytes
    node_state_hash: bytes
    data_root: bytes
    last_put: int
    "Number of the last record put to all."
    identity: Identity | None = None
    "Of the sender's subnet, which a joiner adopts."
    founded_s: int | None = None
    "Seconds since its founding, told with the identity."
    policy: str | None = None
    "Name of its replication policy, told with the identity."
    unheard: tuple[bytes, ...] = ()
    "Names of the others: who finds himself there sends copies by unicast."
    mapped: Address | None = None
    "Where hosts of other subnets reach the sender, if that is none of its addresses."
    unlisted: bool | None = None
    "They do not reach it unasked."


class Bye(msgspec.Struct, frozen=True, kw_only=True):
    """I go."""

    handed_over: bool


class Suspect(msgspec.Struct, frozen=True, kw_only=True):
    """A member does not answer; it refutes that by a higher incarnation."""

    target: bytes
    incarnation: int
    silent_ds: int
    "Tenths of a second since the accuser heard it."


class NodeState(msgspec.Struct, frozen=True, kw_only=True):
    """The neighbours of this node in the overlay: when they have changed, and as the end of each turn of the rota."""

    ring_id: bytes
    epoch: int
    neighbours: tuple[Neighbour, ...]
    "Chord: the predecessor, then the successors; Kademlia: the closest nodes."
    changed: NodeEntry | None = None
    "One of the neighbours in full."
    author: bytes | None = None
    "Who made the change, where somebody else tells it."
    turn: int | None = None
    "Which turn of the rota ends with this."
    client: bool | None = None
    "This node has no place in the overlay, and only asks."


class WhoHas(msgspec.Struct, frozen=True, kw_only=True):
    """Who holds records of this key?"""

    qid: bytes
    key: bytes
    ask: Ask = Ask.ANY
    hops: int = 0
    "Hops that the question has made through the overlay."


class Have(msgspec.Struct, frozen=True, kw_only=True):
    """I do; heard by others who do, and who then keep silent."""

    qid: bytes
    key: bytes
    stamp: bytes
    "Of the version: SHA-1 over the sorted writers and sequence numbers, 8 bytes."
    newest: int
    "Largest sequence number."
    records: int
    size: int
    "Bytes of all of them."


class Note(msgspec.Struct, frozen=True, kw_only=True):
    """Where records of a key are from now on."""

    key: bytes
    stamp: bytes
    wanted: int
    "Replicas."
    holders: tuple[bytes, ...]


class Range(msgspec.Struct, frozen=True, kw_only=True):
    """These keys belong to another node now: whoever holds them streams them there."""

    low: bytes
    high: bytes
    receiver: NodeEntry
    transfer: bytes


class Subscribe(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody follows a key: whoever of us hears of a change tells him."""

    key: bytes
    node_id: bytes
    "20 bytes: his node, which may be this one."
    hid: bytes
    address: Address
    lease_s: int
    "Until he is forgotten; 0 ends it."
    via: bytes | None = None
    "Which of us reaches him, where that is only one."


class Inventory(msgspec.Struct, frozen=True, kw_only=True):
    """What is in the sender's cache: a Bloom filter, or what was added to it."""

    generation: int
    part: int
    filter: bytes = b""
    prefixes: tuple[bytes, ...] = ()


# ---- to one host -----------------------------------------------------------------------------------------------------


class Ping(msgspec.Struct, frozen=True, kw_only=True):
    """Are you there? The answer repeats the nonce."""

    nonce: bytes


class Pong(msgspec.Struct, frozen=True, kw_only=True):
    """I am."""

    nonce: bytes
    state: State | None = None
    "What the sender is; told by hosts that sign, as what others say of one is not believed there."


class PingRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Ping somebody for me, and hand his answer on."""

    nonce: bytes
    target: bytes


class View(msgspec.Struct, frozen=True, kw_only=True):
    """All members that the sender knows of, the gone ones among them."""

    epoch: int
    members: tuple[MemberEntry, ...]
    answer: bool = False
    "Whether the receiver's view is wanted in return."


class Put(msgspec.Struct, frozen=True, kw_only=True):
    """Store this."""

    qid: bytes
    record: bytes
    done: int = 0
    "Replicas made already."


class Ack(msgspec.Struct, frozen=True, kw_only=True):
    """What became of it."""

    qid: bytes
    status: AckStatus


class Fetch(msgspec.Struct, frozen=True, kw_only=True):
    """Give me your records of this key."""

    qid: bytes
    key: bytes
    cached: bool | None = None
    "Those in your cache, which are nobody's replicas; without it those that you hold."


class Value(msgspec.Struct, frozen=True, kw_only=True):
    """My records of the key that you asked for."""

    qid: bytes
    key: bytes
    records: tuple[bytes, ...]


class Nack(msgspec.Struct, frozen=True, kw_only=True):
    """I hold none."""

    qid: bytes
    key: bytes


class Changed(msgspec.Struct, frozen=True, kw_only=True):
    """A record of a key that you follow."""

    record: bytes


class HostSet(msgspec.Struct, frozen=True, kw_only=True):
    """Hosts of my node, since they have changed, or since you asked."""

    entry: NodeEntry
    reason: Reason


Message = (
    Hello
    | Here
    | Bye
    | Suspect
    | NodeState
    | WhoHas
    | Have
    | Note
    | Range
    | Inventory
    | Ping
    | Pong
    | PingRequest
    | View
    | Put
    | Ack
    | Fetch
    | Value
    | Nack
    | HostSet
    | Compare
    | Differ
    | ListKeys
    | KeyList
    | Subscribe
    | Changed
)
