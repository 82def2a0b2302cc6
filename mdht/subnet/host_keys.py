"""What a host says, signed by its own key: level 2 of the protection of a link (mDHT design, section 14).

A host's name is the beginning of a hash of its public key, so that nobody can have the name of another one. What it
says of itself, and whom it accuses, has two fields more, the last of the datagram: the key, and a signature over every
byte before that signature's own, header and flags included. Hosts without this option know these fields by number.
"""

import hashlib
import struct
from collections.abc import Sequence, Sized
from typing import Final

import msgspec

from mdht.signing import SigningKey, verify
from mdht.subnet.errors import WireError
from mdht.subnet.messages import HID_BYTES, Bye, Hello, Here, Message, Pong, Suspect

PUBLIC_KEY_BYTES: Final = 32
SIGNATURE_BYTES: Final = 64
KEY_FIELD: Final = 254
SIGNATURE_FIELD: Final = 255
"The last numbers there are: fields of messages count up from 1."
SIGNED: Final = (Hello, Here, Bye, Suspect, Pong)
"""What makes a member, keeps it one or ends that. A host says it some times a second, which is what may be spent on
signatures; all else is believed of whoever has lately said who he is (`proofs`)."""
_DOMAIN: Final = b"mdht link 1\0"
"A host's key signs nothing else that begins like this."
_FIELD: Final = struct.Struct("!BH")
PROOF_BYTES: Final = 2 * _FIELD.size + PUBLIC_KEY_BYTES + SIGNATURE_BYTES
"By which a signed datagram is longer."
_SIZES: Final = {KEY_FIELD: PUBLIC_KEY_BYTES, SIGNATURE_FIELD: SIGNATURE_BYTES}


class Proof(msgspec.Struct, frozen=True):
    """By what a datagram claims to be its sender's."""

    public_key: bytes
    signature: bytes
    covered: bytes
    "Every byte of the datagram before the signature."

    def holds(self) -> bool:
        """Whether the owner of the key has signed these bytes; takes a tenth of a millisecond and more."""
        return verify(self.public_key, _DOMAIN + self.covered, self.signature)


def host_name(public_key: bytes) -> bytes:
    """The name of the host that has a key."""
    return hashlib.sha256(b"mdht host" + public_key).digest()[:HID_BYTES]


def is_signed(message: Message) -> bool:
    """Whether a message is of a kind that hosts with keys sign, and take from nobody unsigned."""
    return isinstance(message, SIGNED)


def key_part(key: SigningKey) -> bytes:
    """The end of a body up to the signature itself."""
    key_field = _FIELD.pack(KEY_FIELD, PUBLIC_KEY_BYTES) + key.public_key
    return key_field + _FIELD.pack(SIGNATURE_FIELD, SIGNATURE_BYTES)


def sign(key: SigningKey, covered: bytes) -> bytes:
    """The signature of a host over the bytes before it."""
    return key.sign(_DOMAIN + covered)


def proof_in(split: Sequence[tuple[int, Sized]], head_and_body: bytes) -> Proof | None:
    """The proof at the end of a datagram without its code; None where no fields of these numbers are there.

    Args:
        split: number and value of each field.
        head_and_body: all that the proof could cover, and itself.

    Raises:
        WireError: one of the two fields is there without the other, in another place or of another length.
    """
    sizes = [(number, len(value)) for number, value in split if number in _SIZES]
    if not sizes:
        return None
    if sizes != list(_SIZES.items()) or [number for number, _ in split[-2:]] != list(_SIZES):
        raise WireError("a key and a signature are the last fields of a datagram, each once, or are not there")
    end = len(head_and_body) - SIGNATURE_BYTES
    key_end = end - _FIELD.size
    return Proof(head_and_body[key_end - PUBLIC_KEY_BYTES : key_end], head_and_body[end:], head_and_body[:end])
