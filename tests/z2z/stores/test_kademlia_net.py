import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager

import pytest
import trio
from kademlia.network import Server
from kademlia.utils import digest

from mdht.signing import SigningKey
from z2z.errors import LocalProtocolError, StoreError
from z2z.stores import kademlia_net
from z2z.stores.kademlia_net import KIND, KademliaStore, open_kademlia
from z2z.stores.kinds import StoreSettings

KEY = b"k" * 20
HOST = "127.0.0.1"
TOM, JOE = SigningKey.from_seed(b"t" * 32), SigningKey.from_seed(b"j" * 32)


class PlainNode:
    """A `kademlia.network.Server` as it comes, in a thread of its own."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.server = Server()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()
        self.do(self.server.listen(0, HOST))
        self.port = self.server.transport.get_extra_info("sockname")[1]

    def do(self, work):
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(10)

    def close(self) -> None:
        async def end():
            self.server.stop()
            others = asyncio.all_tasks() - {asyncio.current_task()}
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)

        self.do(end())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(5)
        self.loop.close()


@contextmanager
def plain_node() -> Iterator[PlainNode]:
    node = PlainNode()
    try:
        yield node
    finally:
        node.close()


def run(main, *args):
    async def bounded():
        with trio.fail_after(20):
            return await main(*args)

    return trio.run(bounded)


def with_stores(count, work, *, plain=True):
    """Run `work(store, ...)` with stores of Tom and Joe that know each other only through a plain node."""

    async def main():
        async with AsyncExitStack() as stack:
            node = stack.enter_context(plain_node()) if plain else None
            entry = (f"{HOST}:{node.port}",) if node else ()
            stores = []
            for signer in (TOM, JOE)[:count]:
                opened = open_kademlia(signer, bootstrap=entry, host=HOST, port=0)
                stores.append(await stack.enter_async_context(opened))
            return await (work(*stores, node) if plain else work(*stores))

    return run(main)


async def values(store: KademliaStore, key: bytes = KEY) -> set[bytes]:
    return {stored.value for stored in await store.get(key)}


async def says(store: KademliaStore, text: str) -> None:
    while text not in store.describe():  # noqa: ASYNC110 - what happens in the other thread tells no event
        await trio.sleep(0.02)


def test_what_one_puts_the_other_gets_and_both_writers_values_are_there():
    async def work(tom, joe, node):
        receipt = await tom.put(KEY, b"printer", b"1", 60)
        assert receipt.stored >= 2
        (stored,) = await joe.get(KEY)
        assert (stored.writer, stored.name, stored.value) == (TOM.public_key, b"printer", b"1")
        assert 55 < stored.remaining_s <= 60
        await joe.put(KEY, b"printer", b"2", 60)
        assert await values(tom) == await values(joe) == {b"1", b"2"}
        assert await joe.get(b"o" * 20) == []

    with_stores(2, work)


def test_an_update_replaces_and_a_remove_removes():
    async def work(tom, joe, node):
        await tom.put(KEY, b"a", b"old", 60)
        await joe.put(KEY, b"a", b"joe", 60)
        await tom.put(KEY, b"a", b"new", 60)
        assert await values(joe) == {b"new", b"joe"}
        await tom.remove(KEY, b"a")
        assert await values(joe) == {b"joe"}
        await tom.remove(KEY, b"never put")
        await tom.put(KEY, b"a", b"again", 60)
        assert await values(joe) == {b"again", b"joe"}

    with_stores(2, work)


def test_a_lease_ends_although_a_plain_node_still_has_the_bytes():
    async def work(tom, joe, node):
        await tom.put(KEY, b"a", b"1", 1)
        assert await values(joe) == {b"1"}
        await trio.sleep(1.05)
        assert await joe.get(KEY) == []
        assert isinstance(node.server.storage.get(KEY), bytes)

    with_stores(2, work)


def test_a_plain_node_keeps_and_serves_the_set_when_its_writers_are_gone(monkeypatch):
    monkeypatch.setattr("z2z.stores.kademlia_node.WAIT_S", 0.5)

    async def main():
        with plain_node() as node:
            entry = (f"{HOST}:{node.port}",)
            for signer, value in ((TOM, b"1"), (JOE, b"2")):
                async with open_kademlia(signer, bootstrap=entry, host=HOST, port=0) as store:
                    await store.put(KEY, b"a", value, 60)
            async with open_kademlia(SigningKey.generate(), bootstrap=entry, host=HOST, port=0) as reader:
                return await values(reader)

    assert run(main) == {b"1", b"2"}


def test_a_value_put_by_an_earlier_process_is_removed_by_the_next(monkeypatch):
    monkeypatch.setattr("z2z.stores.kademlia_node.WAIT_S", 0.5)

    async def main():
        with plain_node() as node:
            entry = (f"{HOST}:{node.port}",)
            async with open_kademlia(TOM, bootstrap=entry, host=HOST, port=0) as store:
                await store.put(KEY, b"a", b"1", 60)
            async with open_kademlia(TOM, bootstrap=entry, host=HOST, port=0) as store:
                assert await values(store) == {b"1"}
                await store.remove(KEY, b"a")
                assert await values(store) == set()

    run(main)


def test_junk_of_a_plain_node_under_the_key_is_replaced():
    async def work(tom, joe, node):
        await trio.to_thread.run_sync(lambda: node.do(node.server.set_digest(KEY, "junk")))
        await tom.put(KEY, b"a", b"1", 60)
        assert await values(joe) == {b"1"}

    with_stores(2, work)


def test_stores_serve_the_values_of_plain_nodes_to_plain_nodes():
    async def work(tom, node):
        with plain_node() as other:
            await trio.to_thread.run_sync(lambda: other.do(other.server.bootstrap([(HOST, tom.port)])))
            await trio.to_thread.run_sync(lambda: node.do(node.server.set("song", "la la")))
            node.server.storage.data.clear()
            other.server.storage.data.clear()
            assert tom._node.storage.get(digest("song")) == "la la"
            assert await trio.to_thread.run_sync(lambda: other.do(other.server.get("song"))) == "la la"

    with_stores(1, work)


def test_a_value_larger_than_a_record_comes_in_chunks_and_one_that_is_too_large_is_refused():
    async def work(tom, joe, node):
        large = bytes(range(256)) * 12
        await tom.put(KEY, b"large", large, 60)
        assert await values(joe) == {large}
        assert await values(joe) == {large}  # from what it has kept
        with pytest.raises(StoreError, match="at most 16384"):
            await tom.put(KEY, b"large", b"x" * 20_000, 60)
        await tom.remove(KEY, b"large")
        assert await values(joe) == set()

    with_stores(2, work)


def test_more_than_one_set_holds_spreads_over_pages_until_they_are_full(monkeypatch):
    monkeypatch.setattr("z2z.stores.kademlia_pages.PAGES_MAX", 2)

    async def work(tom, joe, node):
        refused = []

        async def put(number):
            try:
                await tom.put(KEY, b"%d" % number, b"%03d" % number * 230, 60)
            except StoreError as error:
                refused.append(str(error))

        async with trio.open_nursery() as nursery:
            for number in range(24):
                nursery.start_soon(put, number)
        assert 0 < len(refused) < 10
        assert "2 sets of 8000 bytes are full; export fewer services, or under another key" in refused[0]
        assert len(await joe.get(KEY)) == 24 - len(refused)

    with_stores(2, work)


def test_the_first_node_of_a_network_has_no_entry_point_and_hands_over_to_the_next():
    async def main():
        async with open_kademlia(TOM, host=HOST, port=0) as first:
            assert (await first.put(KEY, b"a", b"1", 60)).stored == 1
            assert await values(first) == {b"1"}
            entry = (f"localhost:{first.port}",)
            async with open_kademlia(JOE, bootstrap=entry, host=HOST, port=0) as second:
                assert await values(second) == {b"1"}
                await says(second, f"port {second.port}, 1 node known, 1 value held")

    run(main)


def test_an_entry_point_that_does_not_answer_is_named(monkeypatch):
    monkeypatch.setattr("z2z.stores.kademlia_node.WAIT_S", 0.2)

    async def main():
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
            silent.bind((HOST, 0))
            entry = f"{HOST}:{silent.getsockname()[1]}"
            async with open_kademlia(TOM, bootstrap=(entry,), host=HOST, port=0) as store:
                for work in (store.put(KEY, b"a", b"1", 60), store.get(b"o" * 20), store.remove(KEY, b"a")):
                    with pytest.raises(StoreError, match=f"no node of the network answers; is UDP open to {entry}"):
                        await work

    run(main)


def test_an_entry_point_that_comes_later_is_found(monkeypatch):
    monkeypatch.setattr("z2z.stores.kademlia_node.WAIT_S", 0.2)
    monkeypatch.setattr(kademlia_net, "REJOIN_S", 0.1)

    async def main():
        async with open_kademlia(JOE, host=HOST, port=0) as probe:
            port = probe.port
        async with open_kademlia(TOM, bootstrap=(f"{HOST}:{port}",), host=HOST, port=0) as store:
            assert store.describe().endswith("0 nodes known, 0 values held")
            async with open_kademlia(JOE, host=HOST, port=port):
                await says(store, "1 node known")

    run(main)


@pytest.mark.parametrize("entry", ["no port:x", "[::1]:8468", "1.2.3"])
def test_an_entry_point_that_cannot_be_is_refused(entry):
    async def main():
        async with open_kademlia(TOM, bootstrap=(entry,), host=HOST, port=0):
            pass

    with pytest.raises(LocalProtocolError, match="bootstrap"):
        run(main)


def test_an_address_that_is_not_ours_is_refused():
    async def main():
        async with open_kademlia(TOM, host="192.0.2.1", port=0):
            pass

    with pytest.raises(LocalProtocolError, match=r"UDP 192\.0\.2\.1:0"):
        run(main)


def test_a_program_that_ends_soon_needs_another_node():
    async def main():
        async with open_kademlia(TOM, host=HOST, port=0, ends_soon=True) as store:
            with pytest.raises(StoreError, match="about to end"):
                await store.put(KEY, b"a", b"1", 60)

    run(main)


def test_a_taken_port_is_left_to_its_owner_and_the_kind_opens_a_store(monkeypatch, tmp_path):
    async def main():
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
            taken.bind(("", 0))
            monkeypatch.setattr(kademlia_net, "PORT", taken.getsockname()[1])
            settings = StoreSettings(signer=TOM, role="both", state_dir=tmp_path)
            async with KIND.open(settings) as opened:
                assert opened.describe().startswith("port ")
                assert opened.store.port != taken.getsockname()[1]
                async with opened.store.listen(KEY) as changes:
                    with pytest.raises(trio.WouldBlock):
                        changes.receive_nowait()

    run(main)


def test_a_cancelled_caller_does_not_wait_and_the_node_ends_with_its_thread(monkeypatch):
    monkeypatch.setattr("z2z.stores.kademlia_node.WAIT_S", 30)

    async def main():
        with plain_node() as node:
            before = threading.active_count()
            async with open_kademlia(TOM, bootstrap=(f"{HOST}:{node.port}",), host=HOST, port=0) as store:
                node.loop.call_soon_threadsafe(node.server.transport.close)
                with trio.move_on_after(0.1) as scope:
                    await store.put(KEY, b"a", b"1", 60)
                assert scope.cancelled_caught
            assert threading.active_count() == before
            with pytest.raises(StoreError, match="stopped"):
                await store.get(KEY)

    run(main)


def test_datagrams_that_are_no_messages_do_not_harm():
    async def work(tom, joe, node):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            for data in (b"", b"\0\xc1", b"\1\x93\1\2\3", b"\0\x92\xa5store\x90", b"\0\x92\xa4ping\x91\1"):
                stranger.sendto(data[:1] + b"\0" * 20 + data[1:], (HOST, tom.port))
        await tom.put(KEY, b"a", b"1", 60)
        assert await values(joe) == {b"1"}

    with_stores(2, work)
