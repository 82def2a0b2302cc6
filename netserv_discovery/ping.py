"""PING: does a node answer where its record says, with the key of its record, and how far is it.

Over UDP. An asker without a cookie gets one, and a PONG for the next PING that shows it, so nobody has a node sign for
addresses that he made up. A PING is padded: no answer is longer, so there is nothing to gain from a false source.
The PONG is signed over the asker's nonce, so it cannot be one of before.

    PING    magic 4, version 1, kind 1, nonce 16, cookie 8 (zeros if it has none), zeros to 128
    COOKIE  magic 4, version 1, kind 2, nonce 16, cookie 8
    PONG    magic 4, version 1, kind 3, nonce 16, public key 32, load 1, signature 64
"""

import math
import struct
from collections import Counter
from enum import IntEnum, StrEnum
from random import Random
from typing import Final, TypeAlias

import msgspec

from dhtboot.cookies import COOKIE_BYTES, CookieJar
from dhtboot.ids import Address
from dhtboot.limits import TokenBuckets
from mdht.signing import PUBLIC_KEY_BYTES, SigningKey, verify
from mdht.throttle import source_group
from netserv_discovery.errors import LocalProtocolError, Refusal, RemoteProtocolError
from netserv_discovery.record import LOAD_MAX, SIGNATURE_BYTES

VERSION: Final = 1
PING_BYTES: Final = 128
"Of a PING: one more than the longest answer."
NONCE_BYTES: Final = 16
NO_COOKIE: Final = bytes(COOKIE_BYTES)
_MAGIC: Final = b"NSpg"
_HEAD: Final = struct.Struct(f"!4sBB{NONCE_BYTES}s")
_CONTEXT: Final = b"netserv pong 1\0"


class Kind(IntEnum):
    """Messages."""

    PING = 1
    COOKIE = 2
    PONG = 3


class Ping(msgspec.Struct, frozen=True, gc=False):
    """Asks whether a node is there."""

    nonce: bytes
    cookie: bytes = NO_COOKIE


class Cookie(msgspec.Struct, frozen=True, gc=False):
    """Answers a PING that has shown no valid cookie."""

    nonce: bytes
    cookie: bytes


class Pong(msgspec.Struct, frozen=True, gc=False):
    """The node is there."""

    nonce: bytes
    public_key: bytes
    load: int
    "Tenths, at this moment."
    signature: bytes

    @property
    def signed(self) -> bool:
        """Whether the owner of the key has signed it."""
        return verify(self.public_key, _signed_bytes(self.nonce, self.public_key, self.load), self.signature)


Packet: TypeAlias = Ping | Cookie | Pong


def pong(nonce: bytes, key: SigningKey, load: int) -> Pong:
    """A signed answer."""
    return Pong(nonce, key.public_key, load, key.sign(_signed_bytes(nonce, key.public_key, load)))


def encode(packet: Packet) -> bytes:
    """Return the bytes of a datagram."""
    match packet:
        case Ping(nonce=nonce, cookie=cookie):
            return (_HEAD.pack(_MAGIC, VERSION, Kind.PING, nonce) + cookie).ljust(PING_BYTES, b"\0")
        case Cookie(nonce=nonce, cookie=cookie):
            return _HEAD.pack(_MAGIC, VERSION, Kind.COOKIE, nonce) + cookie
        case Pong(nonce=nonce, public_key=public_key, load=load, signature=signature):
            return _HEAD.pack(_MAGIC, VERSION, Kind.PONG, nonce) + public_key + bytes((load,)) + signature


