"""Who follows which key of this node. Every host knows all of them, and the one that hears of a change tells them.

Some hosts are reached only by the one that they have asked, which then passes on what another one hears.

A subscription ends unless it is renewed. A host that has just come is told of those there are; of what it is not told
it hears with the next renewal, and until then a subscriber sees by the digest, at that renewal, what it has missed.
"""

from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from typing import Any, Final

import msgspec

from dhtboot.ids import Address, id_bytes, id_from
from mdht.keeping.config import KeepingConfig
from mdht.messages import Pushed
from mdht.records import Copy
from mdht.subnet.effects import Multicast, Unicast
from mdht.subnet.messages import Changed, Message, State, Subscribe
from mdht.subnet.push import Peer

LEASE_MAX_S: Final = 0xFFFF
"What the wire can say."

Tell = Callable[[Peer, Pushed, float], None]


class Subscription(msgspec.Struct, frozen=True):
    """One of them."""

    peer: Peer
    ends_at: float
    via: bytes = b""
    "The host of this node that reaches him; empty where all do."


class Subscriptions:
    """As one host knows them.

    Args:
        me: this node.
        hid: this host.
        config: limits.
        tell: tells a host of another node something.
        address_of: where a host of this node is; None for one that is not there.
        out: where effects go.
        counters: of what was refused.
    """

    def __init__(
        self,
        me: int,
        hid: bytes,
        config: KeepingConfig,
        tell: Tell,
        address_of: Callable[[bytes], Address | None],
        out: list[Any],
        counters: Counter[str],
    ) -> None:
        self._me = me
        self._hid = hid
        self._config = config
        self._tell = tell
        self._address_of = address_of
        self._out = out
        self._counters = counters
        self._by_key: dict[bytes, OrderedDict[Address, Subscription]] = {}
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def add(self, key: bytes, peer: Peer, lease_s: float, now: float, *, held_open: bool = False) -> float:
        """A host wants to follow a key, or to end that; the siblings are told.

        Args:
            key: 20 bytes.
            peer: the host.
            lease_s: for so long; 0 ends it.
            now: the time.
            held_open: only this host reaches him.

        Returns:
            The seconds that it is remembered; 0 when it was refused, or has ended it.
        """
        granted_s = min(lease_s, self._config.listen_lease_s) if lease_s > 0 else 0.0  # also of a NaN
        before = self._find(key, peer.address)
        fresh = Subscription(peer, now + granted_s, self._hid if held_open else b"")
        if granted_s and not self._note(key, fresh, now):
            self._counters["subscriptions_refused"] += 1
            return 0.0
        if not granted_s and not self._forget(key, peer.address):
            return 0.0
        known = before is not None and before.via == fresh.via and before.ends_at - now > granted_s / 2
        if not known or not granted_s:
            self._out.append(Multicast(_told(key, fresh, granted_s)))
        return granted_s

    def receive(self, message: Message, now: float) -> None:
        """A sibling tells of a subscription."""
        if isinstance(message, Subscribe):
            peer = Peer(id_from(message.node_id), message.hid, message.address)
            if not message.lease_s:
                self._forget(message.key, peer.address)
            else:
                lease_s = min(float(message.lease_s), self._config.listen_lease_s)
                self._note(message.key, Subscription(peer, now + lease_s, message.via or b""), now)

    def introduce(self, now: float) -> None:
        """A sibling has come, and it is this host that tells it what there is."""
        told = 0
        for key, peers in self._by_key.items():
            for one in peers.values():
                if told >= self._config.introduced_max:
                    return
                if one.ends_at > now:
                    told += 1
                    self._out.append(Multicast(_told(key, one, one.ends_at - now)))

    def push(self, copy: Copy, now: float) -> Iterator[Copy]:
        """Tell all who follow a record's key of it; yields it if this very host does."""
        peers = self._by_key.get(copy.record.key)
        if peers is None:
            return
        siblings: dict[Address, None] = {}
        for address, one in list(peers.items()):
            passes_on = self._address_of(one.via) if one.via not in {b"", self._hid} else None
            if one.ends_at <= now:
                self._forget(copy.record.key, address)
            elif passes_on is not None:
                siblings[passes_on] = None
            elif one.peer.node_id != self._me:
                self._tell(one.peer, Pushed((copy,)), now)
            elif one.peer.hid != self._hid:
                siblings[address] = None
            else:
                yield copy
        self._out += [Unicast(to, Changed(record=msgspec.msgpack.encode(copy))) for to in siblings]

    def pass_on(self, copy: Copy, now: float) -> int:
        """A sibling has heard of a change: tell those whom only this host reaches; how many there are."""
        peers = self._by_key.get(copy.record.key)
        mine = [one.peer for one in (peers or {}).values() if one.via == self._hid and one.ends_at > now]
        for peer in mine:
            self._tell(peer, Pushed((copy,)), now)
        return len(mine)

    # ---- inside --------------------------------------------------------------------------------------------------

    def _find(self, key: bytes, address: Address) -> Subscription | None:
        peers = self._by_key.get(key)
        return None if peers is None else peers.get(address)

    def _note(self, key: bytes, one: Subscription, now: float) -> bool:
        peer, peers = one.peer, self._by_key.get(key)
        if peers is None or peer.address not in peers:
            self._make_room(key, now)
            peers = self._by_key.setdefault(key, OrderedDict())
            if len(peers) >= self._config.subscribers_per_key_max or self._size >= self._config.subscriptions_max:
                if not peers:
                    del self._by_key[key]
                return False
            self._size += 1
        peers[peer.address] = one
        peers.move_to_end(peer.address)
        return True

    def _forget(self, key: bytes, address: Address) -> bool:
        peers = self._by_key.get(key)
        if peers is None or peers.pop(address, None) is None:
            return False
        self._size -= 1
        if not peers:
            del self._by_key[key]
        return True

    def _make_room(self, key: bytes, now: float) -> None:
        # Those renewed longest ago come first. Other keys' leftovers are cleared only when the node is full.
        keys = list(self._by_key) if self._size >= self._config.subscriptions_max else [key]
        for each in keys:
            peers = self._by_key.get(each) or OrderedDict()
            for address in [address for address, one in peers.items() if one.ends_at <= now]:
                self._forget(each, address)


def _told(key: bytes, one: Subscription, lease_s: float) -> Subscribe:
    # Rounded up, for 0 is the end.
    rounded_s = min(int(lease_s) + (lease_s % 1 > 0), LEASE_MAX_S)
    peer, via = one.peer, one.via or None
    node_id = id_bytes(peer.node_id)
    return Subscribe(key=key, node_id=node_id, hid=peer.hid, address=peer.address, lease_s=rounded_s, via=via)


def introduces(me: bytes, newcomer: bytes, state: State, ready: list[bytes]) -> bool:
    """Whether it is this host that tells one that has become something else of the subscriptions."""
    return state is State.READY and newcomer != me and [hid for hid in ready if hid != newcomer][:1] == [me]
