"""Signatures of publishers and nodes: Ed25519 (RFC 8032), over bytes as they stand (NetServ design, section 2)."""

from collections.abc import Iterable
from typing import TypeVar

import msgspec

from mdht.signing import SigningKey, verify
from netserv.signaling.nslp.requests import Probe, Remove, Request, Setup, Trigger, encode, signed_part
from netserv.signaling.nslp.responses import Response, StackEntry, entry_signed_part, write_entry

SIGNATURE_BYTES = 64

R = TypeVar("R", bound=Setup | Remove | Probe | Trigger)


def signed(request: R, key: SigningKey) -> R:
    """The request with its signature, and the text that this is over.

    Raises:
        NslpError: it would be too long.
    """
    # What is to be signed has no signature yet, but the line of one: so the bytes before it are those that are sent.
    draft = msgspec.structs.replace(request, signature=bytes(SIGNATURE_BYTES), text=b"")
    signature = key.sign(signed_part(encode(draft)))
    written = msgspec.structs.replace(draft, signature=signature)
    return msgspec.structs.replace(written, text=encode(written))


def signer_of(request: Request, keys: Iterable[bytes]) -> bytes | None:
    """Which of some public keys has signed; None for none."""
    if request.signature is None:
        return None
    said = signed_part(encode(request))
    return next((key for key in keys if verify(key, said, request.signature)), None)


def signed_entry(entry: StackEntry, request: bytes, key: SigningKey) -> StackEntry:
    """An entry with its node's signature, which holds for the answer to one request only.

    Args:
        entry: as yet without one.
        request: its id, as it stands in the response.
        key: the node's.
    """
    draft = msgspec.structs.replace(entry, signature=bytes(SIGNATURE_BYTES), block=b"")
    signature = key.sign(entry_signed_part(request, write_entry(draft)))
    return msgspec.structs.replace(draft, signature=signature)


def entry_is_of(response: Response, entry: StackEntry, public_key: bytes) -> bool:
    """Whether the node that has this key has signed an entry of a response."""
    if entry.signature is None:
        return False
    block = entry.block or write_entry(entry)
    return verify(public_key, entry_signed_part(response.request, block), entry.signature)
