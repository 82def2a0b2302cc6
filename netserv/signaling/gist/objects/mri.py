"""Message-Routing-Information: which flow, and which way along it (RFC 5971 section 5.8, appendix A.3.1)."""

from enum import IntEnum
from typing import TypeAlias

import msgspec

from netserv.signaling.gist.addresses import PackedAddress


class Direction(IntEnum):
    """The D flag."""

    DOWNSTREAM = 0
    "With the flow, from its source to its destination."
    UPSTREAM = 1


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


class LooseEndMri(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """MRM 1: towards the edge of the network (appendix A.3.1.2)."""

    source: PackedAddress
    destination: PackedAddress
    direction: Direction = Direction.DOWNSTREAM


class OffPathMri(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """MRM 120, of the experimental range: nodes around a flow's source, destination or path (thesis 7.5.2)."""

    area: "Area"
    source: PackedAddress
    destination: PackedAddress
    radius: int
    "IP hops from there, 1 to 15."
    direction: Direction = Direction.DOWNSTREAM


class Area(IntEnum):
    """Where the nodes are that an off-path message is for (thesis appendix B)."""

    BUBBLE = 0
    "Around the source."
    BALLOON = 1
    "Around the destination."
    HOSE = 2
    "Around the path."


Mri: TypeAlias = PathCoupledMri | LooseEndMri | OffPathMri
