"""Settings of a signalling daemon."""

from pathlib import Path
from typing import Literal, TypeAlias

import msgspec

from netserv.errors import LocalProtocolError
from netserv.signaling.control import DEFAULT_NAME
from netserv.signaling.gist.addresses import GIST_PORT, PackedAddress
from netserv.signaling.profiles import Profile

Catching: TypeAlias = Literal["auto", "tproxy", "nfqueue", "none"]


class DaemonConfig(msgspec.Struct, frozen=True, kw_only=True):
    """One daemon."""

    state_dir: Path
    node_id: str | None = None
    "None: the one of the state directory."
    profile: Profile = "netserv"
    validity_s: float = 30.0
    "That routing state lives without a refresh, which comes after a half to three quarters of it."
    catching: Catching = "auto"
    interfaces: tuple[str, ...] = ()
    "Only what comes by these is treated, other packets go their way; none: all."
    neighbours: tuple[PackedAddress, ...] = ()
    "Nodes that are told of off-path requests beside those that this one has had to do with."
    port: int = GIST_PORT
    "UDP and TCP."
    tls: bool = False
    "Offer TLS beside TCP."
    tls_only: bool = False
    "No plain TCP, and no next node without TLS."
    tls_port: int = 0
    "0: a free one."
    tls_certificate: Path | None = None
    "None: one that the node's own key has signed."
    tls_key: Path | None = None
    tls_authorities: Path | None = None
    tls_clients_must_show: bool = False
    authorised_peers: Path | None = None
    "File of the list; None: everybody."
    publishers: Path | None = None
    "None: nobody's signed requests are accepted."
    public_probes: bool = False
    thesis_mode: bool = False
    sign_entries: bool = False
    "Sign this node's entries with its key: 99 bytes of each, so that answers by datagrams have room for one node only."
    control: str = DEFAULT_NAME

    def __post_init__(self) -> None:
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise LocalProtocolError("a certificate comes with its key: give both --tls-cert and --tls-key")
        if not self.tls and (
            self.tls_certificate or self.tls_authorities or self.tls_port or self.tls_clients_must_show
        ):
            raise LocalProtocolError("certificates and ports of TLS are of no use without --tls")
        if self.tls_only and not self.tls:
            raise LocalProtocolError("TLS only, and no TLS: nobody could be associated with")
        if self.catching != "none" and self.port != GIST_PORT:
            raise LocalProtocolError(
                f"packets that pass are for port {GIST_PORT}: another --port needs --interceptor none"
            )
