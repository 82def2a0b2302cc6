"""Settings of the NSLP on one node."""

from typing import Self

import msgspec

from netserv.errors import LocalProtocolError
from netserv.signaling.gist.config import NSLP_NETSERV


class NslpConfig(msgspec.Struct, frozen=True, kw_only=True):
    """One node; times in seconds."""

    nslp_id: int = NSLP_NETSERV
    thesis_mode: bool = False
    "Demand no nonce, expires and flow: what the thesis signs can be sent again by whoever has heard it."
    public_probes: bool = False
    "Answer a PROBE that nobody has signed."
    secure: bool = False
    "Demand TLS to the next node, whatever the request came by."
    long_session_s: float = 3_600.0
    "A session declared long is kept for so long after its last request."
    expires_ahead_max_s: float = 3_600.0
    "A request must expire within that time: until then its nonce is remembered."
    clock_skew_s: float = 30.0
    "So long after its expiry a request is still taken."

    discovery_s: float = 7.5
    "GIST knows after that time that there is no next node: 0.5 + 1 + 2 + 4 s with the defaults of `GistConfig`."
    answer_within_s: float = 20.0
    "So long is waited for what comes from further down: on a lossy path two searches in a row take their full time."
    answer_step_s: float = 0.5
    "Less for each GIST hop that the request has come: who is nearer to the requester waits longer."
    ask_within_s: float = 40.0
    "Then a request of our own is given up; a TRIGGER, which has two paths to go, after twice that."
    resend_s: float = 2.0
    "Until a request of our own is sent again, then twice that, and so on: connections are cut, nodes start anew."
    resend_unreliable_s: float = 1.0
    """The same of datagrams, then every `resend_s`. Nodes on the path do so too, or few requests came
    through many lossy hops."""
    around_s: float = 20.0
    "So much longer where nodes around a place are to answer: each of them waits 15 s for those that it has told."
    retry_s: float = 1.0
    "Until a message is sent again that GIST could not deliver; at most one is sent again in that time."
    linger_s: float = 2.0
    "Routing state is released so long after the last answer: one that got lost is sent again on it."
    kept_s: float = 60.0
    "Answers are kept for whoever sends a request again."
    kept_unnumbered_s: float = 10.0
    "The same of requests without a nonce: later the same text is a refresh."

    pending_max: int = 4_096
    "Requests that wait for an answer from further down, and of 8 KiB each at most."
    pending_of_source_max: int = 512
    "Of these, towards one flow source: an eighth, so that it takes eight to shut out the others."
    kept_max: int = 1_024
    "Answers, of 16 KiB each at most."
    long_sessions_max: int = 65_536
    "Sessions declared long; what is more is short. Each takes about 400 bytes beside what GIST keeps of it."
    asks_max: int = 1_024
    "Requests of our own under way."
    triggers_max: int = 64
    "Of these, those that a TRIGGER has had sent."
    seen_max: int = 65_536
    "Nonces remembered, of known publishers only; each takes 500 bytes, with a long answer to a PROBE 4 KiB more."
    seen_of_publisher_max: int = 8_192
    "Of these, one publisher's: two a second for as long as they are remembered."
    unreliable_bytes_max: int = 380
    """Of a text in D-mode: 512 bytes of a GIST message where the path's MTU is not known (RFC 5971 section 4.3.3), less
    132 for header, IPv6 flow with ports, session, NLI with a peer identity of 16 bytes, header of the object."""

    def __post_init__(self) -> None:
        if min(self.discovery_s, self.answer_within_s, self.retry_s, self.resend_s) <= 0.0:
            raise LocalProtocolError("times of the NSLP are over 0")
        if self.answer_within_s <= self.discovery_s:
            raise LocalProtocolError("an answer takes longer than GIST's search for a next node")
        if self.ask_within_s <= self.answer_within_s:
            raise LocalProtocolError("who asks must wait longer than the nodes on the path")

    @classmethod
    def for_discovery(cls, discovery_s: float) -> Self:
        """Settings beside a GIST that searches for so long: 63.5 s with the defaults of RFC 5971."""
        return cls(discovery_s=discovery_s, answer_within_s=2 * discovery_s + 5.0, ask_within_s=2 * discovery_s + 25.0)
