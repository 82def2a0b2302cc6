"""Wire forms of the values that messages are made of. Each decoder reads its window to the end, or fails."""

import functools
import struct
from collections.abc import Callable
from enum import IntEnum, IntFlag
from typing import Any, Final, Generic, TypeVar

import msgspec

from dhtboot.compact import pack_address, unpack_address
from dhtboot.errors import RemoteProtocolError as AddressError
from dhtboot.ids import ID_BYTES, Address
from mdht.subnet.errors import WireError
from mdht.subnet.identity import POLICY_MAX, TAG_BYTES, Identity, Kind
from mdht.subnet.messages import (
    HASH_BYTES,
    HID_BYTES,
    HOSTS_MAX,
    HostRef,
    MemberEntry,
    Neighbour,
    NodeEntry,
    State,
)
from mdht.subnet.reader import Reader
from mdht.subnet.sync_messages import BucketHash, KeyEntry

T = TypeVar("T")

ADDRESSES_MAX: Final = 4
"Addresses of one host: IPv4 and IPv6 on two interfaces."
IDENTITIES_REMEMBERED_MAX: Final = 4096
"As many as the nodes that a host knows; each datagram and each entry has one."
_HOST: Final = struct.Struct("!HBH")
_ENTRY: Final = struct.Struct("!IH")
_MEMBER: Final = struct.Struct("!IBH")


class Form(Generic[T]):
    """How one type of value is written and read."""

    __slots__ = ("decode", "encode")

    def __init__(self, encode: Callable[[T], bytes], decode: Callable[[Reader], T]) -> None:
        self.encode = encode
        self.decode = decode


def unsigned(size: int) -> Form[int]:
    """A number of so many bytes; one that is too large is cut to the largest, as a count of anything may be."""
    largest = (1 << 8 * size) - 1
    return Form(lambda value: min(value, largest).to_bytes(size, "big"), lambda reader: reader.number(size))


def exactly(size: int) -> Form[bytes]:
    """So many bytes."""

    def encode(value: bytes) -> bytes:
        if len(value) != size:
            raise ValueError(f"{size} bytes wanted, not {len(value)}")
        return value

    return Form(encode, lambda reader: reader.take_bytes(size))


def blob(largest: int) -> Form[bytes]:
    """Up to so many bytes."""

    def decode(reader: Reader) -> bytes:
        if len(reader) > largest:
            raise WireError(f"{len(reader)} bytes where {largest} are allowed")
        return reader.rest()

    return Form(lambda value: value, decode)


def packed(kind: Any) -> Form[Any]:
    """A value of some type, or of one of several, in msgpack."""
    decoder = msgspec.msgpack.Decoder(kind)

    def decode(reader: Reader) -> Any:
        try:
            return decoder.decode(reader.rest())
        except (msgspec.DecodeError, RecursionError, ValueError) as error:
            raise WireError(str(error)) from error

    return Form(msgspec.msgpack.encode, decode)


def one_of(kind: type[IntEnum]) -> Form[Any]:
    """A member of an enumeration, in one byte."""
    return Form(lambda value: bytes((value,)), lambda reader: _member(kind, reader.number(1)))


def flags(kind: type[IntFlag]) -> Form[Any]:
    """Flags in one byte; those that this version does not know are ignored."""
    known = sum(kind)
    return Form(lambda value: bytes((value,)), lambda reader: kind(reader.number(1) & known))


def _decode_flag(reader: Reader) -> bool:
    value = reader.number(1)
    if value > 1:
        raise WireError(f"{value} is neither yes nor no")
    return bool(value)


def _member(kind: type[IntEnum], value: int) -> Any:
    try:
        return kind(value)
    except ValueError as error:
        raise WireError(f"{value} is no {kind.__name__}") from error


def _decode_address(reader: Reader) -> Address:
    try:
        return unpack_address(reader.rest())
    except AddressError as error:
        raise WireError(str(error)) from error


def _with_length(data: bytes) -> bytes:
    return bytes((len(data),)) + data


def _encode_identity(identity: Identity) -> bytes:
    return identity.kind.value + _with_length(identity.data) + identity.salt


def _decode_identity(reader: Reader) -> Identity:
    return _identity_from(reader.rest())


@functools.lru_cache(maxsize=IDENTITIES_REMEMBERED_MAX)
def _identity_from(data: bytes) -> Identity:
    reader = Reader(data)
    try:
        kind = Kind(reader.take_bytes(2))
        data = reader.take_bytes(reader.number(1))
        return Identity(kind, data, reader.rest())
    except ValueError as error:
        raise WireError(str(error)) from error


def _decode_policy(reader: Reader) -> str:
    if not 1 <= len(reader) <= POLICY_MAX:
        raise WireError(f"{len(reader)} bytes in the name of a policy, {POLICY_MAX} are allowed")
    name = reader.rest()
    if not name.isascii() or not name.decode("ascii").isprintable():
        raise WireError(f"{name!r} is no name of a policy")
    return name.decode("ascii")


