"""Values that the mDNS engine passes around: names, records, messages, effects and events (RFC 6762, RFC 6763).

Everything here is small and frozen. A name is a tuple of labels as bytes, because a label may hold a dot, a space or
any UTF-8 (RFC 6763 section 4.1.1); names compare without regard to ASCII case (RFC 6762 section 16) by `fold`.
"""

from collections.abc import Hashable
from enum import Enum
from ipaddress import IPv4Address, IPv6Address
from typing import ClassVar, Final, TypeAlias

import msgspec

from z2z.service_item import ServiceItem

Name: TypeAlias = tuple[bytes, ...]
"Labels from the first to the top one, without the empty root label."

RR_A: Final = 1
RR_PTR: Final = 12
RR_TXT: Final = 16
RR_AAAA: Final = 28
RR_SRV: Final = 33
RR_NSEC: Final = 47
RR_ANY: Final = 255

LOCAL: Final[Name] = (b"local",)
ENUMERATION: Final[Name] = (b"_services", b"_dns-sd", b"_udp", b"local")
"The name that lists the service types of a link (RFC 6763 section 9)."
IMPORT_HOST_PREFIX: Final = b"z2z-"
"First bytes of the host label of every import of this program: how importers know one another on a link."
MDNS_PORT: Final = 5353


class Ptr(msgspec.Struct, frozen=True):
    """PTR: points from a type or subtype to an instance."""

    rrtype: ClassVar[int] = RR_PTR
    target: Name


class Srv(msgspec.Struct, frozen=True):
    """SRV: where an instance listens."""

    rrtype: ClassVar[int] = RR_SRV
    priority: int
    weight: int
    port: int
    target: Name


class Txt(msgspec.Struct, frozen=True):
    """TXT: the instance's attributes."""

    rrtype: ClassVar[int] = RR_TXT
    data: bytes
    "RDATA exactly as heard: length-prefixed strings, unchecked here."


class Address4(msgspec.Struct, frozen=True):
    """A: an IPv4 address of a host."""

    rrtype: ClassVar[int] = RR_A
    address: IPv4Address


class Address6(msgspec.Struct, frozen=True):
    """AAAA: an IPv6 address of a host."""

    rrtype: ClassVar[int] = RR_AAAA
    address: IPv6Address


class Nsec(msgspec.Struct, frozen=True):
    """NSEC: the only record types that exist for a name (RFC 6762 section 6.1)."""

    rrtype: ClassVar[int] = RR_NSEC
    next_name: Name
    rrtypes: tuple[int, ...]
    "Sorted, each 0 to 255: the restricted form that multicast DNS uses."


class Opaque(msgspec.Struct, frozen=True):
    """A record of a type or class that the engine does not read; kept so that messages survive a round trip."""

    rrtype: int
    rrclass: int
    "15 bits; the cache-flush bit is in `Record.unique`."
    data: bytes


Data: TypeAlias = Ptr | Srv | Txt | Address4 | Address6 | Nsec | Opaque


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """One resource record."""

    name: Name
    data: Data
    ttl_s: int
    "0 is a goodbye (RFC 6762 section 10.1)."
    unique: bool = False
    "The cache-flush bit: this is the whole set of its name and type (RFC 6762 section 10.2)."


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """One question, always of class IN."""

    name: Name
    rrtype: int
    unicast: bool = False
    "The QU bit: the asker would take a unicast answer (RFC 6762 section 5.4)."


class MdnsMessage(msgspec.Struct, frozen=True, kw_only=True):
    """One DNS message."""

    id: int = 0
    "Zero but in legacy unicast exchanges (RFC 6762 section 18.1)."
    is_response: bool = False
    truncated: bool = False
    "In a query: more known answers follow in further messages (RFC 6762 section 7.2)."
    questions: tuple[Question, ...] = ()
    answers: tuple[Record, ...] = ()
    authorities: tuple[Record, ...] = ()
    additionals: tuple[Record, ...] = ()


class Registration(msgspec.Struct, frozen=True, kw_only=True):
    """One service to publish on the link as if it were local."""

    id: Hashable
    "The caller's own name for it; comes back in every event."
    item: ServiceItem
    host_label: bytes
    "First label of the host name to publish, as `z2z-198-51-100-7-office`; 1 to 63 bytes."
    ttl_s: int
    "Lifetime of every record in caches, 1 to 4,500 seconds; z2z takes 30 to 120, so that a crash is forgotten soon."


class ConflictReason(Enum):
    """Why a name cannot be had; the value is the text for the terminal."""

    LOCAL_DEVICE = "name taken by a local device"
    SAME_ITEM = "same item already served by another importer"
    OTHER_IMPORT = "name taken by another import"
    HOST_TAKEN = "host name taken by another host"


class SendMulticast(msgspec.Struct, frozen=True):
    """Effect: send a message to the link's group, by every address family of the link."""

    message: MdnsMessage


class SendUnicast(msgspec.Struct, frozen=True, kw_only=True):
    """Effect: send a message to one address."""

    message: MdnsMessage
    to: str
    "IP address as text; a link-local IPv6 one with its zone."
    port: int


class Registered(msgspec.Struct, frozen=True, kw_only=True):
    """Event: probing found the names free; the service is visible from now on."""

    id: Hashable
    instance: bytes
    "Instance label in use."


