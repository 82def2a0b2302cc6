"""TLS of messaging associations (RFC 5971 section 5.7.3): contexts, and the names that a peer has proved.

Without certificates of an authority, associations are encrypted, and the peer shows only which key it has: both ends
sign certificates themselves. With one, both ends are verified by it.
"""

import hashlib
import ssl
from pathlib import Path
from typing import Any, Final

import msgspec

from netserv.errors import LocalProtocolError
from netserv.signaling.transport.authorised_peers import FINGERPRINT

NAMES_MAX: Final = 64
"Of one certificate that are looked at; one node has a few."


class TlsFiles(msgspec.Struct, frozen=True, kw_only=True):
    """What a node shows, and by what it judges others; PEM files."""

    certificate: Path
    "With the intermediate ones after it."
    key: Path
    authorities: Path | None = None
    """Certificates that peers' ones must lead to: of authorities, or those of the peers themselves. None: any
    certificate will do, and none is asked of clients."""
    clients_must_show: bool = False
    "Refuse clients without a certificate."

    def __post_init__(self) -> None:
        if self.clients_must_show and self.authorities is None:
            raise LocalProtocolError("certificates of clients are verified by authorities: give --tls-ca too")


class TlsContexts(msgspec.Struct, frozen=True):
    """Of one node, which is server and client."""

    server: ssl.SSLContext
    client: ssl.SSLContext


def contexts(files: TlsFiles) -> TlsContexts:
    """Load the files.

    Raises:
        LocalProtocolError: one cannot be read, or key and certificate do not belong together.
    """
    server, client = _context(ssl.PROTOCOL_TLS_SERVER, files), _context(ssl.PROTOCOL_TLS_CLIENT, files)
    if files.authorities is not None:
        # A server must request a certificate (section 5.7.3); whether a client has one is its operator's choice.
        server.verify_mode = ssl.CERT_REQUIRED if files.clients_must_show else ssl.CERT_OPTIONAL
        client.verify_mode = ssl.CERT_REQUIRED
    return TlsContexts(server, client)


def without_certificate() -> TlsContexts:
    """For a node that only opens associations, shows nothing, and judges nobody: it is protected from listeners."""
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    for context in (server, client):
        _set_rules(context)
    return TlsContexts(server, client)


def names_of(connection: ssl.SSLObject | Any) -> tuple[str, ...]:
    """The names that the other end has proved: its domains if an authority vouches for them, then its fingerprint.

    Args:
        connection: after its handshake; anything with `getpeercert`.
    """
    binary = connection.getpeercert(binary_form=True)
    if not binary:
        return ()
    told: Any = connection.getpeercert() or {}  # empty where nobody has verified it
    domains = [value for kind, value in told.get("subjectAltName", ()) if kind == "DNS"]
    if not domains:
        # The last of several is the most specific one.
        domains = [value for names in told.get("subject", ()) for kind, value in names if kind == "commonName"][-1:]
    return (*domains[:NAMES_MAX], FINGERPRINT + hashlib.sha256(binary).hexdigest())


def _context(protocol: int, files: TlsFiles) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_2  # the highest common one is chosen, which is 1.3 with our own kind
    context.check_hostname = (
        False  # peers are found by their place on a path; the list of authorised peers judges names
    )
    context.verify_mode = ssl.CERT_NONE
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # so that a peer's own certificate may be among authorities
    path: Path | None = files.certificate
    try:
        context.load_cert_chain(files.certificate, files.key)
        path = files.authorities
        if path is not None:
            context.load_verify_locations(path)
    except (OSError, ssl.SSLError) as error:
        where = f"{files.certificate} with key {files.key}" if path == files.certificate else path
        raise LocalProtocolError(f"TLS: {where}: {error.strerror or error}") from error
    return context


def _set_rules(context: ssl.SSLContext) -> None:
    context.minimum_version = ssl.TLSVersion.TLSv1_2  # the highest common one is chosen: 1.3 with our own kind
    context.check_hostname = False  # peers are found by their place on a path; authorised ones have a list of names
    context.verify_mode = ssl.CERT_NONE
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # so that a peer's own certificate may be among authorities
