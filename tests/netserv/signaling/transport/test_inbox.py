import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
import trio

from netserv.signaling.transport.inbox import BATCH_MAX, Inbox

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pairs() -> Iterator[list[Pair]]:
    with ExitStack() as opened:
        found = []
        for _ in range(2):
            pair = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
            for sock in pair:
                opened.enter_context(sock)
                sock.setblocking(False)
            found.append(pair)
        yield found


def nothing_failed(_sock: socket.socket, error: OSError | None) -> None:
    raise AssertionError(error)


def test_packets_come_in_order_and_useless_ones_are_left_out(pairs: list[Pair]) -> None:
    async def main() -> list[bytes | None]:
        inbox = Inbox([here for _, here in pairs], lambda sock: sock.recv(10) or None, nothing_failed)
        for number in range(5):
            pairs[0][0].send(b"%d" % number)
        pairs[0][0].send(b"")
        pairs[0][0].send(b"5")
        await inbox.ready()
        found = [inbox.take() for _ in range(6)]
        assert inbox.take() is None
        inbox.close()
        return found

    assert trio.run(main) == [b"%d" % number for number in range(6)]


def test_one_socket_in_flood_does_not_starve_another(pairs: list[Pair]) -> None:
    read = {here: 0 for _, here in pairs}

    def endless(sock: socket.socket) -> bytes:
        read[sock] += 1
        return b"x"

    async def main() -> None:
        inbox = Inbox(list(read), endless, nothing_failed)
        for there, _ in pairs:
            there.send(b"x")
        inbox.fill()
        inbox.close()

    trio.run(main)
    assert list(read.values()) == [BATCH_MAX, BATCH_MAX]


def test_who_takes_without_end_lets_others_run_after_each_batch(pairs: list[Pair]) -> None:
    async def main() -> int:
        inbox = Inbox([pairs[0][1]], lambda sock: sock.recv(10), nothing_failed)
        taken = 0

        async def take() -> None:
            nonlocal taken
            while True:
                await inbox.ready()
                while inbox.take() is not None:
                    taken += 1
                pairs[0][0].send(b"again")  # there before the next look

        pairs[0][0].send(b"first")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(take)
            await trio.lowlevel.checkpoint()
            await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()
        inbox.close()
        return taken

    assert 0 < trio.run(main) <= 3 * BATCH_MAX


def test_an_error_is_told_and_reading_goes_on(pairs: list[Pair]) -> None:
    told: list[str] = []
    pending = [OSError(111, "refused")]

    def read(sock: socket.socket) -> bytes:
        if pending:
            raise pending.pop()
        return sock.recv(10)

    async def main() -> bytes | None:
        inbox = Inbox([pairs[0][1]], read, lambda _, error: told.append(str(error)))
        pairs[0][0].send(b"after")
        try:
            await inbox.ready()
            return inbox.take()
        finally:
            inbox.close()

    assert trio.run(main) == b"after"
    assert told == ["[Errno 111] refused"]


def test_who_waits_is_woken_by_the_closing(pairs: list[Pair]) -> None:
    async def main() -> None:
        inbox = Inbox([pairs[0][1]], lambda sock: sock.recv(10), nothing_failed)

        async def wait() -> None:
            with pytest.raises(trio.ClosedResourceError):
                await inbox.ready()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            await trio.testing.wait_all_tasks_blocked()
            inbox.close()
            inbox.close()

    trio.run(main)
