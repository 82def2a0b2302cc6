"""Reads several sockets, many packets per wake-up: a task switch costs more than a packet."""

import select
import socket
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, Generic, TypeVar

import trio

BATCH_MAX: Final = 64
"Packets that one socket gives in one turn, so that none starves another, nor the rest of the program."

T = TypeVar("T")


def wake(number: int) -> None:
    """Wake up who waits for a file descriptor that is about to be closed; outside of trio nobody does."""
    if trio.lowlevel.in_trio_run():
        trio.lowlevel.notify_closing(number)


class Inbox(Generic[T]):
    """Hands out what sockets receive, in turns.

    Args:
        sockets: non-blocking.
        read: reads one packet; None for one that is of no use. Raises `BlockingIOError` when there is none.
        failed: called where a socket has something in its error queue, and where reading fails otherwise, as it does
            once for each pending ICMP error; with the error, if there was one. The reading goes on afterwards.
    """

    def __init__(
        self,
        sockets: Sequence[socket.socket],
        read: Callable[[socket.socket], T | None],
        failed: Callable[[socket.socket, OSError | None], None],
    ) -> None:
        self._sockets = {sock.fileno(): sock for sock in sockets}
        self._read, self._failed = read, failed
        self._waiting: deque[T] = deque()
        self._found = 0
        "Packets since the last wait."
        # One file descriptor for all of them: a task and a hand-over for each would cost a switch per batch.
        self._poll = select.epoll(len(sockets))
        for number in self._sockets:
            self._poll.register(number, select.EPOLLIN)

    async def ready(self) -> None:
        """Wait until there is something to take; it is to be taken at once, all of it."""
        # Under load the next ones are often there already, and a look is a tenth of a turn of the event loop.
        if self._found < BATCH_MAX:
            self.fill()
        if not self._waiting:
            self._found = 0
        while not self._waiting:
            await trio.lowlevel.wait_readable(self._poll.fileno())
            self.fill()
        self._found += len(self._waiting)

    def take(self) -> T | None:
        """A packet that has been read already; None where there is none."""
        return self._waiting.popleft() if self._waiting else None

    def fill(self) -> None:
        """Read what has come, without waiting."""
        for number, events in self._poll.poll(0):
            sock = self._sockets[number]
            if events & select.EPOLLERR:  # and it stays so until the queue is empty
                self._failed(sock, None)
            for _ in range(BATCH_MAX):
                try:
                    packet = self._read(sock)
                except BlockingIOError:
                    break
                except OSError as error:
                    self._failed(sock, error)
                else:
                    if packet is not None:
                        self._waiting.append(packet)

    def close(self) -> None:
        """Wake up who waits, by `trio.ClosedResourceError`; the sockets are the caller's."""
        if not self._poll.closed:
            wake(self._poll.fileno())
            self._poll.close()
