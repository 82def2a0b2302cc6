"""The one door to `cryptography`: keys, signatures, and what only some may read.

Ed25519 (RFC 8032) for writers and nodes, ChaCha20-Poly1305 (RFC 8439) for what is sealed.
"""

import base64
import datetime as dt
import os
import secrets
import stat
from pathlib import Path
from typing import Final, Self

from cryptography import x509
from cryptography.exceptions import InvalidSignature, InvalidTag, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID

from mdht.errors import LocalProtocolError

SEED_BYTES: Final = 32
PUBLIC_KEY_BYTES: Final = 32
TAG_BYTES: Final = 16
"Of what is encrypted, at its end."
KEY_FILE_MAX: Final = 4_096
"Bytes read of a key file; a PEM of an Ed25519 key has 119, so a larger file is some other file."


class SigningKey:
    """The private key of one writer."""

    __slots__ = ("_private", "public_key", "seed")

    def __init__(self, seed: bytes) -> None:
        if len(seed) != SEED_BYTES:
            raise LocalProtocolError(f"a signing key has {SEED_BYTES} bytes, not {len(seed)}")
        self.seed = seed
        self._private = Ed25519PrivateKey.from_private_bytes(seed)
        self.public_key: bytes = self._private.public_key().public_bytes_raw()

    def __repr__(self) -> str:
        # The seed must never reach a log through a formatted object.
        return f"SigningKey(public_key={self.public_key.hex()})"

    @classmethod
    def generate(cls) -> Self:
        """Return a new key from the system's random source."""
        return cls(secrets.token_bytes(SEED_BYTES))

    @classmethod
    def from_seed(cls, seed: bytes) -> Self:
        """Return the key of a 32-byte seed (RFC 8032 section 5.1.5); the same seed gives the same key."""
        return cls(seed)

    @classmethod
    def load_or_create(cls, path: Path) -> Self:
        """Return the key kept in a PEM file, creating it (mode 0600) when there is none.

        Raises:
            LocalProtocolError: the file is no such key, is open to other users, or cannot be read or written.
        """
        try:
            if not path.exists():
                _create(path, cls.generate())
            return cls(_load(path, "identity"))
        except OSError as error:
            raise LocalProtocolError(f"identity file {path}: {error.strerror or error}") from error

    @classmethod
    def load(cls, path: Path, what: str) -> Self:
        """Return the key kept in a PEM file.

        Args:
            path: the file.
            what: whose key it is, for errors: they begin with `{what} file`.

        Raises:
            LocalProtocolError: as above, or there is no such file.
        """
        try:
            return cls(_load(path, what))
        except OSError as error:
            raise LocalProtocolError(f"{what} file {path}: {error.strerror or error}") from error

    @classmethod
    def create(cls, path: Path, what: str) -> Self:
        """Return a new key, kept in a new PEM file (mode 0600).

        Raises:
            LocalProtocolError: there is a file already, which is left alone, or it cannot be written.
        """
        key = cls.generate()
        try:
            if path.exists() or not _create(path, key):
                raise LocalProtocolError(f"{what} file {path} is there already; name another, or move it away")
        except OSError as error:
            raise LocalProtocolError(f"{what} file {path}: {error.strerror or error}") from error
        return key

    def sign(self, data: bytes) -> bytes:
        """Return the 64-byte signature over `data`."""
        return self._private.sign(data)

    def certificate(self, name: str, *, begins: dt.datetime, ends: dt.datetime) -> bytes:
        """Return a certificate that this key gives itself, as PEM, for TLS (X.509, RFC 8410).

        Args:
            name: common name and dNSName, of letters, digits, hyphens and dots.
            begins: from when on it is valid.
            ends: until when.
        """
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subject)
            .public_key(self._private.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(begins)
            .not_valid_after(ends)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        )
        return builder.sign(self._private, None).public_bytes(Encoding.PEM)

    def pem(self) -> bytes:
        """Return the key as unencrypted PKCS #8 PEM, which openssl reads too."""
        return self._private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def verify(public_key: bytes, data: bytes, signature: bytes) -> bool:
    """Say whether `signature` over `data` was made with the private half of `public_key`; never raises."""
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, data)
    except (InvalidSignature, UnsupportedAlgorithm, ValueError):
        return False
    return True


def public_key_from(text: object) -> bytes | None:
    """The public key that a text says in base64, as files of keys have it; None if it is no such text."""
    try:
        key = base64.b64decode(text, validate=True) if isinstance(text, str) else b""
    except ValueError:
        return None
    return key if len(key) == PUBLIC_KEY_BYTES else None


def encrypt(key: bytes, nonce: bytes, data: bytes, context: bytes) -> bytes:
    """Return the ciphertext with its tag: 16 bytes more than `data`.

    Args:
        key: 32 bytes.
        nonce: 12 bytes, another one for all other data under this key.
        data: what to hide.
        context: is not hidden, but must be the same again.
    """
    return ChaCha20Poly1305(key).encrypt(nonce, data, context)


def decrypt(key: bytes, nonce: bytes, sealed: bytes, context: bytes) -> bytes | None:
    """Return what was encrypted; None if that was with another key, nonce or context, or if it was changed."""
    try:
        return ChaCha20Poly1305(key).decrypt(nonce, sealed, context)
    except InvalidTag:
        return None


def _load(path: Path, what: str) -> bytes:
    with path.open("rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise LocalProtocolError(f"{what} file {path} is not a regular file")
        if status.st_mode & 0o077:
            raise LocalProtocolError(f"{what} file {path} is open to other users: chmod 600 {path}")
        text = file.read(KEY_FILE_MAX)
    try:
        private = load_pem_private_key(text, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise LocalProtocolError(
            f"{what} file {path} does not hold an Ed25519 key in PEM form; name another file, or move it away "
            f"to have a new {what} created"
        ) from error
    if not isinstance(private, Ed25519PrivateKey):
        raise LocalProtocolError(f"{what} file {path} holds a key of another kind; an Ed25519 key is needed")
    return private.private_bytes_raw()


def _create(path: Path, key: SigningKey) -> bool:
    """Write a key so that a crash, a full disk or a second process never leaves half a file under `path`.

    Returns:
        Whether it was written: False if there is one by now.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(key.pem())
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(draft, path)  # unlike a rename, never replaces what another process wrote meanwhile
        except FileExistsError:
            return False
    finally:
        draft.unlink()
    return True
