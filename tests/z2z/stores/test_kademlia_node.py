import asyncio

import pytest
from kademlia.network import Server
from kademlia.node import Node
from kademlia.protocol import KademliaProtocol

from mdht.records import Record
from mdht.signing import SigningKey
from z2z.stores import kademlia_node
from z2z.stores.kademlia_node import NEIGHBOURS_MAX, SetServer, sane_neighbours
from z2z.stores.kademlia_sets import SET_MAX, encode, seq_at
from z2z.stores.kademlia_storage import SetStorage

HOST = "127.0.0.1"
KEY, OWN = b"k" * 20, b"o" * 20
TOM = SigningKey.from_seed(b"t" * 32)


@pytest.mark.parametrize(
    ("answer", "believed"),
    [
        ([[KEY, HOST, 1]], [(KEY, HOST, 1)]),
        (((KEY, HOST, 65_535), (OWN, HOST, 1)), [(KEY, HOST, 65_535)]),
        ([[KEY, "evil.example.org", 1], [KEY, HOST, 0], [KEY, HOST, 65_536], [KEY, HOST, "1"], [KEY, None, 1]], []),
        ([[b"short", HOST, 1], ["k" * 20, HOST, 1], [KEY, HOST], KEY, None, 7], []),
        ([[bytes([number]) * 20, HOST, 1] for number in range(100)], [(bytes([n]) * 20, HOST, 1) for n in range(64)]),
        ({"value": 1}, []),
        (None, []),
        (7, []),
    ],
)
def test_of_an_answer_only_what_can_be_a_node_is_believed(answer, believed):
    assert sane_neighbours(answer, OWN) == believed
    assert len(believed) <= NEIGHBOURS_MAX


def record(storage, key=KEY, name=b"n", value=b"v"):
    seq = seq_at(storage.clock())
    return Record.signed(key=key, writer=TOM, name=name, seq=seq, lease_s=60, value=value)


def with_servers(work, *others):
    """Run `work(own, *others)` with a server of ours that has joined at each of the others."""

    async def main():
        loop = asyncio.get_running_loop()
        failures = []
        loop.set_exception_handler(lambda _loop, context: failures.append(context))
        own = SetServer(SetStorage())
        servers = [own, *(make() for make in others)]
        for server in servers:
            await server.listen(0, HOST)
        addresses = [(HOST, server.transport.get_extra_info("sockname")[1]) for server in servers[1:]]
        await own.join(addresses)
        try:
            await asyncio.wait_for(work(*servers), 15)
            return [*failures]  # not those of answers that come when the sockets are closed
        finally:
            for server in servers:
                server.stop()
            await asyncio.sleep(0)

    return asyncio.run(main())


class EndlessProtocol(KademliaProtocol):
    """Names ever nearer nodes, all of them itself."""

    asked = 0

    def rpc_find_node(self, sender, nodeid, key):
        port = self.transport.get_extra_info("sockname")[1]
        type(self).asked += 1
        distance = 2**150 // type(self).asked
        return [[(int.from_bytes(key) ^ (distance + n)).to_bytes(20), HOST, port] for n in range(20)]


class EndlessServer(Server):
    protocol_class = EndlessProtocol


def test_a_search_ends_although_somebody_always_knows_a_nearer_node():
    async def work(own, endless):
        assert await own.read(KEY) == ()
        assert EndlessProtocol.asked <= 3 * kademlia_node.ROUNDS_MAX * kademlia_node.ALPHA

    assert with_servers(work, EndlessServer) == []


class ForgedProtocol(KademliaProtocol):
    def rpc_find_value(self, sender, nodeid, key):
        storage = SetStorage()
        good = record(storage)
        forged = Record(key, good.writer, good.name, good.seq + 1, 60, False, b"forged", good.signature)
        return {"value": encode((forged,)), "more": [1]}


class ForgedServer(Server):
    protocol_class = ForgedProtocol


def test_forged_records_are_counted_and_do_not_hide_the_good_ones():
    async def work(own, forger, honest):
        written = await own.write(record(own.storage))
        assert (written.fits, written.stored) == (True, 3)
        (found,) = await own.read(KEY)
        assert found.value == b"v"
        assert own.storage.read.refused >= 1

    assert with_servers(work, ForgedServer, Server) == []


def test_writes_side_by_side_go_together():
    async def work(own, plain):
        stores = 0
        rpc_store = plain.protocol.rpc_store

        def counted(*args):
            nonlocal stores
            stores += 1
            return rpc_store(*args)

        plain.protocol.rpc_store = counted
        written = await asyncio.gather(*(own.write(record(own.storage, name=b"%d" % n)) for n in range(10)))
        assert all(each.fits for each in written)
        assert stores <= 2
        assert own._desks == {}
        assert len(await own.read(KEY)) == 10

    assert with_servers(work, Server) == []


class FullStorage(SetStorage):
    def store(self, key, value):
        return False


def test_a_node_of_ours_that_is_full_says_so():
    async def work(own, other):
        written = await own.write(record(own.storage))
        assert written.stored == 1
        assert written.refused == (f"{HOST}:{other.port}: full, or its clock differs",)

    assert with_servers(work, lambda: SetServer(FullStorage())) == []


def test_what_is_due_is_stored_again_merged_with_what_is_there():
    async def work(own, plain):
        mine, theirs = record(own.storage, name=b"a"), record(own.storage, name=b"b")
        own.storage.absorb(KEY, [mine])
        plain.storage[KEY] = encode((theirs,))
        plain.storage[OWN] = "text"
        assert await own.set_digest(KEY, own.storage.get(KEY))
        assert plain.storage.get(KEY) == encode((mine, theirs))
        assert await own.set_digest(OWN, "text again")
        assert plain.storage.get(OWN) == "text again"

    assert with_servers(work, Server) == []


def test_a_newcomer_gets_what_it_should_hold_merged_with_what_it_has():
    async def work(own):
        mine, theirs = record(own.storage, name=b"a"), record(own.storage, name=b"b")
        own.storage.absorb(KEY, [mine])
        plain = Server()
        plain.storage[KEY] = encode((theirs,))
        await plain.listen(0, HOST)
        await plain.bootstrap([(HOST, own.port)])
        while plain.storage.get(KEY) != encode((mine, theirs)):  # noqa: ASYNC110 - a plain node tells no event
            await asyncio.sleep(0.01)
        assert own.storage.held(KEY) == (mine, theirs)
        own.protocol.welcome_if_new(own.node)
        own.protocol.welcome_if_new(Node(b"short", HOST, 1))
        assert own.known == 1
        plain.stop()

    assert with_servers(work) == []


def test_a_set_that_is_full_fits_a_datagram():
    async def work(own, plain):
        number = 0
        while (await own.write(record(own.storage, name=b"%04d" % number, value=b"x" * 40))).fits:
            number += 1
        assert SET_MAX - 300 < len(plain.storage.get(KEY)) <= SET_MAX
        assert len(await own.read(KEY)) == number

    assert with_servers(work, Server) == []
