"""The envelope around one service item: who exported it, for how long, by which way, signed by its site.

On the wire it is a msgpack array. The signature (Ed25519) covers every other field, so a store or another site can
neither change an item nor write one in the name of a site whose key it lacks.
"""

import hashlib
from typing import Annotated, Final

import msgspec

from mdht.signing import SigningKey, verify
from z2z.dns_records import decode_item, encode_item
from z2z.errors import LocalProtocolError, RemoteProtocolError
from z2z.service_item import LABEL_MAX, ServiceItem

VERSION: Final = 1
ENVELOPE_MAX: Final = 16 * 1024
"Bytes of a sealed item: what the smallest store takes as one value."
HOPS_MAX: Final = 8
"Sites that an item may have passed; today every item has passed one, and a list that grows is a loop."
LEASE_MAX_S: Final = 7 * 86_400
"The longest lifetime that the embedded DHT keeps a record for."
SITE_ID_BYTES: Final = 8
_CONTEXT: Final = b"z2z envelope 1\0"
"What the signature starts with, so that a signature made for another purpose never fits."

SiteId = Annotated[bytes, msgspec.Meta(min_length=SITE_ID_BYTES, max_length=SITE_ID_BYTES)]


class Site(msgspec.Struct, frozen=True, kw_only=True):
    """The site that a z2z speaks for."""

    id: bytes
    "First 8 bytes of the SHA-1 of its public key."
    name: str
    "What people call it; shown in `Name (site)`."

    def __post_init__(self) -> None:
        _check_site_name(self.name)


class _Envelope(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    version: int
    site_id: SiteId
    site_name: str
    writer: Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]
    seq: Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
    lease_s: Annotated[int, msgspec.Meta(ge=1, le=LEASE_MAX_S)]
    hops: Annotated[tuple[SiteId, ...], msgspec.Meta(min_length=1, max_length=HOPS_MAX)]
    item: bytes
    signature: Annotated[bytes, msgspec.Meta(max_length=64)]


class _AnyVersion(msgspec.Struct, frozen=True, array_like=True):
    version: int


class Opened(msgspec.Struct, frozen=True, kw_only=True):
    """An envelope whose signature was verified."""

    site: Site
    writer: bytes
    "Public key that signed it."
    seq: int
    "Grows with every change that the site made to this item."
    lease_s: int
    hops: tuple[bytes, ...]
    "Site ids that the item passed, its origin first."
    item: ServiceItem


def site_id(public_key: bytes) -> bytes:
    """Return the id of the site that owns a key."""
    return hashlib.sha1(public_key, usedforsecurity=False).digest()[:SITE_ID_BYTES]


def seal(item: ServiceItem, *, site: Site, signer: SigningKey, seq: int, lease_s: int) -> bytes:
    """Return the signed envelope of an item that this site exports.

    Args:
        item: the service as it is to be seen elsewhere.
        site: this site; its id belongs to `signer`.
        signer: the site's identity.
        seq: larger than in every earlier envelope of this item.
        lease_s: lifetime that the stores are asked for, in seconds.

    Raises:
        LocalProtocolError: the item is too large to be carried.
    """
    envelope = _Envelope(
        version=VERSION,
        site_id=site.id,
        site_name=site.name,
        writer=signer.public_key,
        seq=seq,
        lease_s=lease_s,
        hops=(site.id,),
        item=encode_item(item),
        signature=b"",
    )
    sealed = msgspec.msgpack.encode(msgspec.structs.replace(envelope, signature=signer.sign(_signed_bytes(envelope))))
    if len(sealed) > ENVELOPE_MAX:
        raise LocalProtocolError(
            f"{item.display_name!r} takes {len(sealed)} bytes; at most {ENVELOPE_MAX} can be carried"
        )
    return sealed


def unseal(data: bytes) -> Opened:
    """Return what an envelope holds, after checking its form and its signature.

    Raises:
        RemoteProtocolError: these bytes are no envelope of this version, or its signature does not fit.
    """
    if len(data) > ENVELOPE_MAX:
        raise RemoteProtocolError(f"envelope of {len(data)} bytes; at most {ENVELOPE_MAX} are read")
    envelope = _decode(data)
    if envelope.site_id != site_id(envelope.writer):
        raise RemoteProtocolError("the site id does not belong to the key that signed")
    if not verify(envelope.writer, _signed_bytes(envelope), envelope.signature):
        raise RemoteProtocolError("the signature does not fit: forged or damaged")
    return Opened(
        site=Site(id=envelope.site_id, name=envelope.site_name),
        writer=envelope.writer,
        seq=envelope.seq,
        lease_s=envelope.lease_s,
        hops=envelope.hops,
        item=decode_item(envelope.item),
    )


def _decode(data: bytes) -> _Envelope:
    try:
        version = msgspec.msgpack.decode(data, type=_AnyVersion).version
        if version != VERSION:
            raise RemoteProtocolError(f"envelope version {version}; this z2z reads version {VERSION}")
        envelope = msgspec.msgpack.decode(data, type=_Envelope)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise RemoteProtocolError(f"not an envelope: {error}") from error
    if msgspec.msgpack.encode(envelope) != data:  # one item has one form, so equal bytes mean an equal item
        raise RemoteProtocolError("the envelope is not in its shortest form")
    return envelope


def _signed_bytes(envelope: _Envelope) -> bytes:
    return _CONTEXT + msgspec.msgpack.encode(msgspec.structs.replace(envelope, signature=b""))


def _check_site_name(name: str) -> None:
    try:
        size = len(name.encode())
    except UnicodeEncodeError as error:  # a lone surrogate of the command line
        raise RemoteProtocolError(f"site name {name!r} is not Unicode text") from error
    if not 1 <= size <= LABEL_MAX or not name.isprintable():
        raise RemoteProtocolError(f"site name {name!r}: 1 to {LABEL_MAX} bytes of printable text are allowed")
