from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mdht.subnet.effects import Multicast, Unicast
from mdht.subnet.messages import Ask, Fetch, Have, Message, Nack, Note, Value, WhoHas
from mdht.subnet.query import FetchBulk, Outcome
from mdht.subnet.resolve_config import ResolveConfig
from mdht.subnet.wire import Header, LinkCodec
from tests.mdht.subnet.resolve_network import (
    DELAY_S,
    KEY,
    OTHER,
    ROUNDING_S,
    Item,
    ResolveNetwork,
    have_of,
    hid_of,
    idle,
    put,
    seqs,
)


def test_everybody_learns_the_holder_from_an_answer_and_believes_it_a_minute() -> None:
    network = ResolveNetwork(5, single=True)
    put(network.hosts[1])
    network.get(network.hosts[0], KEY)
    network.run(0.1)
    at = network.sent(Have)[0][0] + DELAY_S
    for number in (0, 2, 3, 4):
        hints = network.hosts[number].resolver.hints
        assert hints.holders(KEY, at + 59.9) == (hid_of(1),)
        assert hints.holders(KEY, at + 60.0) == ()


def test_a_hint_that_was_wrong_is_forgotten() -> None:
    network = ResolveNetwork(3)
    hints = network.hosts[0].resolver.hints
    hints.learn(KEY, (hid_of(1),), 0.0)
    network.get(network.hosts[0], KEY)
    network.run(2.0)
    assert hints.holders(KEY, network.now) == ()


def test_a_note_replaces_the_hint_and_names_no_one_who_reads_it() -> None:
    network = ResolveNetwork(3)
    reader, other, third = network.hosts
    network.send(third, Note(key=KEY, stamp=bytes(8), wanted=2, holders=(reader.hid, other.hid)))
    network.run(0.01)
    assert reader.resolver.hints.holders(KEY, network.now) == (other.hid,)
    network.send(third, Note(key=KEY, stamp=bytes(8), wanted=0, holders=()))
    network.run(0.01)
    assert reader.resolver.hints.holders(KEY, network.now) == ()


def test_one_sender_is_answered_50_times_a_second() -> None:
    network = ResolveNetwork(3, single=True)
    put(network.hosts[1])
    for _ in range(300):
        network.send(network.hosts[0], WhoHas(qid=network._rng.randbytes(8), key=KEY))
        network.run(0.01)
    answered = len(network.sent(Value))
    assert 3 * 50 <= answered <= 50 + 3 * 50, "a silent host has saved up a second's worth"
    assert network.hosts[1].resolver.counters["sender_over_rate"] == 300 - answered


def test_one_link_carries_200_a_second_and_a_flood_of_one_sender_leaves_others_their_share() -> None:
    network = ResolveNetwork(12, single=True)
    put(network.hosts[11])
    for _ in range(100):
        for number in range(10):
            network.send(network.hosts[number], WhoHas(qid=network._rng.randbytes(8), key=KEY))
        network.run(0.03)
    answered = len(network.sent(Value))
    assert 3 * 200 <= answered <= 200 + 3 * 200
    counters = network.hosts[11].resolver.counters
    assert counters["link_over_rate"] + counters["sender_over_rate"] == 1000 - answered


def test_a_host_keeps_within_the_limits_itself() -> None:
    network = ResolveNetwork(17)
    gets = [network.get(network.hosts[0], number.to_bytes(20, "big")) for number in range(120)]
    network.run(2.0)
    assert len(network.sent(WhoHas)) <= 50 + 50
    assert network.hosts[0].resolver.counters["sender_over_rate"] > 0
    assert network.hosts[1].resolver.counters["sender_over_rate"] == 0
    assert all(get.took_s <= 1.0 + ROUNDING_S for get in gets)
    assert all(get.result.partial == (get.result.asks == 0) for get in gets), "some were never asked"
    assert {get.result.asks for get in gets} >= {0, 1}
    assert idle(network)


def test_gets_under_way_are_bounded() -> None:
    network = ResolveNetwork(17, config=ResolveConfig(gets_max=3))
    gets = [network.get(network.hosts[0], number.to_bytes(20, "big")) for number in (1, 1, 2, 3, 1)]
    assert [get.result.outcome for get in gets[3:]] == [Outcome.BUSY, Outcome.BUSY]
    network.run(2.0)
    assert [get.result.outcome for get in gets[:3]] == [Outcome.NOT_FOUND] * 3
    network.get(network.hosts[0], KEY)
    assert network.hosts[0].resolver._waiting == 1


def test_answers_that_wait_are_bounded() -> None:
    network = ResolveNetwork(2, config=ResolveConfig(answers_max=5))
    for _ in range(8):
        network.send(network.hosts[0], WhoHas(qid=network._rng.randbytes(8), key=KEY, ask=Ask.DENIAL))
    network.run(2.0)
    assert len(network.sent(Nack)) == 5
    assert network.hosts[1].resolver.counters["answers_full"] == 3