class Conflict(msgspec.Struct, frozen=True, kw_only=True):
    """Event: a name was taken before the service became visible; the registration is gone and may be made anew."""

    id: Hashable
    reason: ConflictReason
    seen: tuple[Record, ...]
    "The records that claim the name, as heard (SRV, TXT, addresses)."
    source: str
    "Address that sent them."


class StandingBy(msgspec.Struct, frozen=True, kw_only=True):
    """Event: another importer serves the same item; `Registered` follows when that one ends."""

    id: Hashable
    source: str
    "Its address."


class Lost(msgspec.Struct, frozen=True, kw_only=True):
    """Event: a visible service yielded its name to another claimant and is gone, without goodbyes for that name."""

    id: Hashable
    reason: ConflictReason
    seen: tuple[Record, ...]
    source: str


class LinkStats(msgspec.Struct, frozen=True, kw_only=True):
    """Counters of a link since it was opened."""

    packets_in: int
    packets_out: int
    packets_unsent: int
    "Datagrams that the kernel did not take, or that found the interface down."
    malformed: int
    "Datagrams that are no message of multicast DNS."
    budget_drops: int
    "Answers left out because the multicast budget was used up."
    budget_delays: int
    "Messages that had to wait for it."
    records_cached: int
    records_refused: int
    "Records that found the cache full."


ResponderEvent: TypeAlias = Registered | StandingBy | Conflict | Lost
ResponderEffect: TypeAlias = SendMulticast | SendUnicast | ResponderEvent


class ServiceFound(msgspec.Struct, frozen=True):
    """Event: an instance is complete (SRV, TXT and at least one address) for the first time, or again after a loss."""

    item: ServiceItem


class ServiceChanged(msgspec.Struct, frozen=True):
    """Event: something of a complete instance changed."""

    item: ServiceItem


class ServiceLost(msgspec.Struct, frozen=True, kw_only=True):
    """Event: an instance said goodbye, ran out of time or did not answer."""

    service_type: str
    instance: bytes


class ServiceRefused(msgspec.Struct, frozen=True, kw_only=True):
    """Event: an instance is on the link but breaks a rule of `ServiceItem`; reported once per reason."""

    service_type: str
    instance: bytes
    reason: str


class Confirmed(msgspec.Struct, frozen=True, kw_only=True):
    """Event: the exporter's check found the instance alive."""

    service_type: str
    instance: bytes


class Unconfirmed(msgspec.Struct, frozen=True, kw_only=True):
    """Event: nobody answered for the instance; a `ServiceLost` follows if it had been found."""

    service_type: str
    instance: bytes


class TypeFound(msgspec.Struct, frozen=True):
    """Event: somebody on the link offers this type (RFC 6763 section 9)."""

    service_type: str


class TypeLost(msgspec.Struct, frozen=True):
    """Event: nobody announces this type any more."""

    service_type: str


ServiceEvent: TypeAlias = ServiceFound | ServiceChanged | ServiceLost | ServiceRefused
TypeEvent: TypeAlias = TypeFound | TypeLost
QuerierEvent: TypeAlias = ServiceEvent | TypeEvent | Confirmed | Unconfirmed
QuerierEffect: TypeAlias = SendMulticast | QuerierEvent

Identity: TypeAlias = tuple[Name, int, Data]


def fold(name: Name) -> Name:
    """Return the form by which names are compared: ASCII letters in lower case (RFC 6762 section 16)."""
    return tuple([label.lower() for label in name])


def fold_data(data: Data) -> Data:
    """Return record data with the names inside folded, so that equal data compares equal."""
    match data:
        case Ptr(target=target):
            return Ptr(fold(target))
        case Srv(priority=priority, weight=weight, port=port, target=target):
            return Srv(priority, weight, port, fold(target))
        case Nsec(next_name=next_name, rrtypes=rrtypes):
            return Nsec(fold(next_name), rrtypes)
    return data


def identity(record: Record) -> Identity:
    """Return what makes two records the same one: name, type and data, but neither lifetime nor cache-flush bit."""
    return fold(record.name), record.data.rrtype, fold_data(record.data)


def address_data(address: IPv4Address | IPv6Address) -> Address4 | Address6:
    """Return the A or AAAA data of an address."""
    return Address4(address) if isinstance(address, IPv4Address) else Address6(address)


def type_name(service_type: str) -> Name:
    """Return the name that is asked to browse a type: `_daap._tcp` gives `_daap._tcp.local`."""
    return (*service_type.encode().split(b"."), *LOCAL)


def subtype_name(subtype: str, service_type: str) -> Name:
    """Return the name that is asked to browse one subtype (RFC 6763 section 7.1)."""
    return (subtype.encode(), b"_sub", *type_name(service_type))


def instance_name(instance: bytes, service_type: str) -> Name:
    """Return the full name of an instance; a dot in the instance label stays inside the label."""
    return (instance, *type_name(service_type))


def as_multicast(message: MdnsMessage) -> MdnsMessage:
    """Return a query as if it asked for multicast answers: unicast ones would not be taken (RFC 6762 section 11)."""
    if not any(question.unicast for question in message.questions):
        return message
    questions = tuple(msgspec.structs.replace(question, unicast=False) for question in message.questions)
    return msgspec.structs.replace(message, questions=questions)
