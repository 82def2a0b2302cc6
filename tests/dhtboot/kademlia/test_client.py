"""A node that asks others, and that nobody lists: its packets go out without its identifier."""

import msgspec

from dhtboot.effects import Effect, Send
from dhtboot.ids import Address, NodeRef, random_id
from dhtboot.kademlia.config import KademliaConfig
from dhtboot.kademlia.node import KademliaNode
from dhtboot.overlay import Located, find_owner, locate
from tests.dhtboot.kademlia.overlay import Overlay, address_of

ME: Address = address_of(77)
VERIFIED_BELOW = KademliaConfig(verify_contacts=False)
"As under mdht, which has addresses proven itself: a core that has to do so answers no ping without identifier."


class Nameless(KademliaNode):
    """As whoever carries a client's packets has them."""

    def collect(self) -> list[Effect]:
        return [
            Send(each.to, msgspec.structs.replace(each.packet, sender=b"")) if isinstance(each, Send) else each
            for each in super().collect()
        ]


def with_client(count: int) -> tuple[Overlay, Nameless]:
    overlay = Overlay(1, VERIFIED_BELOW).grow(count)
    rng = overlay.network.rng("client")
    client = Nameless(random_id(rng), VERIFIED_BELOW, rng, overlay.network.now)
    client.client = True
    overlay.network.add(client, ME)
    overlay.network.perform(ME, client.join([NodeRef(0, address_of(0))], overlay.network.now))
    overlay.network.run(10.0)
    return overlay, client


def located(overlay: Overlay, client: KademliaNode, key: int) -> Located:
    done: list[Located] = []
    locate(client, key, 3, overlay.network.now, lambda found, _now: done.append(found))
    overlay.network.perform(ME, client.collect())
    overlay.network.run_until(lambda: done, 30.0)
    return done[0]


def test_it_finds_the_nodes_of_a_key_and_is_none_of_them_however_near_it_is() -> None:
    overlay, client = with_client(20)
    for key in [client.id, *[random_id(overlay.network.rng(number)) for number in range(10)]]:
        found = [node.id for node in located(overlay, client, key).nodes]
        assert client.id not in found
        assert found[0] == overlay.closest(ME, key)[0]
    owners: list[NodeRef | None] = []
    find_owner(client, client.id, overlay.network.now, lambda owner, _hops, _now: owners.append(owner))
    overlay.network.perform(ME, client.collect())
    overlay.network.run_until(lambda: owners, 30.0)
    assert owners[0] is not None
    assert owners[0].id == overlay.closest(ME, client.id)[0]
    assert not client.is_responsible(client.id)


def test_nobody_has_it_in_a_table() -> None:
    overlay, client = with_client(20)
    overlay.network.run(300.0)
    assert len(client.contacts) > 12
    assert all(client.id not in {each.id for each in node.contacts} for node in overlay.nodes.values())


def test_one_that_finds_nobody_is_all_there_is() -> None:
    overlay, client = with_client(3)
    overlay.kill(list(overlay.nodes))
    overlay.network.run(300.0)
    assert [node.id for node in located(overlay, client, 7).nodes] == [client.id]
