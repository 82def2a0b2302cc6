"""The broker's part of the `netfilter` plane: a queue of the kernel for each filter, and the rules that fill it."""

import logging
import time
from typing import Final

from netserv.errors import SystemRefusedError
from netserv.forwarding.broker_messages import Start
from netserv.forwarding.chains import Chains
from netserv.forwarding.engine import Engine
from netserv.forwarding.matching import Rule
from netserv.signaling.transport.nfqueue import QueueTakenError, open_queue

log = logging.getLogger(__name__)

LINGER_S: Final = 0.05
"How long a queue without rules is read: what a processor was about to put into it comes within microseconds."
_LAST_QUEUE: Final = 0xFFFF


class NetfilterPart:
    """Keeps queues and rules in step with filters.

    Raises:
        SystemRefusedError: this machine gives no rules, or no queues.
    """

    def __init__(self, engine: Engine, settings: Start) -> None:
        self._engine, self._settings = engine, settings
        self._next = settings.queue_base
        self._lingering: list[tuple[float, int]] = []
        open_queue(*self._free_queue(), fail_open=True).close()  # a machine without queues is known at once
        self._chains = Chains()
        self.warnings = tuple(self._chains.warnings)

    def install(self, rule: Rule) -> None:
        """Have packets of a filter that the engine knows come.

        Raises:
            SystemRefusedError: the kernel refuses; nothing is left.
        """
        while True:
            number, length = self._free_queue()
            try:
                queue = open_queue(number, length, fail_open=not rule.closed)
                break
            except QueueTakenError:
                continue
        self._engine.add_queue(rule.number, number, queue.socket)
        try:
            self._chains.add(rule.number, number, rule.wanted, closed=rule.closed)
        except SystemRefusedError:
            self._engine.remove_queue(rule.number)
            raise

    def attached(self, number: int, *, there: bool) -> None:
        """Nothing passes that the engine does not see."""

    def remove(self, number: int) -> None:
        """Have packets of a filter go by."""
        self._chains.drop(number)
        self._lingering.append((time.monotonic() + LINGER_S, number))

    def counters(self, number: int) -> dict[str, int]:  # noqa: ARG002 - the other plane looks it up
        """What the kernel has counted of a filter: nothing that the engine has not."""
        return {}

    def tidy(self) -> float | None:
        """Close queues that are empty for good; seconds until the next one, None where there is none."""
        now = time.monotonic()
        while self._lingering and self._lingering[0][0] <= now:
            self._engine.remove_queue(self._lingering.pop(0)[1])
        return self._lingering[0][0] - now if self._lingering else None

    def untold(self, number: int) -> bool:  # noqa: ARG002 - the other plane looks it up
        """Nothing is counted that a module has not seen."""
        return False

    def tell_last(self, number: int) -> None:
        """There is nothing to tell."""

    def close(self) -> None:
        """Remove all rules; queues are the engine's."""
        self._chains.close()

    def _free_queue(self) -> tuple[int, int]:
        number = self._next
        self._next = self._settings.queue_base if number == _LAST_QUEUE else number + 1
        return number, self._settings.queue_max
