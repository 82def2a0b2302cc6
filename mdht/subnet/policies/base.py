"""What all replication policies share: the interface, what they ask for, what they know of a key.

A policy is one host's. It says where the records of a key belong and what this host has to do when they are put or
looked up and when siblings come and go; a driver turns that into messages. Holders come in an order, and where the
host that a rule names does not act, the next one of that order does (mDHT design, section 9).
"""

from collections import OrderedDict
from collections.abc import Collection, Iterator, Sequence
from typing import Final, Protocol

import msgspec

from mdht.subnet.bounded import remember
from mdht.subnet.messages import HOSTS_MAX

REPLICAS_MAX: Final = 255
"What NOTE can tell."
NOTES_MAX: Final = 100_000
"Keys of which something is known that their rank does not tell: as many as a host's table has records."


class KeyStats(msgspec.Struct, frozen=True):
    """What NOTE tells of a key, and siblings of each key that they list for a newcomer."""

    wanted: int
    "Replicas."
    holders: tuple[bytes, ...]
    "The first of them, in the order of `targets`, at most 8."


class Scene(msgspec.Struct, frozen=True):
    """What a host sees when something happens.

    What a policy does for one key never depends on another one, so when a host comes or goes a driver with many keys
    may cut them into slices and tell of it with each; at any other time it shows all that it holds.
    """

    me: bytes
    ready: Sequence[bytes]
    "READY members, this host among them if it is; with or without whoever comes or goes just now."
    keys: Collection[bytes]
    "What this host holds. For a newcomer, when it is told of its own coming: what siblings say that they hold."
    now: float


class CopyTo(msgspec.Struct, frozen=True):
    """See to it that another host holds what this one still has under the key; it may have it already."""

    key: bytes
    hid: bytes


class PullFrom(msgspec.Struct, frozen=True):
    """Fetch the records of the key, or keep them if they are in a cache; from others if that host has none."""

    key: bytes
    hid: bytes


class DropAfterAck(msgspec.Struct, frozen=True):
    """Send another host what it lacks of the key, and drop the key when it has acknowledged that it holds it all."""

    key: bytes
    hid: bytes


class Announce(msgspec.Struct, frozen=True):
    """Say NOTE to all, once the copies of the same key that stand before it are acknowledged."""

    key: bytes
    stats: KeyStats


class Lost(msgspec.Struct, frozen=True):
    """No host of this node has the key any more: only the neighbours in the overlay may."""

    key: bytes


Action = CopyTo | PullFrom | DropAfterAck | Announce | Lost


class Policy(Protocol):
    """Where records belong, and what one host does about it. `str` gives the name that `policy_from` reads."""

    def targets(
        self, key: bytes, ready: Sequence[bytes], receiver: bytes | None = None, stats: KeyStats | None = None
    ) -> list[bytes]:
        """Who should hold a key, the first to act first.

        Args:
            key: 20 bytes.
            ready: READY members, in any order.
            receiver: the host that a record is being put at, if one is.
            stats: what is known of the key; see `stats`.
        """

    def stats(self, key: bytes) -> KeyStats | None:
        """What this host knows of a key beyond its rank, None for nothing."""

    def learn(self, key: bytes, stats: KeyStats, scene: Scene) -> None:
        """A sibling has told what it knows of a key, as it does for a newcomer."""

    def on_note(self, key: bytes, stats: KeyStats, scene: Scene) -> list[Action]:
        """Another host has said NOTE: where the key is from now on."""

    def on_store(self, key: bytes, scene: Scene) -> list[Action]:
        """A record was put at this host, from outside the node, and is held by it for now."""

    def on_lookup(self, key: bytes, fetcher: bytes | None, scene: Scene) -> list[Action]:
        """This host notices a lookup: its own, a WHOHAS heard, a FETCH answered; each once.

        Args:
            key: what is looked up.
            fetcher: the sibling that has got the value by it, if one has.
            scene: what this host sees.
        """

    def on_join(self, hid: bytes, scene: Scene) -> list[Action]:
        """A host comes: it is told so itself while it is JOINING, its siblings when it is READY."""

    def on_leave(self, hid: bytes, scene: Scene) -> list[Action]:
        """A host goes: it is told so itself before it hands over, its siblings when it has done so.

        One that goes without having handed over is dead to them.
        """

    def on_dead(self, hid: bytes, scene: Scene) -> list[Action]:
        """A host has crashed."""

    def tick(self, scene: Scene) -> list[Action]:
        """Act on the time."""

    def next_deadline(self) -> float:
        """When to call `tick` at the latest; `math.inf` for never."""


class Notes:
    """What is known of keys, the least recently told forgotten first."""

    def __init__(self, most: int = NOTES_MAX) -> None:
        self._most = most
        self._notes: OrderedDict[bytes, KeyStats] = OrderedDict()

    def __len__(self) -> int:
        return len(self._notes)

    def get(self, key: bytes) -> KeyStats | None:
        """What is known of a key."""
        return self._notes.get(key)

    def put(self, key: bytes, stats: KeyStats) -> None:
        """From now on this is known."""
        remember(self._notes, key, stats, self._most)

    def drop(self, key: bytes) -> None:
        """Nothing is known any more."""
        self._notes.pop(key, None)

    def first_held_by(self, hid: bytes) -> Iterator[bytes]:
        """Keys whose first holder is a host; a copy, so that notes may change meanwhile."""
        yield from [key for key, stats in self._notes.items() if stats.holders[:1] == (hid,)]


def noted(key: bytes, wanted: int, holders: Sequence[bytes]) -> Announce:
    """NOTE of a key, with as many holders as it can name."""
    return Announce(key, KeyStats(wanted, tuple(holders[:HOSTS_MAX])))
