"""Floods and limits: no state for strangers, no large answers, everything bounded and counted."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netserv.errors import LocalProtocolError
from netserv.signaling.gist.config import NSLP_NETSERV, GistConfig
from netserv.signaling.gist.effects import CloseAssociation, SendDatagram
from netserv.signaling.gist.messages import Query
from netserv.signaling.gist.objects.nli import Nli
from netserv.signaling.gist.service import SendFailure, TransferAttributes
from netserv.signaling.gist.stacks import Stacks
from netserv.signaling.gist.wire import MAGIC, encode
from tests.netserv.signaling.gist.recorder import flow, message
from tests.netserv.signaling.gist.single import FLOW, NLI, Single, answer
from tests.netserv.signaling.gist.world import line

DATAGRAM = TransferAttributes()


def test_queries_of_made_up_sources_leave_nothing_and_are_answered_small():
    single = Single()
    before = single.node._commons
    proposal, configuration = Stacks(GistConfig()).offer(secure=False)
    for number in range(20_000):
        address = (0x0B000000 + number).to_bytes(4, "big")
        nli = Nli(peer_identity=number.to_bytes(16, "big"), address=address, ip_ttl=64, validity_ms=1)
        query = Query(
            nslp_id=NSLP_NETSERV,
            mri=flow("10.0.0.1", "10.0.9.1", port=number % 60_000),
            sid=number.to_bytes(16, "big"),
            nli=nli,
            query_cookie=number.to_bytes(16, "big"),
            stack_proposal=proposal,
            stack_configuration=configuration,
        )
        single.world.now += 0.0005
        effects = single.caught(query, in_transit=True, source=(address, 270))
        for effect in effects:
            assert isinstance(effect, SendDatagram)
            assert len(effect.payload) <= 3 * (len(MAGIC) + len(encode(query)))
    assert len(before.table) == len(before.peers) == len(before.timers) == before.queued_bytes == 0
    assert single.node.counters.queries_answered > 0


def test_a_payload_that_would_make_the_response_large_is_left_out():
    single = Single()
    single.host.nslp.payload = bytes(400)
    response = answer(single.caught(single.query(), in_transit=True))
    assert response.nslp_data is None
    assert single.node.counters.payloads_left_out == 1
    single.host.nslp.payload = bytes(40)
    assert answer(single.caught(single.query(), in_transit=True)).nslp_data == bytes(40)


def test_candidates_over_the_rate_are_dropped_and_counted():
    single = Single(GistConfig(queries_per_s=100.0))
    for _ in range(1000):
        single.caught(single.query(), in_transit=True)
    assert single.node.counters.candidates_dropped > 900
    single.world.now += 1.0
    assert single.caught(single.query(), in_transit=True)


def test_a_flood_of_queries_leaves_the_last_quarter_to_what_is_for_us():
    single = Single(GistConfig(queries_per_s=100.0))
    response = answer(single.caught(single.query(), in_transit=True))
    for _ in range(1000):
        single.caught(single.query(), in_transit=True)
    single.caught(single.confirm(response))
    assert single.sessions() == {"responding established": 1}


def test_queries_over_the_rate_of_datagrams_are_held_back_and_sent_later():
    world, sender, second, _ = line(config=GistConfig(datagrams_per_s=40.0))
    for number in range(60):
        sender.send(message(FLOW, b"%d" % number, sid=number.to_bytes(16, "big"), handle=number))
    assert sender.node.counters.queries_sent == 16
    world.run(20.0)
    assert sender.node.counters.datagrams_held_back > 0
    assert not sender.nslp.failures()
    assert len(second.nslp.received) == 60


def test_a_full_table_refuses_own_messages_and_sends_queries_of_others_on():
    world, sender, second, receiver = line(config=GistConfig(sessions_max=2))
    for number in range(3):
        sender.send(message(FLOW, b"x", sid=bytes([number]) * 16, handle=number))
    assert [status.failure for status in sender.nslp.failures()] == [SendFailure.RATE_LIMITED]
    assert sender.node.counters.rows_refused == 1
    world.run(1.0)
    receiver.start()
    other = world.host("o", "10.0.5.1")
    world.link(other, second)
    other.send(message(flow("10.0.5.1", "10.0.9.1"), b"further"))
    world.run(1.0)
    assert receiver.nslp.data() == [b"further"]
    assert second.node.counters.forwarded == 1


def test_waiting_messages_are_bounded_in_number_and_bytes():
    world, _, second, receiver = line(config=GistConfig(queue_max=5, queue_bytes_max=40))
    receiver.icmp = False
    for number in range(7):
        second.send(message(FLOW, b"1234", handle=number))
    assert [status.handle for status in second.nslp.failures()] == [5, 6]
    for number in range(7, 13):
        second.send(message(FLOW, b"1234", sid=b"T" * 16, handle=number))
    assert second.node._commons.queued_bytes == 40
    world.run(10.0)
    assert second.node._commons.queued_bytes == 0
    assert sorted(status.handle for status in second.nslp.failures()) == list(range(13))


def test_half_open_associations_are_bounded_and_closed_in_time():
    single = Single(GistConfig(half_open_max=3))
    peer = (NLI.address, 4000)
    accepted = [single.node.association_accepted(number, peer, secure=False, now=single.now) for number in (2, 4, 6, 8)]
    assert accepted == [[], [], [], [CloseAssociation(2)]]  # a peer would have sent its Confirm by now
    assert [one.number for one in single.node.status(single.now).associations] == [4, 6, 8]
    single.world.run(31.0)
    assert single.node.counters.associations_unconfirmed == 4
    assert single.node.counters.associations_refused == 0
    assert single.node.status(single.now).associations == ()
    assert single.node.association_accepted(10, peer, secure=False, now=single.now) == []


def test_a_peer_that_ends_every_connection_at_once_is_not_connected_to_without_end():
    world, sender, second, _ = line()
    second.perform = lambda effects, perform=second.perform: perform(
        [CloseAssociation(number) for number in list(second.connections)] + effects
    )
    sender.send(message(FLOW, handle=1))
    world.run(5.0)
    assert [status.failure for status in sender.nslp.failures()] == [SendFailure.TRANSPORT]
    assert sender.node.counters.queries_sent == 1


def test_associations_are_bounded():
    world, sender, _, _ = line(config=GistConfig(associations_max=1))
    third = world.host("c", "10.0.3.1")
    world.link(sender, third)
    sender.send(message(FLOW, b"x", handle=1))
    sender.send(message(flow("10.0.0.1", "10.0.3.1"), b"x", handle=2))
    world.run(1.0)
    (failed,) = sender.nslp.failures()
    assert failed.failure is SendFailure.RATE_LIMITED
    assert sender.node.counters.associations_refused == 1


def test_messages_under_way_on_one_association_are_bounded():
    world, sender, second, _ = line()
    sender.send(message(FLOW))
    world.run(1.0)
    for number in range(6000):
        sender.send(message(FLOW, b"%06d" % number, handle=number))
    assert 1800 < len(sender.nslp.failures()) < 2000
    world.run(5.0)
    assert len(second.nslp.received) + len(sender.nslp.failures()) == 6001
    sender.send(message(FLOW, b"again", handle=9999))
    world.run(1.0)
    assert second.nslp.data()[-1] == b"again"


def test_errors_to_one_address_are_few():
    single = Single(GistConfig(errors_per_s=5.0))
    errors = [single.caught(single.data()) for _ in range(100)]
    assert 5 <= sum(map(bool, errors)) <= 12
    assert single.node.counters.errors_held_back >= 88
    elsewhere = Nli(peer_identity=b"x", address=bytes([10, 0, 0, 7]), ip_ttl=64, validity_ms=1)
    assert single.caught(single.data(nli=elsewhere), source=(elsewhere.address, 270))


def test_an_error_is_never_sent_for_much_less_than_its_own_size():
    single = Single()
    assert single.caught(MAGIC + bytes.fromhex("0220000000000080")) == []
    assert single.node.counters.errors_held_back == 1


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200), st.booleans(), st.booleans())
def test_any_bytes_are_taken_without_a_traceback_and_without_state(data, in_transit, magic):
    single = Single()
    single.caught((MAGIC if magic else b"") + data, in_transit=in_transit)
    single.node.unreachable(NLI.address, data, single.now)
    single.node.association_accepted(2, (NLI.address, 1), secure=False, now=single.now)
    single.node.association_data(2, data, single.now)
    assert len(single.node._commons.table) == 0


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_broken_messages_of_every_kind_are_taken_without_a_traceback(draw):
    single = Single()
    response = single.established()
    kinds = [single.query(), response, single.confirm(response), single.data()]
    data = bytearray(encode(draw.draw(st.sampled_from(kinds))))
    for _ in range(draw.draw(st.integers(1, 4))):
        data[draw.draw(st.integers(0, len(data) - 1))] = draw.draw(st.integers(0, 255))
    single.caught(MAGIC + bytes(data), in_transit=draw.draw(st.booleans()))
    assert len(single.node._commons.table) <= 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"data": b"x" * 16_384},
        {"sid": b"short"},
        {"hops": 256},
        {"ip_ttl": 0},
        {"timeout_s": 0.0},
    ],
    ids=lambda wrong: next(iter(wrong)),
)
def test_a_message_that_gist_cannot_write_is_refused_before_anything_happens(wrong):
    single = Single()
    fields = {"mri": FLOW} | wrong
    with pytest.raises(LocalProtocolError):
        single.node.send(message(**fields), single.now)
    assert single.sessions() == {}
