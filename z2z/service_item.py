"""`ServiceItem`: one DNS-SD service instance as plain data (RFC 6763), the noun that the bridge carries.

No library type appears here. The constructor checks every value, so the wire, the stream text and a caller meet the
same checks. What breaks a rule raises `RemoteProtocolError` with one line that names the field.
"""

import re
from ipaddress import IPv4Address, IPv6Address
from typing import Final

import msgspec

from z2z.errors import RemoteProtocolError

LABEL_MAX: Final = 63
"Bytes in one DNS label (RFC 1035 section 2.3.4)."
TXT_MAX: Final = 8_800
"""Bytes of TXT data: what fits, beside the longest instance name, in a multicast answer of 9,000 bytes with its headers
(RFC 6763 section 6.1; the exact bound is 8,837)."""
ADDRESSES_MAX: Final = 16
"Addresses of one item, of both families: a host with more is a router, and every importer would announce them all."
SUBTYPES_MAX: Final = 32
"Subtypes of one item; each is one more PTR record in every announcement."

_TYPE = re.compile(
    r"_(?=[a-z0-9-]{1,15}\._)(?=[0-9-]*[a-z])(?!-)(?!.*--)[a-z0-9-]*[a-z0-9]\._(?:tcp|udp)", re.IGNORECASE
)


def check_service_type(text: str) -> str:
    """Return a service type in its canonical form (`_daap._tcp`), or refuse it (RFC 6335 section 5.1).

    Args:
        text: `_name._tcp` or `_name._udp`; a trailing dot and `.local` are accepted and dropped.

    Raises:
        RemoteProtocolError: the text is no service type.
    """
    bare = text.rstrip(".").removesuffix(".local")
    if not _TYPE.fullmatch(bare):
        raise RemoteProtocolError(
            f"{text!r} is not a DNS-SD service type: expected _NAME._tcp or _NAME._udp, NAME of 1 to 15 letters, "
            "digits and single hyphens with at least one letter, as in _daap._tcp"
        )
    return bare.lower()


class ServiceItem(msgspec.Struct, frozen=True, kw_only=True):
    """One service instance: everything an importer needs to register it as if it were local."""

    instance: bytes
    "Instance label: 1 to 63 bytes of UTF-8, any character but control characters; dots are part of the name."
    service_type: str
    "`_daap._tcp`, lower case."
    subtypes: tuple[str, ...] = ()
    "Subtype labels without `_sub` and type (`_printer`), sorted."
    host: bytes
    "First label of the origin host's name, as heard; kept for the reader, never registered elsewhere."
    port: int
    "1 to 65535."
    priority: int = 0
    weight: int = 0
    txt: bytes = b"\0"
    "TXT RDATA exactly as heard: length-prefixed strings (RFC 6763 section 6)."
    addresses: tuple[IPv4Address | IPv6Address, ...] = ()
    "IPv4 first, then IPv6, each family sorted; empty only in answers that wait for an address."

    def __post_init__(self) -> None:
        check_instance(self.instance)
        if check_service_type(self.service_type) != self.service_type:
            raise RemoteProtocolError(f"service type {self.service_type!r} is not in canonical form")
        if not 1 <= len(self.host) <= LABEL_MAX:
            raise RemoteProtocolError(f"host label of {len(self.host)} bytes; a DNS label has 1 to {LABEL_MAX}")
        if not 1 <= self.port <= 65_535:
            raise RemoteProtocolError(f"port {self.port} is not within 1..65535")
        for name, value in (("priority", self.priority), ("weight", self.weight)):
            if not 0 <= value <= 65_535:
                raise RemoteProtocolError(f"SRV {name} {value} is not within 0..65535")
        _check_txt(self.txt)
        if len(self.addresses) > ADDRESSES_MAX:
            raise RemoteProtocolError(f"{len(self.addresses)} addresses; at most {ADDRESSES_MAX} are carried")
        if len(self.subtypes) > SUBTYPES_MAX:
            raise RemoteProtocolError(f"{len(self.subtypes)} subtypes; at most {SUBTYPES_MAX} are carried")
        for subtype in self.subtypes:
            if not 1 <= len(subtype.encode()) <= LABEL_MAX:
                raise RemoteProtocolError(f"subtype {subtype!r} is not a label of 1 to {LABEL_MAX} bytes")

    @property
    def display_name(self) -> str:
        """The instance name for a terminal."""
        return self.instance.decode()


def check_instance(instance: bytes) -> bytes:
    """Return an instance label as it is, or refuse it (RFC 6763 section 4.1.1)."""
    if not 1 <= len(instance) <= LABEL_MAX:
        raise RemoteProtocolError(f"instance name of {len(instance)} bytes; a DNS label has 1 to {LABEL_MAX}")
    try:
        text = instance.decode()
    except UnicodeDecodeError as error:
        raise RemoteProtocolError(f"instance name {instance!r} is not UTF-8") from error
    if any(ord(char) < 0x20 or ord(char) == 0x7F for char in text):
        raise RemoteProtocolError(f"instance name {text!r} has control characters")
    return instance


def _check_txt(txt: bytes) -> None:
    if not 1 <= len(txt) <= TXT_MAX:
        raise RemoteProtocolError(f"TXT data of {len(txt)} bytes; 1 to {TXT_MAX} can be announced (RFC 6763 6.1)")
    at = 0
    while at < len(txt):
        at += 1 + txt[at]
    if at != len(txt):
        raise RemoteProtocolError("TXT data ends inside a string")
