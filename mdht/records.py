"""Records: what lives under a key, and how two copies of the same truth become one."""

from typing import Final

import msgspec

KEY_BYTES: Final = 20
WRITER_BYTES: Final = 32
"An Ed25519 public key."
SIGNATURE_BYTES: Final = 64


class Record(msgspec.Struct, frozen=True, array_like=True):
    """One signed value under a key. Its slot is (writer, name): the newest sequence number of a slot wins."""

    key: bytes
    "20 bytes."
    writer: bytes
    "Ed25519 public key; only its owner can replace or remove the record."
    name: bytes
    "Sub-name by which one writer keeps several records under a key; up to 64 bytes."
    seq: int
    "Grows with every change by the writer; unsigned 64 bits."
    lease_s: int
    "Lifetime that the writer asked for, in seconds from its put; copying never extends it."
    deleted: bool
    "A tombstone: the slot is empty since this sequence number."
    value: bytes
    signature: bytes
    "Ed25519 over all fields above."
