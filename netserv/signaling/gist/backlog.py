"""Messages of NSLPs that wait in rows, for a handshake or for an association."""

import math
from collections import deque
from collections.abc import Callable

from netserv.signaling.gist.commons import Commons
from netserv.signaling.gist.routing_state import Row
from netserv.signaling.gist.service import SendFailure, SendMessage


def put(commons: Commons, row: Row, message: SendMessage, now: float) -> bool:
    """Let a message wait in a row; False: over a limit, which is reported."""
    size = len(message.data)
    waiting = 0 if row.queue is None else len(row.queue)
    if waiting >= commons.config.queue_max or commons.queued_bytes + size > commons.config.queue_bytes_max:
        commons.counters.queue_refused += 1
        commons.report(message, SendFailure.RATE_LIMITED)
        return False
    if row.queue is None:
        row.queue = deque()
    row.queue.append((message, math.inf if message.timeout_s is None else now + message.timeout_s))
    commons.queued_bytes += size
    return True


def pop(commons: Commons, row: Row) -> SendMessage:
    """The message that waits longest; the row has one."""
    queue = row.queue or deque()
    message, _ = queue.popleft()
    row.queue = queue or None
    commons.queued_bytes -= len(message.data)
    return message


def fail(commons: Commons, row: Row, failure: SendFailure, only: Callable[[SendMessage], bool] | None = None) -> None:
    """Report that nothing of what waits will be sent, or only not what is chosen."""
    if row.queue is not None:
        staying = [entry for entry in row.queue if only is not None and not only(entry[0])]
        failing = [message for message, _ in row.queue if only is None or only(message)]
        row.queue = deque(staying) or None
        for message in failing:
            commons.queued_bytes -= len(message.data)
            commons.report(message, failure)


def drop_late(commons: Commons, row: Row, now: float) -> bool:
    """Give up the messages whose time is over; False where none was."""
    if row.queue is None or all(until > now for _, until in row.queue):
        return False
    staying = deque(entry for entry in row.queue if entry[1] > now)
    for message, until in row.queue:
        if until <= now:
            commons.queued_bytes -= len(message.data)
            commons.report(message, SendFailure.TIMED_OUT)
    row.queue = staying or None
    return True


def first_deadline(row: Row) -> float:
    """When the next of them is late."""
    return math.inf if row.queue is None else min(until for _, until in row.queue)
