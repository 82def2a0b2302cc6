"""Settings of a GIST node, with the two timing profiles."""

from typing import Final, Self

import msgspec

from netserv.errors import LocalProtocolError
from netserv.signaling.gist.addresses import GIST_PORT

NSLP_NETSERV: Final = 32704
"NSLPID of NetServ, of the private range (RFC 5971 section 9)."


class GistConfig(msgspec.Struct, frozen=True, kw_only=True):
    """One node; times in seconds."""

    port: int = GIST_PORT
    "Source port of Queries; a node that others find on their paths has 270, one that only sends may have any."
    first_timeout_s: float = 0.5
    "T1 (section 5.3.3)."
    longest_timeout_s: float = 4.0
    "T2: no Query follows once the timer that reached it has run out. 32.0 in RFC 5971."
    own_source: bool = True
    "S: Queries have our own address as source, so that ICMP comes back to us; RFC 5971 has the flow's source first."
    router_alert: bool = False
    "Put the Router Alert Option on Queries; the catching does not need it."
    validity_s: float = 30.0
    "Proposed lifetime of routing state."
    hold_time_s: float = 30.0
    "MA-Hold-Time announced to peers."
    offer_secure: bool = False
    "Offer TLS beside TCP; a certificate is needed."
    association_port: int | None = GIST_PORT
    "TCP port that peers connect to; None: none, this node only opens associations."
    secure_port: int | None = None
    sessions_max: int = 120_000
    "Rows of routing state, two for each session on whose path this node is; a row has about 1 KB."
    associations_max: int = 1_024
    queries_per_s: float = 20_000.0
    "Candidates treated a second, all sources together; the excess is dropped and counted."
    queue_max: int = 64
    "Messages that wait for one handshake."
    queue_bytes_max: int = 16_777_216
    "Bytes that wait for handshakes and for connections, all sessions together."
    datagrams_per_s: float = 20_000.0
    "D-mode messages that this node makes a second, of every kind; 5 % of a link of 1 Gbit/s are 10,000 of the longest."
    errors_per_s: float = 5.0
    "Error messages to one address."
    half_open_max: int = 256
    "Associations that others opened and on which no valid Confirm has come yet; the oldest goes for a new one."
    delayed_state: bool = True
    "No state before a valid Confirm; else a Query makes some, and the Response is sent until the Confirm is here."
    upstream_queries: bool = False
    "Look for a neighbour against the flow too; works for one that is one IP hop away (section 5.8.1.3)."
    inactive_s: float = 120.0
    "Routing state without messages for so long is not refreshed, unless the NSLP sets another lifetime."
    cookie_errors: bool = False
    "Answer a wrong Responder-Cookie; makes the node a source of backscatter, for finding faults only (section 8.5)."
    stream_message_max: int = 16_384
    "Bytes of one message on an association; the length field allows 262,148."

    def __post_init__(self) -> None:
        if not 0.0 < self.first_timeout_s <= self.longest_timeout_s:
            raise LocalProtocolError("the first timeout is over 0 and not over the longest")
        if self.validity_s < 1.0 or self.hold_time_s < 1.0:
            raise LocalProtocolError("routing state and associations live for a second at least")
        if min(self.queries_per_s, self.datagrams_per_s, self.errors_per_s) <= 0.0:
            raise LocalProtocolError("a rate is over 0")
        if min(self.sessions_max, self.associations_max, self.half_open_max, self.queue_max) < 1:
            raise LocalProtocolError("a limit is 1 at least")

    @classmethod
    def rfc(cls) -> Self:
        """The defaults of RFC 5971: 7 Queries, 63.5 s until nobody is there, flow source and Router Alert."""
        return cls(longest_timeout_s=32.0, own_source=False, router_alert=True)
