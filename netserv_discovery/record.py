"""The record by which a node is found: who it is, where, and what it offers, signed by itself.

On the wire it is a msgpack array and, behind it, an Ed25519 signature over every byte before. The signature of many
records is never needed, since others are nearer: `decode` without `verified` leaves it for `check_signature`.
"""

import hashlib
import re
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Annotated, Final, TypeAlias

import msgspec

from mdht.signing import PUBLIC_KEY_BYTES, SigningKey, verify
from netserv_discovery.errors import LocalProtocolError, Refusal, RemoteProtocolError
from netserv_discovery.location import Location
from netserv_discovery.versions import Offer, folded

VERSION: Final = 1
RECORD_MAX: Final = 1_000
"Bytes of a record, with its signature."
SPLIT_BYTES: Final = 719
"""Bytes from which on `split` moves offers to a list: what the DHT keeps as one piece (`mdht.chunks.WHOLE_MAX`). More
would cost each reader one more round trip for each record."""
LIST_MAX: Final = 16_384
"Bytes of a list of offers: the largest value of the DHT."
OFFERS_MAX: Final = 256
"Blocks, and as many modules, of a node: with names of 24 characters both fit one list."
ADDRESSES_MAX: Final = 4
"IPv4 and IPv6 on two interfaces."
OPERATOR_MAX: Final = 64
"Bytes of the operator's name."
LIFE_MAX_S: Final = 7 * 86_400
"The longest lease of the DHT."
AHEAD_MAX_S: Final = 300
"A clock may be so much ahead of ours: machines without NTP drift by seconds a day."
LOAD_MAX: Final = 10
WITHIN_MAX_KM: Final = 20_016
"Half the circumference of the earth."
SIGNATURE_BYTES: Final = 64
GIST_PORT: Final = 270
"RFC 5971 section 4.1.1"
NAME_DIGITS: Final = 16
_CONTEXT: Final = b"netserv node record 1\0"
"What the signature starts with, so that one made for another purpose never fits."
_NODE_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_MADE_NAME: Final = re.compile(rf"[0-9a-f]{{{NAME_DIGITS}}}")
"As signalling names a node for which nobody has chosen a name."

IpAddress: TypeAlias = IPv4Address | IPv6Address
_Port: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=65_535)]
_Time: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
_Hundredths: TypeAlias = Annotated[int, msgspec.Meta(ge=-18_000, le=18_000)]
_Offers: TypeAlias = Annotated[tuple[Offer, ...], msgspec.Meta(max_length=OFFERS_MAX)]
_Limit: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=2**32 - 1)]


class Limits(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, gc=False):
    """What a publisher can have of the node, coarsely; 0 where nothing is said."""

    modules: _Limit = 0
    "Of one publisher."
    memory_mib: _Limit = 0
    "Of one container."
    ttl_s: _Limit = 0
    "The longest that a SETUP is granted."


class NodeRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One node, as it says.

    Raises:
        LocalProtocolError: a value breaks the rules; the text says which.
    """

    public_key: bytes
    "Ed25519; who the node is."
    node_id: str
    "What it is called in response stacks. Others may be called the same, unless the name is made from the key."
    addresses: tuple[bytes, ...] = ()
    "4 or 16 bytes each; the first is the one to be asked."
    gist_port: int = GIST_PORT
    ping_port: int = 0
    "UDP, for `ping`; 0: it answers none."
    blocks: tuple[Offer, ...] = ()
    modules: tuple[Offer, ...] = ()
    limits: Limits = Limits()
    load: int = 0
    "Tenths: 0 idle to 10 full."
    location: Location | None = None
    "Rounded by the wish of the operator, and to 0.01 degrees at the least."
    within_km: int = 1
    "How far from there it may be: what rounding has taken. Nothing without a location."
    operator: str = ""
    issued: int
    "Unix time in seconds; of two records of a node the later one counts."
    expires: int
    more: bytes | None = None
    "SHA-256 of the list of all offers, if this record has not room for them."

    def __post_init__(self) -> None:
        if len(self.public_key) != PUBLIC_KEY_BYTES:
            raise LocalProtocolError(f"a public key has {PUBLIC_KEY_BYTES} bytes, not {len(self.public_key)}")
        if _NODE_ID.fullmatch(self.node_id) is None:
            raise LocalProtocolError(
                f"{self.node_id!r} is no name of a node: up to 63 letters, digits, and . _ - inside"
            )
        if len(self.addresses) > ADDRESSES_MAX or any(len(each) not in {4, 16} for each in self.addresses):
            raise LocalProtocolError(f"a node has at most {ADDRESSES_MAX} addresses of 4 or 16 bytes")
        for what, port in (("GIST", self.gist_port), ("ping", self.ping_port)):
            if not 0 <= port <= 65_535:
                raise LocalProtocolError(f"{what} port {port} is not within 0..65535")
        _check_offers(self.blocks, "blocks")
        _check_offers(self.modules, "modules")
        if not 0 <= self.load <= LOAD_MAX:
            raise LocalProtocolError(f"load {self.load} is not within 0..{LOAD_MAX} tenths")
        if len(self.operator.encode(errors="replace")) > OPERATOR_MAX or not self.operator.isprintable():
            raise LocalProtocolError(f"operator {self.operator!r}: at most {OPERATOR_MAX} bytes of printable text")
        if not (0 <= self.issued <= 2**53 and 0 < self.expires - self.issued <= LIFE_MAX_S):
            raise LocalProtocolError(f"a record is for 1 to {LIFE_MAX_S} s, not for {self.expires - self.issued}")
        if self.more is not None and len(self.more) != hashlib.sha256().digest_size:
            raise LocalProtocolError(f"the digest of a list has {hashlib.sha256().digest_size} bytes")
        if not 1 <= self.within_km <= WITHIN_MAX_KM:
            raise LocalProtocolError(f"a location is exact to 1..{WITHIN_MAX_KM} km, not to {self.within_km}")
        if self.location is None:
            msgspec.structs.force_setattr(self, "within_km", 1)
        else:
            msgspec.structs.force_setattr(self, "location", self.location.rounded())

    @property
    def ip_addresses(self) -> tuple[IpAddress, ...]:
        """Its addresses, as they are written."""
        return tuple(ip_address(each) for each in self.addresses)


class OfferList(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """All offers of a node whose record has not room for them. Its digest stands in the signed record."""

    version: int
    blocks: _Offers
    modules: _Offers


class _Wire(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    version: int
    public_key: bytes
    node_id: str
    addresses: Annotated[tuple[bytes, ...], msgspec.Meta(max_length=ADDRESSES_MAX)]
    gist_port: _Port
    ping_port: _Port
    blocks: _Offers
    modules: _Offers
    limits: Limits
    load: int
    location: tuple[_Hundredths, _Hundredths] | None
    within_km: int
    operator: str
    issued: _Time
    expires: _Time
    more: bytes | None


class _AnyVersion(msgspec.Struct, frozen=True, array_like=True):
    version: int


_ANY: Final = msgspec.msgpack.Decoder(_AnyVersion)
_WIRE: Final = msgspec.msgpack.Decoder(_Wire)
_LIST: Final = msgspec.msgpack.Decoder(OfferList)
_ENCODER: Final = msgspec.msgpack.Encoder()


def made_name(public_key: bytes) -> str:
    """The name of a node for which nobody has chosen one, as in signalling."""
    return hashlib.sha256(public_key).hexdigest()[:NAME_DIGITS]


def encode(record: NodeRecord, key: SigningKey) -> bytes:
    """Return the signed record.

    Args:
        record: what to say.
        key: the node's.

    Raises:
        LocalProtocolError: it is too long (`split` helps), or of another key.
    """
    if key.public_key != record.public_key:
        raise LocalProtocolError("a record is signed with the key of its node")
    if _false_name(record):
        raise LocalProtocolError(f"node id {record.node_id} looks as if made from another key; choose another one")
    body = _body(record)
    if len(body) + SIGNATURE_BYTES > RECORD_MAX:
        raise LocalProtocolError(f"a record of {len(body) + SIGNATURE_BYTES} B; at most {RECORD_MAX} are allowed")
    return body + key.sign(_CONTEXT + body)


def decode(data: bytes, unix_now: float, *, verified: bool = True) -> NodeRecord:
    """Return the record of signed bytes.

    Args:
        data: from anybody.
        unix_now: seconds.
        verified: check the signature too; else the caller does, before he believes anything, with `check_signature`.

    Raises:
        RemoteProtocolError: it is none, or none that counts now.
    """
    if len(data) > RECORD_MAX:
        raise RemoteProtocolError(f"a record of {len(data)} B; at most {RECORD_MAX} are read", code=Refusal.TOO_LONG)
    wire = _read(data[:-SIGNATURE_BYTES])
    try:
        record = _record(wire)
    except LocalProtocolError as error:
        raise RemoteProtocolError(f"not a record: {error}") from error
    if _body(record) != data[:-SIGNATURE_BYTES]:  # one record has one form
        raise RemoteProtocolError("a record that is not in its shortest form")
    if record.expires <= unix_now:
        raise RemoteProtocolError(f"expired {unix_now - record.expires:.0f} s ago", code=Refusal.EXPIRED)
    if record.issued > unix_now + AHEAD_MAX_S:
        raise RemoteProtocolError(
            f"issued {record.issued - unix_now:.0f} s ahead of our clock", code=Refusal.TOO_FAR_AHEAD
        )
    if _false_name(record):
        raise RemoteProtocolError("the node id is made from another key", code=Refusal.WRONG_NAME)
    if verified:
        check_signature(record, data)
    return record


def check_signature(record: NodeRecord, data: bytes) -> None:
    """Check what `decode` without `verified` has left.

    Args:
        record: decoded from it.
        data: the signed bytes.

    Raises:
        RemoteProtocolError: the node has not signed it.
    """
    if not verify(record.public_key, _CONTEXT + data[:-SIGNATURE_BYTES], data[-SIGNATURE_BYTES:]):
        raise RemoteProtocolError("the signature does not fit: a record forged or damaged", code=Refusal.BAD_SIGNATURE)


def split(record: NodeRecord, first: str | None = None) -> tuple[NodeRecord, bytes | None]:
    """Return a record that fits, and the list of all offers if it has not room for them.

    Args:
        record: any number of offers.
        first: name of the offer that stays in the record in any case: a reader who looks for it need not get the list.

    Raises:
        LocalProtocolError: not even the list has room for them.
    """
    if len(_body(record)) + SIGNATURE_BYTES <= SPLIT_BYTES:
        return record, None
    document = _ENCODER.encode(OfferList(VERSION, record.blocks, record.modules))
    if len(document) > LIST_MAX:
        raise LocalProtocolError(f"a list of offers of {len(document)} B; the DHT keeps at most {LIST_MAX}")
    more = hashlib.sha256(document).digest()
    bare = msgspec.structs.replace(record, blocks=(), modules=(), more=more)
    # Arrays of more than 15 have a head of 2 bytes more, each.
    room = SPLIT_BYTES - SIGNATURE_BYTES - len(_body(bare)) - 4
    offers = [(each, True) for each in record.blocks] + [(each, False) for each in record.modules]
    if first is not None:
        offers.sort(key=lambda offer: folded(offer[0].name) != folded(first))  # stable
    kept: dict[bool, list[Offer]] = {True: [], False: []}
    for offer, is_block in offers:
        room -= len(_ENCODER.encode(offer))
        if room < 0:
            break
        kept[is_block].append(offer)
    return msgspec.structs.replace(bare, blocks=tuple(kept[True]), modules=tuple(kept[False])), document


def decode_list(data: bytes, digest: bytes) -> OfferList:
    """Return the list of offers that a record speaks of.

    Args:
        data: from anybody.
        digest: `more` of the record.

    Raises:
        RemoteProtocolError: it is another one, or none.
    """
    if len(data) > LIST_MAX:
        raise RemoteProtocolError(f"a list of {len(data)} B; at most {LIST_MAX} are read", code=Refusal.TOO_LONG)
    if hashlib.sha256(data).digest() != digest:
        raise RemoteProtocolError("a list that is not the one of the record", code=Refusal.WRONG_PLACE)
    try:
        found = _LIST.decode(data)
    except (msgspec.MsgspecError, LocalProtocolError, ValueError, RecursionError) as error:
        raise RemoteProtocolError(f"not a list of offers: {error}") from error
    if found.version != VERSION:
        raise RemoteProtocolError(f"a list of version {found.version}; {VERSION} is read", code=Refusal.VERSION)
    return found


def _read(body: bytes) -> _Wire:
    try:
        version = _ANY.decode(body).version
        if version != VERSION:
            raise RemoteProtocolError(f"a record of version {version}; {VERSION} is read", code=Refusal.VERSION)
        return _WIRE.decode(body)
    except (msgspec.MsgspecError, LocalProtocolError, ValueError, RecursionError) as error:
        raise RemoteProtocolError(f"not a record: {error}") from error


def _record(wire: _Wire) -> NodeRecord:
    place = wire.location
    return NodeRecord(
        public_key=wire.public_key,
        node_id=wire.node_id,
        addresses=wire.addresses,
        gist_port=wire.gist_port,
        ping_port=wire.ping_port,
        blocks=wire.blocks,
        modules=wire.modules,
        limits=wire.limits,
        load=wire.load,
        location=None if place is None else Location(place[0] / 100, place[1] / 100),
        within_km=wire.within_km,
        operator=wire.operator,
        issued=wire.issued,
        expires=wire.expires,
        more=wire.more,
    )


def _body(record: NodeRecord) -> bytes:
    place = record.location
    return _ENCODER.encode(
        _Wire(
            version=VERSION,
            public_key=record.public_key,
            node_id=record.node_id,
            addresses=record.addresses,
            gist_port=record.gist_port,
            ping_port=record.ping_port,
            blocks=record.blocks,
            modules=record.modules,
            limits=record.limits,
            load=record.load,
            location=None if place is None else (round(place.latitude * 100), round(place.longitude * 100)),
            within_km=record.within_km,
            operator=record.operator,
            issued=record.issued,
            expires=record.expires,
            more=record.more,
        )
    )


def _false_name(record: NodeRecord) -> bool:
    return _MADE_NAME.fullmatch(record.node_id) is not None and record.node_id != made_name(record.public_key)


def _check_offers(offers: Iterable[Offer], what: str) -> None:
    names = [(folded(each.name), each.version) for each in offers]
    if len(names) > OFFERS_MAX:
        raise LocalProtocolError(f"{len(names)} {what}; a node offers at most {OFFERS_MAX}")
    if len(set(names)) < len(names):
        raise LocalProtocolError(f"{what}: one of a name and version stands there twice")
