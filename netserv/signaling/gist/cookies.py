"""Cookies: a Response belongs to a Query, a Confirm to a Response, without state at the responder (section 8.5)."""

import hmac
import struct
from random import Random
from typing import Final, NamedTuple

from netserv.signaling.gist.addresses import PackedAddress

QUERY_COOKIE_SIZE: Final = 16
"Bytes; nobody guesses 128 bits."
SECRET_LIFE_S: Final = 30.0
"""A cookie is good for 30 to 60 seconds: an association is to be set up within 30 (section 5.7.1), and a Confirm that
somebody recorded is worth nothing soon after. The independent implementation has 300."""

_CLEAR: Final = struct.Struct("!4sQIHBB")
_MAC_SIZE: Final = 16
_PROPOSAL_SENT: Final = 1
_TRANSLATED: Final = 2


class CookieFacts(NamedTuple):
    """What the Query was like; all that is not in the Confirm itself."""

    interface: int
    port: int
    "UDP source port of the Query: the peer's."
    distance: int
    "IP hops from the peer; 0 where that is not known."
    stamp: int
    "Microseconds of this node's clock: a row does not go back to what an older handshake said."
    proposal_sent: bool = False
    "The Response had a Stack-Proposal, which the Confirm has to repeat where it comes on an association."
    translated_mri: bytes | None = None
    "The flow here, where a NAT has another one on the peer's side (section 7.2.3)."
    translated_address: PackedAddress | None = None


def query_cookie(rng: Random) -> bytes:
    """A new Query-Cookie."""
    return rng.getrandbits(8 * QUERY_COOKIE_SIZE).to_bytes(QUERY_COOKIE_SIZE, "big")


class ResponderCookies:
    """Makes and checks Responder-Cookies with a secret that changes.

    A cookie is the number of the secret (random: not to be guessed, and checked before any hashing), the facts of the
    Query, and the MAC over both, the peer and the flow. After `SECRET_LIFE_S` there is a new secret; the one before
    still counts.
    """

    __slots__ = ("_current", "_previous", "_rng", "_until")

    def __init__(self, rng: Random, now: float) -> None:
        self._rng = rng
        self._previous = self._current = self._new()
        self._until = now + SECRET_LIFE_S

    def issue(  # noqa: D417 - the rest are the fields of the messages
        self,
        facts: CookieFacts,
        *,
        identity: bytes,
        address: PackedAddress,
        mri: bytes,
        sid: bytes,
        nslp_id: int,
        now: float,
    ) -> bytes:
        """Return a cookie for a Response.

        Args:
            facts: what is to be known of the Query when the Confirm comes.
            mri: value of the MRI as it will be in the Confirm.
        """
        self._roll(now)
        number, secret = self._current
        flags = _PROPOSAL_SENT if facts.proposal_sent else 0
        tail = b""
        if facts.translated_mri is not None:
            flags |= _TRANSLATED
            there = facts.translated_address or b""
            tail = bytes((len(facts.translated_mri), len(there))) + facts.translated_mri + there
            tail += bytes(-len(tail) % 4)
            address = b""  # the peer's own address for itself, which is not known here
        clear = _CLEAR.pack(number, facts.stamp, facts.interface, facts.port, facts.distance, flags)
        return clear + _mac(secret, clear + tail, identity, address, mri, sid, nslp_id) + tail

    def check(
        self,
        cookie: bytes,
        *,
        identity: bytes,
        address: PackedAddress,
        mri: bytes,
        sid: bytes,
        nslp_id: int,
        now: float,
    ) -> CookieFacts | None:
        """The facts in a cookie of ours for exactly that peer and flow; None for any other bytes."""
        self._roll(now)
        if len(cookie) < _CLEAR.size + _MAC_SIZE:
            return None
        number, stamp, interface, port, distance, flags = _CLEAR.unpack_from(cookie)
        secret = self._secret(number)
        if secret is None:
            return None
        mac = cookie[_CLEAR.size : _CLEAR.size + _MAC_SIZE]
        tail = cookie[_CLEAR.size + _MAC_SIZE :]
        if flags & _TRANSLATED:
            address = b""
        good = _mac(secret, cookie[: _CLEAR.size] + tail, identity, address, mri, sid, nslp_id)
        if not hmac.compare_digest(mac, good):
            return None
        translated_mri = translated_address = None
        if flags & _TRANSLATED:
            size = tail[0]
            translated_mri, translated_address = tail[2 : 2 + size], tail[2 + size : 2 + size + tail[1]]
        return CookieFacts(
            interface, port, distance, stamp, bool(flags & _PROPOSAL_SENT), translated_mri, translated_address
        )

    def _secret(self, number: bytes) -> bytes | None:
        for known, secret in (self._current, self._previous):
            if number == known:
                return secret
        return None

    def _roll(self, now: float) -> None:
        if now >= self._until:
            # After a long silence the one before is too old as well.
            self._previous = self._current if now < self._until + SECRET_LIFE_S else self._new()
            self._current = self._new()
            self._until = now + SECRET_LIFE_S

    def _new(self) -> tuple[bytes, bytes]:
        return self._rng.getrandbits(32).to_bytes(4, "big"), self._rng.getrandbits(256).to_bytes(32, "big")


def _mac(  # the lengths in front: no two different lists of fields give the same bytes
    secret: bytes, facts: bytes, identity: bytes, address: bytes, mri: bytes, sid: bytes, nslp_id: int
) -> bytes:
    head = struct.pack("!HHHH", len(facts), len(identity), len(address), nslp_id)
    return hmac.digest(secret, b"".join((head, facts, identity, address, sid, mri)), "sha256")[:_MAC_SIZE]
