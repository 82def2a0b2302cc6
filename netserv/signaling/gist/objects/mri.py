"""Message-Routing-Information: which flow, and which way along it (RFC 5971 section 5.8, appendix A.3.1)."""

from copy import copy
from enum import IntEnum
from functools import lru_cache
from struct import Struct
from typing import Final, Self, TypeAlias, TypeVar

import msgspec

from netserv.signaling.gist.addresses import PackedAddress
from netserv.signaling.gist.errors import FormatError, ValueFault
from netserv.signaling.gist.reader import Reader
from netserv.signaling.gist.tlv import ObjectType

REMEMBERED_MAX: Final = 4_096
"MRIs kept: the same one comes three times in a handshake, and again in its refreshes. About 1 MB."

_HEAD: Final = Struct("!BBH")
_FILTER: Final = Struct("!BBBB")
_WORD: Final = Struct("!I")
_PORTS: Final = Struct("!HH")
_AREA: Final = Struct("!BBH")
_N: Final = 0x80
_VERSION_SHIFT: Final = 12
_VERSION_OF: Final = {4: 4 << _VERSION_SHIFT, 16: 6 << _VERSION_SHIFT}
"By the bytes of an address."
_SIZE_OF: Final = {4: 4, 6: 16}
"Bytes of an address, by its IP version."
_P, _T, _F, _S, _A, _B, _D = 0x0800, 0x0400, 0x0200, 0x0100, 0x0080, 0x0040, 0x0020
_LOOSE_D: Final = 0x0800


class Direction(IntEnum):
    """The D flag."""

    DOWNSTREAM = 0
    "With the flow, from its source to its destination."
    UPSTREAM = 1


class Area(IntEnum):
    """Where the nodes are that an off-path message is for (thesis appendix B)."""

    BUBBLE = 0
    "Around the source."
    BALLOON = 1
    "Around the destination."
    HOSE = 2
    "Around the path."


RADIUS_MAX: Final = 15
"IP hops of the widest area: over that an off-path message would be for half of a network."


