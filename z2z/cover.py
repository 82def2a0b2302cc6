"""What a store gets to see of items: all of it, or nothing where sites share a secret (z2z design, section 5)."""

import hashlib
import hmac
from typing import Final, Protocol

import msgspec

from mdht.signing import TAG_BYTES, SigningKey, decrypt, encrypt, verify
from z2z.errors import LocalProtocolError, RemoteProtocolError
from z2z.keys import dht_key, normalise
from z2z.seal import ENVELOPE_MAX

KEY_BYTES: Final = 20
NAME_BYTES: Final = 20
NONCE_BYTES: Final = 12
MASTER_BYTES: Final = 32
_VERSION: Final = b"\x01"
_CONTEXT: Final = b"z2z covered 1\0"
_WRITER_CONTEXT: Final = b"z2z writer 1\0"
"What the site signs, with the key by which it writes, begins with this: no other signature of its fits."


class Uncovered(msgspec.Struct, frozen=True):
    """What was found in a stored value."""

    envelope: bytes
    proof: bytes = b""
    "The site's signature over the key by which it writes, where that is not its own."


class Cover(Protocol):
    """How items are put into stores, and taken out again."""

    @property
    def fingerprint(self) -> str:
        """What tells it from other covers; it gives nothing away."""
        ...

    def key(self, text: str) -> bytes:
        """The 20-byte key under which a store keeps what was exported as `text`."""
        ...

    def name(self, name: bytes) -> bytes:
        """The sub-name, under that key, of what this site calls so."""
        ...

    def writer(self, signer: SigningKey) -> SigningKey:
        """By what the site writes into stores."""
        ...

    def close(self, envelope: bytes, signer: SigningKey) -> bytes:
        """The value to store; the same for the same envelope."""
        ...

    def open(self, value: bytes) -> Uncovered:
        """What is in a stored value.

        Raises:
            RemoteProtocolError: it was not covered like this.
        """
        ...

    def wrote(self, writer: bytes, site_key: bytes, proof: bytes) -> bool:
        """Whether who has written a value is the site that has signed its envelope."""
        ...


class Plain:
    """No cover: whoever reads the store sees names, places and sites."""

    fingerprint = ""

    def key(self, text: str) -> bytes:
        """The hash of the key's letters and digits."""
        return dht_key(text)

    def name(self, name: bytes) -> bytes:
        """The same."""
        return name

    def writer(self, signer: SigningKey) -> SigningKey:
        """The site itself."""
        return signer

    def close(self, envelope: bytes, signer: SigningKey) -> bytes:  # noqa: ARG002 - as `Cover`
        """The envelope as it is."""
        return envelope

    def open(self, value: bytes) -> Uncovered:
        """The envelope as it is."""
        return Uncovered(value)

    def wrote(self, writer: bytes, site_key: bytes, proof: bytes) -> bool:  # noqa: ARG002 - as `Cover`
        """Whether both are one."""
        return writer == site_key


PLAIN: Final = Plain()


class Secret:
    """A secret that sites share: without it neither keys, names and places nor the sites themselves are known.

    Keys and names are HMACs; values are sealed with ChaCha20-Poly1305 (RFC 8439). The nonce follows from what is
    sealed, so that the same item has the same form; that two values are equal is all that shows. A site writes by a key
    of its own for each secret, and proves inside that it does: a copy put by somebody else is refused.

    Args:
        master: 32 bytes made from the phrase (`mdht.link_keys.derive_key`).
    """

    def __init__(self, master: bytes) -> None:
        if len(master) != MASTER_BYTES:
            raise LocalProtocolError(f"a secret has {MASTER_BYTES} bytes, not {len(master)}")
        self._keys, self._names, self._values, self._nonces, self._writers = (
            _expand(master, label) for label in (b"keys", b"names", b"values", b"nonces", b"writers")
        )
        self.fingerprint = _expand(master, b"fingerprint").hex()[:16]

    def __repr__(self) -> str:
        # Its keys must never reach a log through a formatted object.
        return f"Secret({self.fingerprint})"

    def key(self, text: str) -> bytes:
        """An HMAC of the key's letters and digits."""
        return hmac.digest(self._keys, normalise(text).encode(), "sha256")[:KEY_BYTES]

    def name(self, name: bytes) -> bytes:
        """An HMAC: services of that name could be tried otherwise."""
        return hmac.digest(self._names, name, "sha256")[:NAME_BYTES]

    def writer(self, signer: SigningKey) -> SigningKey:
        """A key that only the site can make, and nobody can connect with it."""
        return SigningKey.from_seed(hmac.digest(self._writers, signer.seed, "sha256"))

    def close(self, envelope: bytes, signer: SigningKey) -> bytes:
        """Seal it.

        Raises:
            LocalProtocolError: it is too large by then.
        """
        proof = signer.sign(_WRITER_CONTEXT + self.writer(signer).public_key)
        inside = msgspec.msgpack.encode((proof, envelope))
        nonce = hmac.digest(self._nonces, inside, "sha256")[:NONCE_BYTES]
        value = _VERSION + nonce + encrypt(self._values, nonce, inside, _CONTEXT)
        if len(value) > ENVELOPE_MAX:
            raise LocalProtocolError(f"an item of {len(value)} bytes under its secret; at most {ENVELOPE_MAX} fit")
        return value

    def open(self, value: bytes) -> Uncovered:
        """Unseal it.

        Raises:
            RemoteProtocolError: it was sealed with another secret, or was changed, or never sealed.
        """
        if value[:1] != _VERSION or len(value) < 1 + NONCE_BYTES + TAG_BYTES or len(value) > ENVELOPE_MAX:
            raise RemoteProtocolError("not sealed with a secret that this z2z knows")
        nonce, sealed = value[1 : 1 + NONCE_BYTES], value[1 + NONCE_BYTES :]
        inside = decrypt(self._values, nonce, sealed, _CONTEXT)
        if inside is None:
            raise RemoteProtocolError("sealed with another secret, or changed on its way")
        try:
            proof, envelope = msgspec.msgpack.decode(inside, type=tuple[bytes, bytes])
        except (msgspec.MsgspecError, ValueError) as error:
            raise RemoteProtocolError(f"sealed, but not an envelope: {error}") from error
        return Uncovered(envelope, proof)

    def wrote(self, writer: bytes, site_key: bytes, proof: bytes) -> bool:
        """Whether the site says so."""
        return verify(site_key, _WRITER_CONTEXT + writer, proof)


def _expand(master: bytes, label: bytes) -> bytes:
    """One block of HKDF-Expand (RFC 5869 section 2.3): 32 bytes of their own for each label."""
    return hmac.digest(master, b"z2z secret 1 " + label + b"\x01", hashlib.sha256)
