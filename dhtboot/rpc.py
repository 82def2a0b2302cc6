"""Requests under way: identifiers, timeouts after RTT estimates, retries. No I/O."""

import heapq
import math
from collections.abc import Callable, Iterator
from enum import Enum
from random import Random
from typing import Any, Final

from dhtboot.errors import LocalProtocolError
from dhtboot.ids import NodeRef
from dhtboot.rtt import RttEstimator, TimeoutConfig

REQUEST_ID_BITS: Final = 64

OnReply = Callable[[NodeRef, Any, float], None]
"Called with the peer, its response and the time."
OnSilence = Callable[[NodeRef, float], None]
"Called with the peer and the time: once when it is late, once when it counts as dead."


class Overdue(Enum):
    """What became of a request at its deadline."""

    LATE = "late"
    "Slower than most peers: ask another one meanwhile."
    AGAIN = "again"
    "To be sent again."
    DEAD = "dead"
    "Closed: its peer counts as dead."


class Asker:
    """Whoever waits for the response to a request."""

    __slots__ = ()

    def on_reply(self, node: NodeRef, message: Any, now: float) -> None:
        """The response has come."""
        raise NotImplementedError

    def on_fail(self, node: NodeRef, now: float) -> None:
        """The peer counts as dead."""
        raise NotImplementedError

    def on_late(self, node: NodeRef, now: float) -> None:
        """It is late; called only where the request was opened as `hedged`."""


class Then(Asker):
    """Waits with two functions."""

    __slots__ = ("_on_fail", "_on_reply")

    def __init__(self, on_reply: OnReply, on_fail: OnSilence) -> None:
        self._on_reply = on_reply
        self._on_fail = on_fail

    def on_reply(self, node: NodeRef, message: Any, now: float) -> None:
        """Call the first."""
        self._on_reply(node, message, now)

    def on_fail(self, node: NodeRef, now: float) -> None:
        """Call the second."""
        self._on_fail(node, now)


def ignore_reply(_node: NodeRef, _message: Any, _now: float) -> None:
    """That the peer has answered says it all."""


def ignore_silence(_node: NodeRef, _now: float) -> None:
    """That the peer counts as dead says it all."""


IGNORED: Final = Then(ignore_reply, ignore_silence)
"For a request whose outcome is in what the asker learns from it anyway."


class Pending:
    """One request that waits for its response."""

    __slots__ = (
        "asker",
        "attempt",
        "deadline",
        "gives_up_at",
        "hedged",
        "node",
        "reopened",
        "request",
        "request_id",
        "sent_at",
    )

    def __init__(self, request_id: int, node: NodeRef, request: Any, asker: Asker, *, hedged: bool) -> None:
        self.request_id = request_id
        self.node = node
        self.request = request
        self.asker = asker
        self.hedged = hedged
        self.attempt = 0
        self.reopened = False
        self.sent_at = math.nan
        self.deadline = math.inf
        "When to look at it next: when it is late, or when this attempt is given up."
        self.gives_up_at = math.inf


