"""The requests of a face that are under way, each until nothing is waited for any more."""

import heapq
import math
from collections.abc import Iterator
from typing import TypeAlias

from dhtboot.ids import Address
from mdht.subnet.face_call import Call

CallKey: TypeAlias = tuple[Address, int]
"A node's pseudo-address, and the number of the request."


class Calls:
    """A table of them, and when to look at each next."""

    __slots__ = ("_by_key", "_deadlines")

    def __init__(self) -> None:
        self._by_key: dict[CallKey, Call] = {}
        self._deadlines: list[tuple[float, CallKey]] = []

    def __len__(self) -> int:
        return len(self._by_key)

    def __iter__(self) -> Iterator[Call]:
        return iter(self._by_key.values())

    def get(self, key: CallKey) -> Call | None:
        """The request of that number to that node."""
        return self._by_key.get(key)

    def add(self, key: CallKey, call: Call) -> None:
        """A request is under way."""
        self._by_key[key] = call

    def drop_cores(self) -> None:
        """Forget those for which no other asker waits than the overlay's core."""
        self._by_key = {key: call for key, call in self._by_key.items() if call.asker is not None}

    def look_at(self, key: CallKey, call: Call) -> bool:
        """Note when to look at a request again; True when it is over, and forgotten."""
        if call.over and self._by_key.get(key) is call:
            del self._by_key[key]
            return True
        due_at = call.next_deadline()
        if due_at < math.inf:
            heapq.heappush(self._deadlines, (due_at, key))
        return False

    def due(self, now: float) -> Iterator[tuple[CallKey, Call]]:
        """Those whose time has come; each is to be looked at again."""
        while self.next_deadline() <= now:
            key = heapq.heappop(self._deadlines)[1]
            yield key, self._by_key[key]

    def in_need_of(self, node: Address) -> list[tuple[CallKey, Call]]:
        """Those to a node whose neighbours are to be asked for its hosts."""
        return [(key, call) for key, call in self._by_key.items() if call.needs_pull and call.to == node]

    def next_deadline(self) -> float:
        """When to look at `due`; `math.inf` for never."""
        while self._deadlines:
            due_at, key = self._deadlines[0]
            call = self._by_key.get(key)
            now_due_at = math.inf if call is None else call.next_deadline()
            if now_due_at == due_at:
                return due_at
            heapq.heappop(self._deadlines)
            if due_at < now_due_at < math.inf:
                heapq.heappush(self._deadlines, (now_due_at, key))
        return math.inf