class PathCoupledMri(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """MRM 0: the path of a flow (appendix A.3.1.1)."""

    source: PackedAddress
    destination: PackedAddress
    source_prefix: int
    destination_prefix: int
    direction: Direction = Direction.DOWNSTREAM
    protocol: int | None = None
    "None: not significant (P clear)."
    dscp: int | None = None
    "None: not significant (T clear)."
    flow_label: int | None = None
    "IPv6 only (F)."
    spi: int | None = None
    "(S)"
    source_port: int | None = None
    "None: all ports (A clear); 0: one port that is not known yet."
    destination_port: int | None = None
    "(B)"

    def __post_init__(self) -> None:
        bits = _check_addresses(self.source, self.destination) * 8
        for at, prefix in enumerate((self.source_prefix, self.destination_prefix), 4 + bits // 4):
            if not 0 <= prefix <= bits:
                raise _refused(f"a prefix has 0 to {bits} bits: {prefix}", at=at)
        if self.flow_label is not None and bits == 32:
            raise _refused("IPv4 has no flow label")
        if self.protocol is None and (
            self.spi is not None or self.source_port is not None or self.destination_port is not None
        ):
            raise _refused("SPI and ports need a protocol")
        if self.protocol is None and self.dscp is None and self.flow_label is None:
            return
        for value, limit, name in (
            (self.protocol, 0xFF, "protocol"),
            (self.dscp, 0x3F, "DSCP"),
            (self.flow_label, 0xF_FFFF, "flow label"),
            (self.spi, 0xFFFF_FFFF, "SPI"),
            (self.source_port, 0xFFFF, "source port"),
            (self.destination_port, 0xFFFF, "destination port"),
        ):
            if value is not None and not 0 <= value <= limit:
                raise _refused(f"{name} {value} is over {limit}")

    @classmethod
    def decode(cls, reader: Reader) -> Self:
        """Read the whole value.

        Raises:
            FormatError: it breaks a rule.
        """
        _, flags = _head(reader)
        size = _address_size(reader, flags)
        source, destination = reader.take_bytes(size), reader.take_bytes(size)
        source_prefix, destination_prefix, protocol, ds_field = reader.take(_FILTER)
        label = reader.take(_WORD)[0] & 0xF_FFFF if flags & _F else None
        spi = reader.take(_WORD)[0] if flags & _S else None
        ports = reader.take(_PORTS) if flags & (_A | _B) else (0, 0)
        reader.close()
        return cls(
            source=source,
            destination=destination,
            source_prefix=source_prefix,
            destination_prefix=destination_prefix,
            direction=Direction.UPSTREAM if flags & _D else Direction.DOWNSTREAM,
            protocol=protocol if flags & _P else None,
            dscp=ds_field >> 2 if flags & _T else None,
            flow_label=label,
            spi=spi,
            source_port=ports[0] if flags & _A else None,
            destination_port=ports[1] if flags & _B else None,
        )

    def encode(self) -> bytes:
        """The value of the object, without its header: what routing state is kept by."""
        flags = _VERSION_OF[len(self.source)] | (self.direction and _D)
        flags |= (self.protocol is not None and _P) | (self.dscp is not None and _T)
        flags |= (self.source_port is not None and _A) | (self.destination_port is not None and _B)
        flags |= (self.flow_label is not None and _F) | (self.spi is not None and _S)
        filters = _FILTER.pack(self.source_prefix, self.destination_prefix, self.protocol or 0, (self.dscp or 0) << 2)
        head = _HEAD.pack(ROUTING_METHODS[PathCoupledMri], 0, flags)
        value = head + self.source + self.destination + filters
        if self.flow_label is not None:
            value += _WORD.pack(self.flow_label)
        if self.spi is not None:
            value += _WORD.pack(self.spi)
        return value + _PORTS.pack(self.source_port or 0, self.destination_port or 0) if flags & (_A | _B) else value

    def inverted(self) -> "PathCoupledMri":
        """The same flow, the other way."""
        return _inverted(self)


class LooseEndMri(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """MRM 1: towards the edge of the network (appendix A.3.1.2)."""

    source: PackedAddress
    destination: PackedAddress
    direction: Direction = Direction.DOWNSTREAM

    def __post_init__(self) -> None:
        _check_addresses(self.source, self.destination)

    @classmethod
    def decode(cls, reader: Reader) -> Self:
        """Read the whole value.

        Raises:
            FormatError: it breaks a rule.
        """
        _, flags = _head(reader)
        size = _address_size(reader, flags)
        source, destination = reader.take_bytes(size), reader.take_bytes(size)
        reader.close()
        return cls(source=source, destination=destination, direction=_loose_direction(flags))

    def encode(self) -> bytes:
        """The value of the object, without its header: what routing state is kept by."""
        flags = _VERSION_OF[len(self.source)] | (self.direction and _LOOSE_D)
        return _HEAD.pack(ROUTING_METHODS[LooseEndMri], 0, flags) + self.source + self.destination

    def inverted(self) -> "LooseEndMri":
        """The same flow, the other way."""
        return _inverted(self)


class OffPathMri(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """MRM 120, of the experimental range: nodes around a flow's source, destination or path (thesis 7.5.2).

    No format is published. Ours begins as that of the loose-end method does:

        0      MRM-ID = 120
        1      N = 0 (a NAT must translate the addresses), reserved (7)
        2..3   IP version (4), D 0x0800, reserved (11)
        4      area: 0 bubble, 1 balloon, 2 hose
        5      radius, 1 to 15 IP hops
        6..7   reserved
        8..    source address, destination address, 4 or 16 bytes each
    """

    area: Area
    source: PackedAddress
    destination: PackedAddress
    radius: int
    "IP hops from there, 1 to 15."
    direction: Direction = Direction.DOWNSTREAM

    def __post_init__(self) -> None:
        _check_addresses(self.source, self.destination)
        if not 1 <= self.radius <= RADIUS_MAX:
            raise _refused(f"a radius has 1 to {RADIUS_MAX} hops", ValueFault.NOT_SUPPORTED, at=5)

    @classmethod
    def decode(cls, reader: Reader) -> Self:
        """Read the whole value.

        Raises:
            FormatError: it breaks a rule.
        """
        _, flags = _head(reader)
        size = _address_size(reader, flags)
        area, radius, _ = reader.take(_AREA)
        if area > max(Area):
            raise reader.refused(f"area {area} is unknown", ValueFault.NOT_SUPPORTED, at=4)
        source, destination = reader.take_bytes(size), reader.take_bytes(size)
        reader.close()
        return cls(
            area=Area(area), radius=radius, source=source, destination=destination, direction=_loose_direction(flags)
        )

    def encode(self) -> bytes:
        """The value of the object, without its header: what routing state is kept by."""
        flags = _VERSION_OF[len(self.source)] | (self.direction and _LOOSE_D)
        head = _HEAD.pack(ROUTING_METHODS[OffPathMri], 0, flags)
        return head + _AREA.pack(self.area, self.radius, 0) + self.source + self.destination

    def inverted(self) -> "OffPathMri":
        """The same area, asked the other way."""
        return _inverted(self)


Mri: TypeAlias = PathCoupledMri | LooseEndMri | OffPathMri

ROUTING_METHODS: Final[dict[type[Mri], int]] = {PathCoupledMri: 0, LooseEndMri: 1, OffPathMri: 120}
"MRM-ID of each."
_M = TypeVar("_M", PathCoupledMri, LooseEndMri, OffPathMri)
_BY_NUMBER: Final[dict[int, type[Mri]]] = {number: method for method, number in ROUTING_METHODS.items()}


@lru_cache(maxsize=REMEMBERED_MAX)
def decode_mri(value: bytes) -> Mri:
    """The MRI that these bytes are, which have no object header.

    Raises:
        FormatError: they break a rule.
    """
    method = _BY_NUMBER.get(value[0]) if value else None
    reader = Reader(value, ObjectType.MRI)
    if method is None and value:
        raise reader.refused(f"routing method {value[0]} is unknown", ValueFault.NOT_SUPPORTED)
    return (method or PathCoupledMri).decode(reader)


def _inverted(mri: _M) -> _M:
    turned = copy(mri)  # and not `replace`, which would check again what is right
    msgspec.structs.force_setattr(turned, "direction", Direction.DOWNSTREAM if mri.direction else Direction.UPSTREAM)
    return turned


def _head(reader: Reader) -> tuple[int, int]:
    method, second, flags = reader.take(_HEAD)
    if second & _N:
        raise reader.refused("N is set, though the addresses concern NATs", ValueFault.INVALID_COMBINATION, at=1)
    return method, flags


def _address_size(reader: Reader, flags: int) -> int:
    size = _SIZE_OF.get(flags >> _VERSION_SHIFT)
    if size is None:
        raise reader.refused(f"IP version {flags >> _VERSION_SHIFT}", ValueFault.NOT_SUPPORTED, at=2)
    return size


def _loose_direction(flags: int) -> Direction:
    return Direction.UPSTREAM if flags & _LOOSE_D else Direction.DOWNSTREAM


def _check_addresses(source: PackedAddress, destination: PackedAddress) -> int:
    if len(source) != len(destination) or len(source) not in _VERSION_OF:
        raise _refused("source and destination are both IPv4, or both IPv6")
    return len(source)


def _refused(text: str, fault: ValueFault = ValueFault.INVALID_COMBINATION, at: int = 2) -> FormatError:
    return FormatError(text, fault, at=at, objects=(ObjectType.MRI,))
