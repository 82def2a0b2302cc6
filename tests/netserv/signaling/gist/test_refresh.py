"""Routing state stays alive while it is wanted, and goes when it is not."""

import itertools

import pytest

from netserv.signaling.gist.config import GistConfig
from netserv.signaling.gist.service import NotificationKind, RoutingStatus, TransferAttributes
from tests.netserv.signaling.gist.recorder import RELIABLE, flow, message
from tests.netserv.signaling.gist.world import line

FLOW = flow("10.0.0.1", "10.0.9.1")
LONG = 1e6


def session(attributes=RELIABLE, **how):
    world, sender, second, receiver = line(**how)
    sender.send(message(FLOW, attributes=attributes))
    world.run(0.5)
    sender.perform(sender.node.set_state_lifetime(32704, FLOW, b"S" * 16, LONG, world.now))
    return world, sender, second, receiver


@pytest.mark.parametrize("attributes", [RELIABLE, TransferAttributes()], ids=["association", "datagrams"])
def test_a_refresh_in_which_nothing_is_new_takes_a_query_and_a_response(attributes):
    world, sender, second, _ = session(attributes)
    before = second.node.counters.handshakes_as_responder
    world.run(600.0)
    assert second.node.counters.handshakes_as_responder == before == 1
    assert 600 / 22.5 - 1 <= second.node.counters.refreshes_answered <= 600 / 15 + 1
    assert len(sender.nslp.notifications(NotificationKind.ROUTING_STATUS_CHANGE)) == 1
    assert len(second.nslp.notifications(NotificationKind.ROUTING_STATUS_CHANGE)) == 1


def test_refreshes_come_at_random_in_a_half_to_three_quarters_of_the_validity():
    world, sender, second, _ = session(TransferAttributes())
    times = []
    for _ in range(30):
        count = sender.node.counters.queries_sent
        while sender.node.counters.queries_sent == count:
            world.run(0.1)
        times.append(world.now)
    pauses = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert 14.9 <= min(pauses) < 17.0
    assert 20.5 < max(pauses) <= 22.7
    assert len({round(pause, 1) for pause in pauses}) > 10
    assert second.node.status(world.now).sessions == {"responding established": 1}


def test_the_responder_decides_how_long_state_lives():
    world, sender, second, _ = line()
    second.config = GistConfig(validity_s=120.0)
    second.start()
    sender.send(message(FLOW, attributes=TransferAttributes()))
    world.run(0.5)
    sender.perform(sender.node.set_state_lifetime(32704, FLOW, None, LONG, world.now))
    world.run(59.0)
    assert sender.node.counters.queries_sent == 1
    world.run(32.0)
    assert sender.node.counters.queries_sent == 2


@pytest.mark.parametrize("lost_at_s", [0.0, 1.0, 3.0])
def test_what_waits_when_state_runs_out_goes_when_the_next_node_answers_again(lost_at_s):
    """State of 4 s runs out before a first search would give up, 7.5 s after its Query."""
    config = GistConfig(validity_s=4.0)
    world, sender, second, receiver = line(config=config)
    receiver.icmp = False
    sender.send(message(FLOW, b"first", attributes=TransferAttributes()))
    world.run(lost_at_s or 0.5)
    world.links[0].loss = 1.0
    sender.send(message(FLOW, b"second"))  # needs an association
    world.run(5.5)
    world.links[0].loss = 0.0
    world.run(4.0)
    assert second.nslp.data() == [b"first", b"second"]
    assert sender.node.status(world.now).sessions == {"querying established": 1}


def test_a_search_anew_has_its_time_though_the_state_before_it_runs_out():
    config = GistConfig(validity_s=4.0)
    world, sender, second, receiver = line(config=config)
    receiver.icmp = False
    sender.send(message(FLOW, b"first"))
    world.run(1.0)
    world.links[0].loss = 1.0
    doubt = sender.node.invalidate_routing_state(32704, FLOW, RoutingStatus.BAD, urgent=True, now=world.now)
    sender.perform(doubt)
    sender.send(message(FLOW, b"second"))
    world.run(3.3)  # its last Query leaves after 3.5 s
    world.links[0].loss = 0.0
    world.run(4.0)
    assert second.nslp.data() == [b"first", b"second"]


def test_a_released_session_is_gone_at_once_here_and_after_its_validity_there():
    world, sender, second, _ = session(TransferAttributes())
    sender.perform(sender.node.set_state_lifetime(32704, FLOW, b"S" * 16, 0.0, world.now))
    assert sender.node.status(world.now).sessions == {}
    world.run(29.0)
    assert second.node.status(world.now).sessions == {"responding established": 1}
    world.run(2.0)
    assert second.node.status(world.now).sessions == {}
    assert second.nslp.notifications(NotificationKind.ROUTE_DELETION)


def test_a_release_right_behind_a_message_lets_the_message_go_first():
    world, sender, second, _ = line()
    sender.send(message(FLOW, b"last words"))
    sender.perform(sender.node.set_state_lifetime(32704, FLOW, b"S" * 16, 0.0, world.now))
    world.run(1.0)
    assert second.nslp.data() == [b"last words"]
    assert sender.node.status(world.now).sessions == {}


def test_state_without_messages_ends_by_itself():
    world, sender, second, _ = line(config=GistConfig(inactive_s=50.0))
    sender.send(message(FLOW))
    world.run(100.0)
    assert sender.node.status(world.now).sessions == {}
    assert second.node.status(world.now).sessions == {}
    world.run(100.0)
    assert sender.node.status(world.now).associations == ()
    assert second.node.status(world.now).associations == ()


def test_state_downstream_is_not_refreshed_when_the_state_upstream_has_expired():
    world, sender, second, receiver = line()
    receiver.start()
    sender.send(message(FLOW))
    world.run(0.5)
    second.send(message(FLOW))
    world.run(0.5)
    second.perform(second.node.set_state_lifetime(32704, FLOW, None, LONG, world.now))
    assert second.node.status(world.now).sessions == {"querying established": 1, "responding established": 1}
    sender.kill()
    world.run(100.0)
    assert second.node.status(world.now).sessions == {}
    assert receiver.node.status(world.now).sessions == {}


def test_validity_grows_with_the_number_of_rows():
    config = GistConfig(datagrams_per_s=20.0)
    _, sender, _, _ = line(config=config)
    for number in range(400):
        sender.send(message(FLOW, b"x", sid=number.to_bytes(16, "big"), attributes=TransferAttributes()))
    assert sender.node._commons.validity_s() == 40.0


def test_a_peer_that_is_gone_ends_the_session_within_its_validity():
    world, sender, second, receiver = session()
    receiver.icmp = False
    second.kill()
    world.run(40.0)
    assert sender.node.status(world.now).sessions == {}
    assert sender.nslp.notifications(NotificationKind.ROUTE_DELETION)
    assert sender.nslp.notifications(NotificationKind.LAST_NODE)
