import pytest
import trio

from netserv_discovery.console.readers import QUEUE_MAX, READERS_MAX, Readers


def test_every_reader_gets_every_event_in_order() -> None:
    async def main() -> None:
        readers = Readers()
        with readers.joined() as one, readers.joined() as other:
            for event in (b"1", b"2"):
                readers.tell(event)
            assert [await one.receive(), await one.receive()] == [b"1", b"2"]
            assert [await other.receive(), await other.receive()] == [b"1", b"2"]
        readers.tell(b"nobody reads this")

    trio.run(main)


def test_a_reader_who_is_too_slow_is_let_go_and_others_go_on() -> None:
    async def main() -> None:
        readers = Readers()
        went_on = False
        with readers.joined() as quick:
            with readers.joined() as slow:
                for number in range(QUEUE_MAX + 1):
                    readers.tell(b"%d" % number)
                    assert quick.receive_nowait() == b"%d" % number
                await slow.receive()
                went_on = True
            assert not went_on
            assert readers.dropped == 1
            readers.tell(b"next")
            assert await quick.receive() == b"next"

    trio.run(main)


def test_so_many_readers_are_enough() -> None:
    async def main() -> None:
        readers = Readers()
        async with trio.open_nursery() as nursery:

            async def read() -> None:
                with readers.joined():
                    await trio.sleep_forever()

            for _ in range(READERS_MAX):
                assert not readers.full
                nursery.start_soon(read)
                await trio.testing.wait_all_tasks_blocked()
            assert readers.full
            nursery.cancel_scope.cancel()
        assert not readers.full

    trio.run(main)


def test_a_reader_who_leaves_is_forgotten() -> None:
    async def main() -> None:
        readers = Readers()
        with pytest.raises(KeyError), readers.joined():
            raise KeyError
        for _ in range(2 * QUEUE_MAX):
            readers.tell(b"x")
        assert readers.dropped == 0

    trio.run(main)
