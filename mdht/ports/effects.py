"""What the mapper wants done, what UPnP answers, and what has come of it all."""

import ipaddress
from enum import Enum
from typing import TypeAlias

import msgspec

from dhtboot.ids import Address


class Protocol(Enum):
    """By which the router is asked, in this order (RFC 6887 appendix A)."""

    PCP = "PCP"
    NAT_PMP = "NAT-PMP"
    UPNP = "UPnP"


class ToGateway(msgspec.Struct, frozen=True):
    """A datagram for port 5351 of the gateway."""

    data: bytes


class UpnpMap(msgspec.Struct, frozen=True, kw_only=True):
    """Find a gateway device by UPnP, and have it forward one of these ports."""

    internal_port: int
    external_ports: tuple[int, ...]
    "In order of preference."
    lifetime_s: int


class UpnpCheck(msgspec.Struct, frozen=True, kw_only=True):
    """See whether it still forwards the port to us."""

    internal_port: int
    external_port: int
    external: ipaddress.IPv4Address
    "At which it did so."


class UpnpDelete(msgspec.Struct, frozen=True, kw_only=True):
    """Have it forward the port no more."""

    external_port: int


UpnpCall: TypeAlias = UpnpMap | UpnpCheck | UpnpDelete
Effect: TypeAlias = ToGateway | UpnpCall


class UpnpGranted(msgspec.Struct, frozen=True, kw_only=True):
    """It forwards a port."""

    external: ipaddress.IPv4Address
    port: int
    lifetime_s: int


class UpnpRefused(msgspec.Struct, frozen=True):
    """It says no, and perhaps why."""

    reason: str


class UpnpSilent(msgspec.Struct, frozen=True):
    """No such device answers, or we cannot ask."""

    reason: str = ""
    "Why we cannot."


class UpnpKept(msgspec.Struct, frozen=True):
    """It still does."""


class UpnpLost(msgspec.Struct, frozen=True):
    """It does not forward the port any more, or comes out elsewhere."""


class UpnpDeleted(msgspec.Struct, frozen=True):
    """It has been told to forward the port no more."""


UpnpAnswer: TypeAlias = UpnpGranted | UpnpRefused | UpnpSilent | UpnpKept | UpnpLost | UpnpDeleted


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """A port that the router forwards."""

    protocol: Protocol
    outside: Address
    until: float
    "By the caller's clock, unless it is renewed."


class Cause(Enum):
    """Why there is none."""

    STARTING = "starting"
    "It is asked for just now."
    NO_GATEWAY = "no gateway"
    SILENT = "silent"
    REFUSED = "refused"
    TRANSLATED = "translated"
    "The router is behind another one: its outside address is private, or its carrier's (RFC 6598)."
    ENDED = "ended"


class Lack(msgspec.Struct, frozen=True, kw_only=True):
    """No port is forwarded."""

    cause: Cause
    protocol: Protocol | None = None
    "By which it was refused."
    detail: str = ""
    "The refusal as the protocol's standard names it; or why UPnP was not tried."
    outside: Address | None = None
    "Of a router that is behind another one."