def test_records_of_one_sender_are_believed_once_and_unlawful_ones_never() -> None:
    network = ResolveNetwork(3)
    asker, liar, holder = network.hosts
    put(holder)
    get = network.get(asker, KEY, Ask.LATEST)
    (qid,) = asker.resolver._queries
    header = Header(subnet_tag=bytes(8), hid=liar.hid, incarnation=1, seq=1)
    forged = msgspec.msgpack.encode(Item(OTHER, b"w", 9))
    for _ in range(3):
        lies = Value(qid=qid, key=KEY, records=(b"junk", forged))
        asker.resolver.receive(header, lies, liar.address, 0.0, multicast=False)
    network.run(2.0)
    assert seqs(get.result) == {b"w": 1}
    assert asker.resolver.counters["unlawful"] == 1
    assert asker.resolver.counters["surplus_values"] == 2


def test_whoever_is_no_member_is_neither_answered_nor_believed() -> None:
    network = ResolveNetwork(3, single=True)
    host = network.hosts[0]
    put(host)
    stranger = Header(subnet_tag=bytes(8), hid=b"stranger", incarnation=1, seq=1)
    messages: list[tuple[Message, bool]] = [
        (WhoHas(qid=b"queryqid", key=KEY), True),
        (Fetch(qid=b"queryqid", key=KEY), False),
        (have_of(host, key=KEY), True),
        (Note(key=OTHER, stamp=bytes(8), wanted=1, holders=(hid_of(1),)), True),
    ]
    for message, multicast in messages:
        assert not host.resolver.receive(stranger, message, ("192.0.2.99", 9), 0.0, multicast=multicast)
    assert host.resolver.counters["strangers"] == 4
    assert len(host.resolver.hints) == 0


def test_a_member_is_answered_only_where_it_has_shown_to_be() -> None:
    network = ResolveNetwork(3, single=True)
    put(network.hosts[0])
    header = Header(subnet_tag=bytes(8), hid=hid_of(1), incarnation=1, seq=1)
    fetch = Fetch(qid=b"queryqid", key=KEY)
    (effect,) = network.hosts[0].resolver.receive(header, fetch, ("203.0.113.9", 9), 0.0, multicast=False)
    assert isinstance(effect, Unicast)
    assert effect.to == network.hosts[1].address


lengths = st.binary(max_size=30)
numbers = st.integers(-(2**70), 2**70)
malformed = st.one_of(
    st.builds(WhoHas, qid=lengths, key=lengths | st.just(KEY), ask=st.sampled_from([Ask.ANY, Ask.LATEST, Ask.DENIAL])),
    st.builds(
        Have, qid=lengths, key=lengths | st.just(KEY), stamp=lengths, newest=numbers, records=numbers, size=numbers
    ),
    st.builds(Note, key=lengths, stamp=lengths, wanted=numbers, holders=st.lists(lengths, max_size=12).map(tuple)),
    st.builds(Fetch, qid=lengths, key=lengths | st.just(KEY)),
    st.builds(Value, qid=lengths, key=lengths | st.just(KEY), records=st.lists(lengths, max_size=5).map(tuple)),
    st.builds(Nack, qid=lengths, key=lengths | st.just(KEY)),
)


@given(st.lists(st.tuples(malformed, st.booleans(), st.booleans()), max_size=20), st.booleans())
def test_messages_of_any_lengths_raise_nothing_and_every_answer_can_be_sent(
    said: list[tuple[Any, bool, bool]], holds: bool
) -> None:
    network = ResolveNetwork(3)
    host = network.hosts[0]
    if holds:
        put(host)
    else:
        network.get(host, KEY)
    codec, now = LinkCodec("test"), 0.0
    qids = [*host.resolver._queries, b"queryqid"]
    for message, multicast, known in said:
        header = Header(subnet_tag=bytes(8), hid=hid_of(1) if known else b"", incarnation=1, seq=1)
        now += 0.01
        fitting = message if isinstance(message, Note) else msgspec.structs.replace(message, qid=qids[0])
        for one in (message, fitting):
            effects = host.resolver.receive(header, one, network.hosts[1].address, now, multicast=multicast)
            for effect in [*effects, *host.resolver.tick(now)]:
                assert isinstance(effect, Multicast | Unicast | FetchBulk)
                codec.encode(header if known else msgspec.structs.replace(header, hid=bytes(8)), effect.message)


@pytest.mark.parametrize(
    "wrong", [{"fetch_rto_s": 0.0}, {"asks_s": ()}, {"asks_s": (0.1,)}, {"asks_s": (0.0, 0.4, 0.1)}, {"gets_max": 0}]
)
def test_settings_out_of_bounds_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must"):
        ResolveConfig(**wrong)