class RpcTable:
    """Matches responses to requests and says which requests are overdue.

    Args:
        timeouts: bounds of the retransmission timeout.
        attempts: transmissions before a peer counts as dead.
        pending_max: requests under way at once.
        rng: source of request identifiers; unpredictable on a real network.
    """

    __slots__ = (
        "_attempts",
        "_deadlines",
        "_death_min_s",
        "_fixed_s",
        "_in_turn",
        "_pending",
        "_pending_max",
        "_rng",
        "due_at",
        "rtt",
    )

    def __init__(self, timeouts: TimeoutConfig, *, attempts: int, pending_max: int, rng: Random) -> None:
        self.rtt = RttEstimator(timeouts)
        self._death_min_s = timeouts.death_min_s
        self._fixed_s = timeouts.max_s if timeouts.fixed else 0.0  # nothing to be estimated then
        self._attempts = attempts
        self._pending_max = pending_max
        self._rng = rng
        self._pending: dict[int, Pending] = {}
        self._deadlines: list[tuple[float, int]] = []
        # Where all requests wait equally long, once, as in the experiments of the thesis, they fall due in the order in
        # which they were opened, which is that of `_pending`: nothing has to be sorted.
        self._in_turn = timeouts.fixed and attempts == 1
        self.due_at = math.inf
        "When to look at `overdue`: too early where a request has been answered meanwhile, never too late."

    def __len__(self) -> int:
        return len(self._pending)

    def open(self, node: NodeRef, request: Any, now: float, asker: Asker, *, hedged: bool = False) -> Pending:
        """Register a request that is about to be sent.

        Raises:
            LocalProtocolError: more requests are under way than the limit.
        """
        if len(self._pending) >= self._pending_max:
            raise LocalProtocolError(f"more than {self._pending_max} requests under way; wait for some to end")
        pending = Pending(self._draw(), node, request, asker, hedged=hedged)
        self._begin(pending, now)
        return pending

    @property
    def full(self) -> bool:
        """Whether `open` would refuse another request."""
        return len(self._pending) >= self._pending_max

    def _draw(self) -> int:
        return self._rng.getrandbits(REQUEST_ID_BITS) or 1  # 0 means: no answer is due

    def _begin(self, pending: Pending, now: float) -> None:
        self._pending[pending.request_id] = pending
        pending.sent_at = now
        self._schedule(pending, now, self._fixed_s or self.rtt.timeout_s(pending.node.address))

    def _schedule(self, pending: Pending, now: float, timeout_s: float) -> None:
        pending.attempt += 1
        if pending.attempt == self._attempts and timeout_s < self._death_min_s:
            timeout_s = self._death_min_s
        pending.gives_up_at = now + timeout_s
        wait_s = timeout_s
        if pending.attempt == 1 and pending.hedged and not self._in_turn:
            wait_s = min(timeout_s, self.rtt.hedge_s())
        self._wait(pending, now + wait_s)

    def _wait(self, pending: Pending, deadline: float) -> None:
        pending.deadline = deadline
        if not self._in_turn:
            heapq.heappush(self._deadlines, (deadline, pending.request_id))
        if deadline < self.due_at:  # noqa: PLR1730 - min() costs three times that
            self.due_at = deadline

    def reopen(self, pending: Pending, now: float) -> Pending | None:
        """Wait anew for a request that must be sent again for another reason than silence (a cookie).

        Once only: a peer that wants another cookie each time would keep us asking for ever. Under an identifier of
        its own: a late copy of the first response must not pass for the second.

        Returns:
            The request in its second life; None when it was in that already.
        """
        if pending.reopened:
            return None
        again = Pending(self._draw(), pending.node, pending.request, pending.asker, hedged=pending.hedged)
        again.reopened = True
        self._begin(again, now)
        return again

    def match(self, request_id: int, sender: int, address: tuple[str, int], now: float) -> Pending | None:
        """Close and return the request that a response belongs to; None when nobody waits for it.

        The response must come from the address asked, and from the node asked unless its identifier was not known
        (a bootstrap contact has identifier 0).
        """
        pending = self._pending.get(request_id)
        if pending is None:
            return None
        node = pending.node
        if (node.address is not address and node.address != address) or node.id not in (0, sender):
            return None
        del self._pending[request_id]
        # After a retransmission too, measured from the first: an upper bound. Without it (Karn) a timeout that has once
        # become too short for a busy peer would never grow again.
        if not self._fixed_s:
            self.rtt.sample(address, now - pending.sent_at)
        return pending

    def get(self, request_id: int) -> Pending | None:
        """The request of that number, if it is under way."""
        return self._pending.get(request_id)

    def close(self, request_id: int) -> Pending | None:
        """Wait no more for a response; None when nobody does."""
        return self._pending.pop(request_id, None)

    def close_any(self) -> Pending | None:
        """Wait no more for one of the responses; None when nobody waits for any."""
        return self._pending.popitem()[1] if self._pending else None

    def overdue(self, now: float) -> Iterator[tuple[Pending, Overdue]]:
        """Yield requests past their deadline and what became of each."""
        while self.next_deadline() <= now:
            if self._in_turn:
                pending = next(iter(self._pending.values()))
            else:
                pending = self._pending[heapq.heappop(self._deadlines)[1]]
            if pending.deadline < pending.gives_up_at:
                self._wait(pending, pending.gives_up_at)
                yield pending, Overdue.LATE
            elif pending.attempt < self._attempts:
                self._schedule(pending, now, 2.0 * self.rtt.timeout_s(pending.node.address))
                yield pending, Overdue.AGAIN
            else:
                del self._pending[pending.request_id]
                yield pending, Overdue.DEAD
        self.due_at = self.next_deadline()

    def next_deadline(self) -> float:
        """When `overdue` has work next, exactly; `math.inf` for never."""
        if self._in_turn:
            for first in self._pending.values():
                return first.deadline
            return math.inf
        deadlines = self._deadlines
        while deadlines:
            deadline, request_id = deadlines[0]
            pending = self._pending.get(request_id)
            if pending is not None and pending.deadline == deadline:
                return deadline
            heapq.heappop(deadlines)
        return math.inf
