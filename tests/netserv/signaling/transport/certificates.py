"""Certificates for tests: of the node itself, and of an authority that signs for others."""

import datetime as dt
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from netserv.signaling.transport.tls import TlsFiles

BEGINS = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)
ENDS = dt.datetime(2124, 1, 1, tzinfo=dt.UTC)


@dataclass(frozen=True)
class Authority:
    """Signs certificates; its own is in a file."""

    directory: Path
    key: Ed25519PrivateKey

    @classmethod
    def made(cls, directory: Path) -> "Authority":
        authority = cls(directory, Ed25519PrivateKey.generate())
        (directory / "ca.pem").write_bytes(authority._signed("authority", authority.key, (), is_ca=True))
        return authority

    @property
    def file(self) -> Path:
        return self.directory / "ca.pem"

    def node(self, name: str, *domains: str) -> TlsFiles:
        """Files of a node with that common name and these dNSNames."""
        key = Ed25519PrivateKey.generate()
        certificate, keyfile = self.directory / f"{name}.pem", self.directory / f"{name}.key"
        certificate.write_bytes(self._signed(name, key, domains, is_ca=False))
        keyfile.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return TlsFiles(certificate=certificate, key=keyfile, authorities=self.file)

    def _signed(self, name: str, key: Ed25519PrivateKey, domains: tuple[str, ...], *, is_ca: bool) -> bytes:
        def subject(text: str) -> x509.Name:
            return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])

        builder = (
            x509.CertificateBuilder()
            .subject_name(subject(name))
            .issuer_name(subject("authority"))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(BEGINS)
            .not_valid_after(ENDS)
            .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
        )
        if domains:
            builder = builder.add_extension(
                x509.SubjectAlternativeName([x509.DNSName(d) for d in domains]), critical=False
            )
        return builder.sign(self.key, None).public_bytes(Encoding.PEM)
