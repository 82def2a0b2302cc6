"""A flow behind which nobody was found is not searched again with each message, and soon again all the same."""

from netserv.signaling.gist.ends import BARE_S, FLOWS_MAX, KNOWN_S, Ends
from netserv.signaling.gist.service import LastBy, NotificationKind, RoutingStatus
from tests.netserv.signaling.gist.recorder import flow, message
from tests.netserv.signaling.gist.world import World

MRI = flow("10.0.0.1", "10.0.9.1")


def alone(world: World):
    """A node and a receiver that runs nothing, with a plain router between."""
    node = world.host("a", "10.0.0.1")
    between = world.host("b", "10.0.1.1", gist=False)
    receiver = world.host("r", "10.0.9.1", gist=False)
    world.link(node, between)
    world.link(between, receiver)
    return node, between, receiver


def ask(world: World, node, count: int, first: int = 0) -> None:
    for number in range(first, first + count):
        node.send(message(MRI, sid=number.to_bytes(16, "big"), handle=number))
        world.run(0.05)


def test_ten_messages_a_second_need_one_search() -> None:
    world = World()
    node, _, _ = alone(world)
    ask(world, node, 10)
    assert node.node.counters.queries_sent == 1
    last = node.nslp.notifications(NotificationKind.LAST_NODE)
    assert [one.last_by for one in last] == [LastBy.ICMP] * 10
    assert len(node.nslp.failures()) == 10


def test_a_node_that_starts_is_found_after_a_second() -> None:
    world = World()
    node, between, _ = alone(world)
    ask(world, node, 1)
    between.start()
    world.run(KNOWN_S)
    ask(world, node, 1, 1)
    world.run(1.0)
    assert between.nslp.data() == [b"data"]


def test_who_doubts_it_is_searched_for_at_once() -> None:
    world = World()
    node, between, _ = alone(world)
    ask(world, node, 1)
    between.start()
    node.perform(node.node.invalidate_routing_state(None, MRI, RoutingStatus.BAD, now=world.now))
    ask(world, node, 1, 1)
    assert between.nslp.data() == [b"data"]


def test_silence_is_no_knowledge() -> None:
    world = World()
    node, _, receiver = alone(world)
    receiver.icmp = False
    ask(world, node, 1)
    world.run(8.0)
    assert len(node.nslp.notifications(NotificationKind.LAST_NODE)) == 1
    ask(world, node, 1, 1)
    assert node.node.counters.queries_sent == 5


def test_it_remembers_so_many_flows_and_no_more() -> None:
    ends = Ends()
    for number in range(FLOWS_MAX + 1):
        ends.note(b"%d" % number, 1, b"host", LastBy.ICMP, 0.0)
    assert ends.known(b"0", 1, 0.0) is None
    assert ends.known(b"1", 1, 0.0) is LastBy.ICMP
    assert ends.known(b"1", 2, 0.0) is None


def test_another_flow_to_a_host_without_gist_does_not_wait_for_its_word() -> None:
    world = World()
    node, _, receiver = alone(world)
    ask(world, node, 1)
    receiver.icmp = False  # Linux says so once a second
    node.send(message(flow("10.0.0.1", "10.0.9.1", port=81), sid=b"2" * 16, handle=2))
    world.run(1.45)
    assert len(node.nslp.failures()) == 1
    world.run(0.1)
    assert len(node.nslp.failures()) == 2
    assert node.nslp.notifications(NotificationKind.LAST_NODE)[1].last_by is LastBy.TIMEOUT
    world.run(BARE_S)
    node.send(message(flow("10.0.0.1", "10.0.9.1", port=82), sid=b"3" * 16, handle=3))
    world.run(7.4)
    assert len(node.nslp.failures()) == 2