def decode(data: bytes) -> Packet:
    """Return what a datagram says.

    Raises:
        RemoteProtocolError: nothing that we know.
    """
    if len(data) < _HEAD.size or data[:4] != _MAGIC:
        raise RemoteProtocolError("not a PING, COOKIE or PONG")
    _, version, kind, nonce = _HEAD.unpack_from(data)
    if version != VERSION:
        raise RemoteProtocolError(f"PING of version {version}; {VERSION} is read", code=Refusal.VERSION)
    rest = data[_HEAD.size :]
    if kind == Kind.PING and len(data) == PING_BYTES and not any(rest[COOKIE_BYTES:]):
        return Ping(nonce, rest[:COOKIE_BYTES])
    if kind == Kind.COOKIE and len(rest) == COOKIE_BYTES:
        return Cookie(nonce, rest)
    if kind == Kind.PONG and len(rest) == PUBLIC_KEY_BYTES + 1 + SIGNATURE_BYTES:
        load = rest[PUBLIC_KEY_BYTES]
        if load <= LOAD_MAX:
            return Pong(nonce, rest[:PUBLIC_KEY_BYTES], load, rest[PUBLIC_KEY_BYTES + 1 :])
    raise RemoteProtocolError(f"kind {kind} in {len(data)} B is no PING, COOKIE or PONG")


class ResponderConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of a node that answers."""

    cookie_rotation_s: float = 120.0
    "A cookie is good for one to two of these."
    pongs_per_s: float = 20.0
    "To one network (/24, /48), each a signature of 30 us."
    pongs_burst: float = 60.0
    all_pongs_per_s: float = 2_000.0
    "To all: 6 % of a processor."
    all_pongs_burst: float = 2_000.0


class Responder:
    """Answers PINGs.

    Args:
        key: the node's.
        rng: of the secrets behind its cookies: one that nobody can guess.
        now: seconds.
        config: limits.
    """

    def __init__(self, key: SigningKey, rng: Random, now: float, config: ResponderConfig | None = None) -> None:
        config = config or ResponderConfig()
        self._key = key
        self._jar = CookieJar(rng, rotation_s=config.cookie_rotation_s, now=now)
        self._networks = TokenBuckets(rate_per_s=config.pongs_per_s, burst=config.pongs_burst)
        self._all = TokenBuckets(rate_per_s=config.all_pongs_per_s, burst=config.all_pongs_burst)
        self.load = 0
        "Tenths; the shell puts a newer one in its place."
        self.counters: Counter[str] = Counter()

    def receive(self, data: bytes, source: Address, now: float) -> bytes | None:
        """The answer to a datagram; None for what deserves none."""
        try:
            packet = decode(data)
        except RemoteProtocolError as error:
            self.counters[f"refused_{error.code}"] += 1
            return None
        if not isinstance(packet, Ping):
            self.counters["refused_unasked"] += 1
            return None
        if not self._jar.check(packet.cookie, source, now):
            self.counters["cookies"] += 1
            return encode(Cookie(packet.nonce, self._jar.make(source, now)))
        if self._networks.take(source_group(source[0]), now) or self._all.take("", now):
            self.counters["over_rate"] += 1
            return None
        self.counters["pongs"] += 1
        return encode(pong(packet.nonce, self._key, self.load))


class Outcome(StrEnum):
    """What came of asking."""

    ANSWERED = "answered"
    WRONG_KEY = "wrong_key"
    "Somebody else is there."
    SILENT = "silent"


class Target(msgspec.Struct, frozen=True, gc=False):
    """Whom to ask."""

    public_key: bytes
    address: Address


class Send(msgspec.Struct, frozen=True, gc=False):
    """Effect: send a datagram."""

    data: bytes
    to: Address


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """Effect: it is known."""

    target: Target
    outcome: Outcome
    rtt_s: float = math.inf
    "The smaller of the round trips."
    load: int | None = None
    "Tenths, as the node says now."


PingEffect: TypeAlias = Send | Measured


class PingerConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of an asker."""

    again_s: float = 0.4
    "A PING without an answer is sent again after that; the farthest places are 0.3 s away."
    timeout_s: float = 1.0
    "After which a node is silent. Who needs an answer sooner need not wait for that."
    sends_max: int = 4
    "Datagrams to one target: two that a sound exchange has, each once again."
    asked_max: int = 512
    "Targets at a time: twice what one search asks."


class _Asked:
    __slots__ = ("again_at", "best_s", "ends_at", "nonce", "sends", "sent_at", "target")

    def __init__(self, target: Target, ends_at: float) -> None:
        self.target, self.ends_at = target, ends_at
        self.nonce = b""
        self.sends = 0
        self.sent_at = self.again_at = math.inf
        self.best_s = math.inf


