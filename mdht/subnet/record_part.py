"""What a host of a subnet needs of whatever keeps the records of its node."""

from collections.abc import Sequence
from typing import Any, Protocol

from dhtboot.ids import Address
from mdht.records import Copy
from mdht.subnet.messages import AckStatus, Message, State
from mdht.subnet.wire import Header


class Records(Protocol):
    """What keeps the records of a node, as far as this host has a part in that; `mdht.keeping.keeper.Keeper` does.

    What its methods return is what a `SiblingStore` wants done, and what the node's part does.
    """

    def sync(self, now: float) -> Sequence[Any]:
        """Fetch what belongs to this newcomer; `Synced` follows, perhaps at once."""

    def hand_over(self, now: float) -> Sequence[Any]:
        """Give away what others must have; `HandedOver` follows, perhaps at once."""

    def receive(
        self, header: Header, message: Message, source: Address, now: float, *, multicast: bool
    ) -> Sequence[Any]:
        """Act on one message of the link."""

    def on_member(self, hid: bytes, state: State, now: float) -> Sequence[Any]:
        """A member, this host perhaps, has become something else."""

    def collect(self, now: float) -> Sequence[Any]:
        """What is to be done after a datagram of another subnet has come."""

    def tick(self, now: float) -> Sequence[Any]:
        """Act on the time."""

    def next_deadline(self) -> float:
        """When to call `tick` at the latest; `math.inf` for never."""

    def copies(self, now: float) -> list[Copy]:
        """What this host holds."""

    def records(self, key: bytes, now: float, *, cached: bool) -> tuple[bytes, ...]:
        """What a sibling gets over the bulk channel: what this host holds, or what it has cached."""

    def on_bulk(self, qid: bytes, hid: bytes, records: tuple[bytes, ...], now: float) -> Sequence[Any]:
        """What has come over it."""

    def take_bulk(
        self, hid: bytes, records: Sequence[bytes], now: float
    ) -> tuple[tuple[AckStatus, ...], Sequence[Any]]:
        """Store what a sibling sends over it."""

    def on_bulk_sent(self, qid: bytes, statuses: Sequence[AckStatus], now: float) -> Sequence[Any]:
        """What has become of what was sent over it."""
