"""What the calls of `mdht.node.Mdht` return."""

from typing import Literal

import msgspec

from mdht.errors import RefusalCode


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """One live value under a key, its signature verified and its chunks joined."""

    writer: bytes
    "Ed25519 public key of its writer."
    name: bytes
    seq: int
    value: bytes
    "Up to 16 KiB."
    lease_s: int
    remaining_s: float


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One change under a key, as `watch` yields it."""

    kind: Literal["added", "updated", "removed"]
    found: Found
    "The new state; for `removed` the last known one with no time remaining, its value only if it was not in chunks."


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """One node's no."""

    node: str
    "Address of the node, as `host:port`."
    code: RefusalCode


class Receipt(msgspec.Struct, frozen=True, kw_only=True):
    """How a put or a remove went."""

    stored: int
    "Nodes that confirmed the record, this one included when it is among the closest."
    refused: tuple[Refusal, ...] = ()
    unanswered: int = 0
    "Nodes that were asked and did not answer in time."
    expires_in_s: float
    "Seconds until the record ends unless it is put again."


class Hop(msgspec.Struct, frozen=True, kw_only=True):
    """One node asked on the way to a key."""

    node: str
    "Identifier, 40 hex digits."
    address: str
    hops: int
    "Replies between this node and that one; 1 for one that it knew."
    state: str
    "`answered`, `asked`, `late` or `failed`."
    rtt_ms: float | None
    "Smoothed round trip, None when never measured."


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """How a key was reached, who answered, who held what."""

    key: str
    elapsed_ms: float
    requests: int
    hops: tuple[Hop, ...]
    holders: tuple[str, ...]
    records: int
    tombstones: int


class MappedPort(msgspec.Struct, frozen=True, kw_only=True):
    """What came of asking the router for a port."""

    gateway: str
    "Address of the router; empty where there is none."
    protocol: str = ""
    "`PCP`, `NAT-PMP` or `UPnP`: by which it was had; empty where there is none."
    outside: str = ""
    "Where the router forwards from, `ADDRESS:PORT`. Whether others get through there, `role` and `why` tell."
    expires_in_s: float = 0.0
    "Seconds until it ends unless it is renewed, which is done in time."
    why: str = ""
    "Why there is none, and what to do about it."


class RingNode(msgspec.Struct, frozen=True, kw_only=True):
    """One other node of the overlay."""

    node: str
    "Identifier, 40 hex digits: its place on the ring."
    address: str
    "Of a host of it, `host:port`; empty where none is known."
    rtt_ms: float | None = None
    "Smoothed round trip to that host, None when never measured."


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """The state of a node at one moment."""

    node: str
    "Identifier of the node that the subnet is, 40 hex digits; empty while the host is in none."
    subnet: str
    "Tag of its founding, 16 hex digits."
    host: str
    "Name of this host among the members, 16 hex digits."
    writer: str
    "Public key that signs what is put here, 64 hex digits."
    network: str
    interfaces: tuple[str, ...]
    "Of the link, those in use; none for a host that is on no link."
    phase: str
    "`new`, `joining` or `joined`: whether this host answers for its node. A lone node is joined with 0 contacts."
    addresses: tuple[str, ...]
    uptime_s: float
    members: tuple[str, ...]
    "Addresses of the other hosts of the subnet."
    link_mode: str
    """`multicast`, `partly emulated`, `emulated` (unicast copies take its place with some members, with all), or
    `no link`."""
    emulated: int
    "Members to or from which multicast does not pass."
    without_copies: int
    "Of them those that get no copies though they need some, as there are too many."
    merges: int
    "Times since its start that two subnets of its link have become one, as this host has seen."
    role: Literal["node", "client"]
    "`client` where no host of the subnet is reached from outside: it asks the nodes of the overlay, and is none."
    why: str
    "Why others do not reach the subnet, or this host, and what to do about it; empty where they do."
    mapped_port: MappedPort | None = None
    "What came of asking the router for a port; None where it is not to be asked."
    contacts: int
    "Other nodes known."
    neighbours: tuple[str, ...]
    "Those next to this one, by the address of a host each."
    ring: tuple[RingNode, ...] = ()
    "The same by their identifiers."
    structural_changes: int
    "Of nodes in this host's tables, found by itself: hosts that come and go cause none while their node lives."
    policy: str
    "How many copies its hosts make: what the subnet was founded with; empty while the host is in none."
    policy_adopted: bool
    "Whether this host was told another policy, which it would have founded the subnet with."
    records: int
    "That this host holds."
    record_bytes: int
    lookups: dict[str, int]
    """Lookups among the siblings that took at most so many seconds, by that number; `inf` is all of them. What this
    host holds itself is not looked up."""
    lookups_s: float
    "That all of them took together."
    cached: int
    "Keys of other nodes that it has cached."
    cached_bytes: int
    counters: dict[str, int]
    others: tuple["Status", ...] = ()
    "The same of this host's other links, where it is a host of their subnets too."