class Pinger:
    """Asks nodes whether they are there, and how far.

    Args:
        rng: of nonces: one that nobody can guess.
        now: seconds.
        config: limits.
    """

    def __init__(self, rng: Random, now: float, config: PingerConfig | None = None) -> None:
        self._rng = rng
        self._config = config or PingerConfig()
        self._jar = CookieJar(rng, rotation_s=math.inf, now=now)
        self._asked: dict[Target, _Asked] = {}
        self._nonces: dict[bytes, _Asked] = {}
        self.counters: Counter[str] = Counter()

    def ask(self, target: Target, now: float) -> list[PingEffect]:
        """Ask a node; `Measured` comes for it, once.

        Raises:
            LocalProtocolError: too many are asked, or this one is asked already.
        """
        if target in self._asked or len(self._asked) >= self._config.asked_max:
            raise LocalProtocolError(f"it is asked already, or {self._config.asked_max} others are")
        asked = self._asked[target] = _Asked(target, now + self._config.timeout_s)
        return [self._send(asked, now)]

    def receive(self, data: bytes, source: Address, now: float) -> list[PingEffect]:
        """Take a datagram in."""
        try:
            packet = decode(data)
        except RemoteProtocolError as error:
            self.counters[f"refused_{error.code}"] += 1
            return []
        asked = None if isinstance(packet, Ping) else self._nonces.get(packet.nonce)
        if asked is None or asked.target.address != source:
            self.counters["refused_unasked"] += 1
            return []
        if isinstance(packet, Cookie):
            return self._on_cookie(asked, packet, now)
        return self._on_pong(asked, packet, now) if isinstance(packet, Pong) else []

    def tick(self, now: float) -> list[PingEffect]:
        """Send again, and give up."""
        effects: list[PingEffect] = []
        for asked in list(self._asked.values()):
            if now >= asked.ends_at:
                effects.append(self._end(asked, Measured(target=asked.target, outcome=Outcome.SILENT)))
            elif now >= asked.again_at:
                effects.append(self._send(asked, now))
        return effects

    def next_deadline(self) -> float:
        """When to tick; `math.inf` for never."""
        return min((min(asked.ends_at, asked.again_at) for asked in self._asked.values()), default=math.inf)

    def _send(self, asked: _Asked, now: float) -> Send:
        # A new nonce each time: an answer tells which datagram it is for, so its round trip is certain.
        self._nonces.pop(asked.nonce, None)
        asked.nonce = self._rng.randbytes(NONCE_BYTES)
        self._nonces[asked.nonce] = asked
        asked.sends += 1
        asked.sent_at = now
        asked.again_at = now + self._config.again_s if asked.sends < self._config.sends_max else math.inf
        cookie = self._jar.for_peer(asked.target.address) or NO_COOKIE
        return Send(encode(Ping(asked.nonce, cookie)), asked.target.address)

    def _on_cookie(self, asked: _Asked, packet: Cookie, now: float) -> list[PingEffect]:
        asked.best_s = min(asked.best_s, now - asked.sent_at)
        self._jar.keep(asked.target.address, packet.cookie)
        if asked.sends >= self._config.sends_max:
            return []
        return [self._send(asked, now)]

    def _on_pong(self, asked: _Asked, packet: Pong, now: float) -> list[PingEffect]:
        if packet.public_key != asked.target.public_key:
            return [self._end(asked, Measured(target=asked.target, outcome=Outcome.WRONG_KEY))]
        if not packet.signed:
            self.counters["refused_bad_signature"] += 1
            return []
        rtt_s = min(asked.best_s, now - asked.sent_at)
        measured = Measured(target=asked.target, outcome=Outcome.ANSWERED, rtt_s=rtt_s, load=packet.load)
        return [self._end(asked, measured)]

    def _end(self, asked: _Asked, measured: Measured) -> Measured:
        del self._asked[asked.target]
        self._nonces.pop(asked.nonce, None)
        self.counters[measured.outcome] += 1
        return measured


def _signed_bytes(nonce: bytes, public_key: bytes, load: int) -> bytes:
    return _CONTEXT + nonce + public_key + bytes((load,))
