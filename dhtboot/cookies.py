"""Address cookies: nobody gets a large answer at an address where it does not receive (as in RFC 7873)."""

import hashlib
from collections import OrderedDict
from random import Random
from typing import Final

from dhtboot.ids import Address

COOKIE_BYTES: Final = 8
PEERS_MAX: Final = 4096
"Cookies of others that are remembered; one forgotten costs one round trip."


class CookieJar:
    """Makes cookies for askers, checks them, and keeps those that others gave us."""

    def __init__(self, rng: Random, *, rotation_s: float, now: float) -> None:
        self._rng = rng
        self._rotation_s = rotation_s
        self._rotate_at = now + rotation_s
        self._secret = self._former = rng.randbytes(16)
        self._received: OrderedDict[Address, bytes] | None = None  # until there is one: many nodes never get any

    def make(self, asker: Address, now: float) -> bytes:
        """The cookie for an asker at this address."""
        if now >= self._rotate_at:
            self._former, self._secret = self._secret, self._rng.randbytes(16)
            self._rotate_at = now + self._rotation_s
        return _mac(self._secret, asker)

    def check(self, cookie: bytes, asker: Address, now: float) -> bool:
        """Whether an asker shows a cookie of the present or the former secret."""
        if len(cookie) != COOKIE_BYTES:
            return False
        return cookie in {self.make(asker, now), _mac(self._former, asker)}

    def keep(self, giver: Address, cookie: bytes) -> None:
        """Remember what a peer wants to see with our next request."""
        if len(cookie) != COOKIE_BYTES:
            return
        received = self._received
        if received is None:
            received = self._received = OrderedDict()
        received[giver] = cookie
        received.move_to_end(giver)
        if len(received) > PEERS_MAX:
            received.popitem(last=False)

    def for_peer(self, peer: Address) -> bytes:
        """The cookie to show to a peer, empty at first contact."""
        return b"" if self._received is None else self._received.get(peer, b"")


def _mac(secret: bytes, address: Address) -> bytes:
    text = f"{address[0]} {address[1]}".encode()
    return hashlib.blake2s(text, key=secret, digest_size=COOKIE_BYTES).digest()
