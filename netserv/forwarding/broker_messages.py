"""What a node and its packet broker say to each other: a msgpack value in each packet of a SOCK_SEQPACKET pair."""

from ipaddress import ip_network
from typing import Final, TypeAlias

import msgspec

from netserv.errors import RemoteProtocolError
from netserv.forwarding.filters import PacketFilter
from netserv.forwarding.matching import Rule
from netserv.modules.manifest import Prematch

FRAME_MAX: Final = 1 << 17
"Bytes: counters of 1,000 filters at a time; a filter with all that is allowed takes some kilobytes."
COUNTED_MAX: Final = 500
"Filters whose counters come in one frame."
DESCRIPTORS_MAX: Final = 3


class Start(msgspec.Struct, frozen=True, tag=True, tag_field="t", kw_only=True):
    """The first word: settings."""

    plane: str
    deadline_s: float
    coalesce_s: float
    queue_base: int
    queue_max: int
    interfaces: tuple[str, ...]
    flows_max: int
    compiled: bool


class Install(msgspec.Struct, frozen=True, tag=True, tag_field="t", kw_only=True):
    """Hand packets of a filter over; beside it, if `fresh`, the descriptors of a ring that is new to the broker."""

    number: int
    proto: str
    ports: tuple[int, ...]
    destination: str
    source: str = ""
    reverse: bool = False
    prematch: tuple[Prematch, ...] = ()
    closed: bool = False
    allowed: tuple[str, ...] = ()
    ring: int = 0
    "Number of a ring; 0: none."
    fresh: bool = False

    @classmethod
    def of(cls, rule: Rule, ring: int, *, fresh: bool) -> "Install":
        """Of a rule."""
        wanted = rule.wanted
        return cls(
            number=rule.number,
            proto=wanted.proto,
            ports=wanted.ports,
            destination=str(wanted.destination),
            source="" if wanted.source is None else str(wanted.source),
            reverse=wanted.reverse,
            prematch=wanted.prematch,
            closed=rule.closed,
            allowed=tuple(map(str, rule.allowed)),
            ring=ring,
            fresh=fresh,
        )

    def rule(self) -> Rule:
        """The rule."""
        wanted = PacketFilter(
            proto=self.proto,
            ports=self.ports,
            destination=ip_network(self.destination),
            source=ip_network(self.source) if self.source else None,
            reverse=self.reverse,
            prematch=self.prematch,
        )
        return Rule(number=self.number, wanted=wanted, closed=self.closed, allowed=tuple(map(ip_network, self.allowed)))


class Attach(msgspec.Struct, frozen=True, tag=True, tag_field="t", kw_only=True):
    """Have packets of a filter go to another ring; descriptors as with `Install`."""

    number: int
    ring: int = 0
    fresh: bool = False


class Remove(msgspec.Struct, frozen=True, tag=True, tag_field="t"):
    """Take a filter away."""

    number: int


class Count(msgspec.Struct, frozen=True, tag=True, tag_field="t"):
    """Tell the counters of these filters."""

    numbers: tuple[int, ...]


class Started(msgspec.Struct, frozen=True, tag=True, tag_field="t"):
    """The broker works."""

    warnings: tuple[str, ...] = ()
    compiled: bool = False


class Done(msgspec.Struct, frozen=True, tag=True, tag_field="t"):
    """What was asked for is done."""


class Refused(msgspec.Struct, frozen=True, tag=True, tag_field="t"):
    """It cannot be done."""

    reason: str


class Counted(msgspec.Struct, frozen=True, tag=True, tag_field="t"):
    """The counters that were asked for, of filters that are there, and those of their rings."""

    filters: dict[int, dict[str, int]]
    rings: dict[int, dict[str, int]] = {}


ToBroker: TypeAlias = Start | Install | Attach | Remove | Count
FromBroker: TypeAlias = Started | Done | Refused | Counted
_TO: Final[msgspec.msgpack.Decoder[ToBroker]] = msgspec.msgpack.Decoder(ToBroker)
_FROM: Final[msgspec.msgpack.Decoder[FromBroker]] = msgspec.msgpack.Decoder(FromBroker)


def encode(message: ToBroker | FromBroker) -> bytes:
    """The frame of a message."""
    return msgspec.msgpack.encode(message)


def decode_to(frame: bytes) -> ToBroker:
    """What the node said.

    Raises:
        RemoteProtocolError: that is no such message.
    """
    try:
        return _TO.decode(frame)
    except msgspec.MsgspecError as error:
        raise RemoteProtocolError(f"the node's words cannot be read: {error}") from error


def decode_from(frame: bytes) -> FromBroker:
    """What the broker said.

    Raises:
        RemoteProtocolError: that is no such message.
    """
    try:
        return _FROM.decode(frame)
    except msgspec.MsgspecError as error:
        raise RemoteProtocolError(f"the broker's words cannot be read: {error}") from error
