"""Following a key: each change once, within a second, whatever is lost on the way."""

import pytest

from mdht.keeping.config import KeepingConfig
from tests.mdht.keeping.records_network import OVERLAYS, RecordsNetwork, key_of, record

FEW = KeepingConfig(replicas=2, read_quorum=1)
KEY = key_of(1)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_change_is_heard_once_and_within_a_second(overlay: str) -> None:
    world = RecordsNetwork([2, 1, 3, 1, 1], overlay=overlay, keeping=FEW)
    _watch, heard = world.watch(world.hosts(2)[1], KEY)
    world.net.run(1.0)
    for step, (fields, said) in enumerate(
        [
            ({"value": b"one", "seq": 1}, [("added", 1)]),
            ({"value": b"two", "seq": 2}, [("updated", 2)]),
            ({"value": b"two", "seq": 3}, []),  # a refresh is no change
            ({"seq": 4, "deleted": True}, [("removed", 3)]),
            ({"value": b"three", "seq": 5}, [("added", 5)]),
        ]
    ):
        world.put(world.hosts(0)[0], record(1, **fields))
        world.net.run(0.9)
        assert heard == said, step
        heard.clear()


def test_what_is_there_already_comes_first_however_many_pages_it_has() -> None:
    world = RecordsNetwork([2, 1, 1], keeping=FEW)
    for number in range(30):
        world.put(world.hosts(0)[0], record(1, name=b"%d" % number, value=bytes(200)))
    for link in range(3):
        _watch, heard = world.watch(world.hosts(link)[0], KEY)
        world.net.run(2.0)
        assert heard == [("added", 1)] * 30


def test_lost_pushes_are_made_good_at_renewal() -> None:
    world = RecordsNetwork([1, 1, 1], keeping=FEW)
    near = world.responsible(KEY, 3)
    listener = world.hosts(near[2])[0]
    _watch, heard = world.watch(listener, KEY)
    world.net.run(2.0)
    writer = world.hosts(near[0])[0]
    world.net.loss = 1.0
    world.put(writer, record(1), acks=1)
    world.net.run(1.0)
    world.net.loss = 0.0
    assert heard == []
    world.net.run(60.0)
    assert heard == [("added", 1)]


def test_a_subscription_outlives_the_death_of_the_nodes_that_held_it() -> None:
    world = RecordsNetwork([1] * 6, keeping=FEW)
    near = world.responsible(KEY, 6)
    _watch, heard = world.watch(world.hosts(near[5])[0], KEY)
    world.net.run(1.0)
    for link in near[:2]:
        world.net.crash(world.hosts(link)[0])
    world.net.run(90.0)
    world.put(world.hosts(near[4])[0], record(1))
    world.net.run(1.0)
    assert heard == [("added", 1)]


def test_a_listener_that_was_alone_hears_through_the_first_node_that_comes() -> None:
    world = RecordsNetwork([1], keeping=FEW)
    _watch, heard = world.watch(world.hosts(0)[0], KEY)
    newcomer = world.net.add(1)
    world.run_until(lambda: newcomer.ready)
    world.net.run(3.0)
    world.put(newcomer, record(1))
    world.net.run(1.0)
    assert heard == [("added", 1)]
