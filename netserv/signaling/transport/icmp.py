"""ICMP errors about datagrams of ours, from the error queue of the socket that sent them (ip(7), IP_RECVERR).

A destination whose kernel says `port unreachable` has no node: the one that asked is the last one on the path (thesis
6.1.1). No raw ICMP socket is needed: the kernel has checked that the quoted addresses and ports are the socket's.
"""

import socket
import struct
from typing import Final

import msgspec

from netserv.signaling.gist.addresses import Endpoint, PackedAddress
from netserv.signaling.transport import ancillary

ORIGIN_LOCAL: Final = 1
ORIGIN_ICMP: Final = 2
ORIGIN_ICMP6: Final = 3
QUOTED_MAX: Final = 2_048
"Bytes of our datagram that are read; an ICMP error has at most 576 in IPv4 (RFC 1812 section 4.3.2.3), 1,280 in IPv6."
ERRORS_MAX: Final = 256
"Errors read in one turn: the queue holds some hundred, and a flood must not stall what is received."
_PORT_UNREACHABLE: Final = {ORIGIN_ICMP: (3, 3), ORIGIN_ICMP6: (1, 4)}
"Type and code (RFC 792; RFC 4443 section 3.1)."
_EXTENDED: Final = struct.Struct("=IBBBBII")
"sock_extended_err of ip(7)."
_FAMILY: Final = struct.Struct("=H")


class IcmpError(msgspec.Struct, frozen=True, kw_only=True):
    """What came back for a datagram of ours."""

    origin: int
    "ICMP, ICMPv6, or this machine itself."
    kind: int
    code: int
    number: int
    "What the kernel makes of it, of `errno`."
    destination: Endpoint
    "Where the datagram was going."
    offender: PackedAddress | None
    "Who says so; None where it is this machine."
    quoted: bytes
    "The beginning of our UDP payload, as far as it was quoted."

    @property
    def port_unreachable(self) -> bool:
        """The destination itself says that nobody listens there."""
        known = _PORT_UNREACHABLE.get(self.origin) == (self.kind, self.code)
        return known and self.offender == self.destination[0]


def read_extended(data: bytes) -> tuple[int, int, int, int, PackedAddress | None] | None:
    """Origin, type, code, error number and offender of a `sock_extended_err`; None where it is too short."""
    if len(data) < _EXTENDED.size:
        return None
    number, origin, kind, code, *_ = _EXTENDED.unpack_from(data)
    rest = data[_EXTENDED.size :]
    offender = None
    if len(rest) >= 8:
        (family,) = _FAMILY.unpack_from(rest)
        if family == socket.AF_INET:
            offender = rest[4:8]
        elif family == socket.AF_INET6 and len(rest) >= 24:
            offender = rest[8:24]
    return origin, kind, code, number, offender


def drain(sock: socket.socket) -> list[IcmpError]:
    """Empty the error queue of a non-blocking socket."""
    found: list[IcmpError] = []
    for _ in range(ERRORS_MAX):
        try:
            quoted, beside, _, to = sock.recvmsg(QUOTED_MAX, ancillary.ANCILLARY_BYTES, socket.MSG_ERRQUEUE)
        except OSError:  # empty: EAGAIN
            break
        for level, kind, data in beside:
            is_error = (level, kind) in {
                (socket.IPPROTO_IP, ancillary.IP_RECVERR),
                (socket.IPPROTO_IPV6, ancillary.IPV6_RECVERR),
            }
            if is_error and to and (read := read_extended(data)):
                origin, icmp_kind, code, number, offender = read
                found.append(
                    IcmpError(
                        origin=origin,
                        kind=icmp_kind,
                        code=code,
                        number=number,
                        destination=(ancillary.packed_source(sock.family, to[0]), to[1]),
                        offender=offender,
                        quoted=quoted,
                    )
                )
    return found
