"""Who decides whether a subnet is a client, and by what; whole networks of them are in `keeping/test_clients.py`."""

from dhtboot.bootstrap_messages import BootstrapPacket, JoinReport, LeaveReport
from mdht.subnet.messages import State
from mdht.subnet.reachability import Verdict
from tests.mdht.subnet.test_node_part import KADEMLIA, Host, World


def a_node_of_two() -> tuple[World, Host, Host]:
    """Two hosts that answer for a node which knows another one; the first of them decides."""
    world = World(KADEMLIA)
    world.ring_of_one()
    pair = world.subnet("two", 2)
    first, second = sorted(pair, key=lambda host: host.hid)
    world.look(first)
    world.join(first)
    world.perform(second, second.part.take_over(world.now))
    world.run(2.0)
    assert [host.membership.state for host in pair] == [State.READY] * 2
    return world, first, second


def tell(first: Host, second: Host) -> None:
    """As their heartbeats do."""
    for host, other in ((first, second), (second, first)):
        member = other.membership.view.get(host.hid)
        assert member is not None
        report = host.membership.report
        other.membership.view.note_outside(member, report.mapped, unlisted=report.unlisted)


def test_a_node_is_a_client_when_all_of_its_hosts_have_said_that_they_are_not_reached() -> None:
    world, first, second = a_node_of_two()
    tell(first, second)
    for host in (first, second):
        host.part.face.reach.verdict = Verdict.UNREACHED
        assert host.part.outside.tell()
        assert not host.part.outside.tell(), "it was told"
    assert not first.part.outside.must_change, "the other has not said so yet"
    tell(first, second)
    assert (first.part.outside.must_change, second.part.outside.must_change) == (True, False)
    world.perform(first, first.part.tick(world.now))
    world.run(1.0)
    assert first.part.step.client
    assert second.part.step.client
    assert not first.part.outside.must_change


def test_who_comes_to_a_client_takes_hosts_that_have_said_nothing_for_such_as_itself() -> None:
    world, first, second = a_node_of_two()
    second.part.face.reach.verdict = Verdict.UNREACHED
    for host in (first, second):
        host.part.step.change(world.now, client=True)
    assert first.part.face.reach.verdict is Verdict.UNKNOWN
    member = first.membership.view.get(second.hid)
    assert member is not None
    assert member.unlisted is None
    assert first.part.outside.unlisted
    assert not first.part.outside.must_change
    first.part.face.reach.verdict = Verdict.REACHED
    assert first.part.outside.must_change


def test_only_a_host_that_is_reached_where_the_server_sees_it_is_on_its_list() -> None:
    world, first, second = a_node_of_two()
    tell(first, second)

    def said() -> list[type]:
        first.said.clear()
        world.perform(first, first.part._report(world.now))
        world.run(1.0)
        return [type(packet.message) for packet in first.said if isinstance(packet, BootstrapPacket)]

    reach = first.part.face.reach
    reach.verdict = Verdict.UNREACHED
    assert said() == [LeaveReport]
    assert said() == []
    reach.verdict, reach.mapped, reach.seen = Verdict.REACHED, ("10.0.9.9", 1), ("10.0.9.9", 2)
    assert said() == []
    reach.seen = reach.mapped
    assert JoinReport in said()