def _encode_host(host: HostRef) -> bytes:
    counts = _HOST.pack(min(host.age_s, 0xFFFF), min(host.fails, 0xFF), min(host.rtt_ms, 0xFFFF))
    return host.hid + counts + pack_address(host.address)


def _decode_host(reader: Reader) -> HostRef:
    hid = reader.take_bytes(HID_BYTES)
    age_s, fails, rtt_ms = reader.take(_HOST)
    return HostRef(hid=hid, address=_decode_address(reader), age_s=age_s, fails=fails, rtt_ms=rtt_ms)


def _encode_entry(entry: NodeEntry) -> bytes:
    head = _with_length(_encode_identity(entry.identity)) + entry.tag
    counts = _ENTRY.pack(entry.view_epoch, min(entry.size, 0xFFFF))
    return head + counts + b"".join([_with_length(_encode_host(host)) for host in entry.hosts[:HOSTS_MAX]])


def _decode_entry(reader: Reader) -> NodeEntry:
    inner = reader.window(reader.number(1))
    identity = _decode_identity(inner)
    inner.close()
    tag = reader.take_bytes(TAG_BYTES)
    view_epoch, size = reader.take(_ENTRY)
    hosts = []
    while len(reader):
        window = reader.window(reader.number(1))
        hosts.append(_decode_host(window))
        window.close()
    if len(hosts) > HOSTS_MAX:
        raise WireError(f"{len(hosts)} hosts of one node, at most {HOSTS_MAX} are told")
    return NodeEntry(identity=identity, tag=tag, view_epoch=view_epoch, size=size, hosts=tuple(hosts))


def _encode_neighbour(neighbour: Neighbour) -> bytes:
    return neighbour.node_id + neighbour.tag + neighbour.view_epoch.to_bytes(4, "big")


def _decode_neighbour(reader: Reader) -> Neighbour:
    node_id, tag = reader.take_bytes(ID_BYTES), reader.take_bytes(TAG_BYTES)
    return Neighbour(node_id=node_id, tag=tag, view_epoch=reader.number(4))


def _encode_member(member: MemberEntry) -> bytes:
    counts = _MEMBER.pack(member.incarnation, member.state, min(member.age_s, 0xFFFF))
    addresses = [_with_length(pack_address(address)) for address in member.addresses[:ADDRESSES_MAX]]
    return member.hid + counts + b"".join(addresses)


def _decode_member(reader: Reader) -> MemberEntry:
    hid = reader.take_bytes(HID_BYTES)
    incarnation, state, age_s = reader.take(_MEMBER)
    addresses = []
    while len(reader):
        addresses.append(_decode_address(reader.window(reader.number(1))))
    if len(addresses) > ADDRESSES_MAX:
        raise WireError(f"{len(addresses)} addresses of one host, at most {ADDRESSES_MAX} are told")
    return MemberEntry(
        hid=hid, incarnation=incarnation, state=_member(State, state), addresses=tuple(addresses), age_s=age_s
    )


def _encode_bucket(bucket: BucketHash) -> bytes:
    return bytes((bucket.number,)) + bucket.hash


def _decode_bucket(reader: Reader) -> BucketHash:
    return BucketHash(reader.number(1), reader.take_bytes(HASH_BYTES))


def _encode_key(entry: KeyEntry) -> bytes:
    return entry.key + entry.hash + bytes((min(entry.wanted, 255),)) + b"".join(entry.holders[:HOSTS_MAX])


def _decode_key(reader: Reader) -> KeyEntry:
    key, own, wanted = reader.take_bytes(ID_BYTES), reader.take_bytes(HASH_BYTES), reader.number(1)
    holders = []
    while len(reader):
        holders.append(reader.take_bytes(HID_BYTES))
    if len(holders) > HOSTS_MAX:
        raise WireError(f"{len(holders)} holders of one key, at most {HOSTS_MAX} are told")
    return KeyEntry(key, own, wanted, tuple(holders))


IDENTITY: Final[Form[Identity]] = Form(_encode_identity, _decode_identity)
POLICY: Final[Form[str]] = Form(lambda name: name.encode("ascii"), _decode_policy)
FLAG: Final[Form[bool]] = Form(lambda value: bytes((value,)), _decode_flag)
ADDRESS: Final[Form[Address]] = Form(pack_address, _decode_address)
ENTRY: Final[Form[NodeEntry]] = Form(_encode_entry, _decode_entry)
NEIGHBOUR: Final[Form[Neighbour]] = Form(_encode_neighbour, _decode_neighbour)
MEMBER: Final[Form[MemberEntry]] = Form(_encode_member, _decode_member)
BUCKET: Final[Form[BucketHash]] = Form(_encode_bucket, _decode_bucket)
LISTED_KEY: Final[Form[KeyEntry]] = Form(_encode_key, _decode_key)
