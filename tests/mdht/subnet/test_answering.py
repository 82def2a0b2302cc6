import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mdht.subnet.effects import Multicast
from mdht.subnet.holdings import covers, stamp
from mdht.subnet.messages import Ask, Have, State, Value, WhoHas
from mdht.subnet.query import FetchBulk, Outcome, Resolved
from mdht.subnet.view import rank
from mdht.subnet.wire import Header
from tests.mdht.subnet.resolve_network import (
    BULK_S,
    DELAY_S,
    KEY,
    LARGE,
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


@pytest.mark.parametrize("place", range(12))
def test_each_holder_waits_8_ms_more_than_the_one_before_and_nobody_more_than_64(place: int) -> None:
    network = ResolveNetwork(17, targets=12)
    order = rank(KEY, [hid_of(number) for number in range(17)])
    holder = network.hosts[int.from_bytes(order[place], "big")]
    put(holder)
    asker = network.hosts[int.from_bytes(order[16], "big")]
    network.send(asker, WhoHas(qid=b"queryqid", key=KEY))
    network.run(2.0)
    ((at, _),) = network.sent(Have)
    step = min(place, 7)
    assert DELAY_S + step * 0.008 <= at <= DELAY_S + (step + 1) * 0.008


def test_a_holder_that_is_no_target_comes_after_them() -> None:
    network = ResolveNetwork(17, targets=2)
    order = rank(KEY, [hid_of(number) for number in range(17)])
    put(network.hosts[int.from_bytes(order[9], "big")])
    network.send(network.hosts[int.from_bytes(order[16], "big")], WhoHas(qid=b"queryqid", key=KEY))
    network.run(2.0)
    ((at, _),) = network.sent(Have)
    assert DELAY_S + 0.016 <= at <= DELAY_S + 0.024


def test_the_single_holder_answers_without_delay() -> None:
    network = ResolveNetwork(3, single=True)
    put(network.hosts[2])
    network.send(network.hosts[0], WhoHas(qid=b"queryqid", key=KEY))
    network.run(2.0)
    assert network.sent(Have) == [(DELAY_S, 2)]
    assert network.sent(Value) == [(DELAY_S, 2)]


@pytest.mark.parametrize("state", [State.READY, State.LEAVING])
def test_records_beyond_900_bytes_go_over_the_bulk_channel(state: State) -> None:
    network = ResolveNetwork(3, single=True)
    asker, holder, _ = network.hosts
    put(holder, padding=LARGE)
    network.seen_as(1, state)
    get = network.get(asker, KEY)
    network.run(2.0)
    assert get.took_s == pytest.approx(2 * DELAY_S + BULK_S)
    assert get.result.outcome is Outcome.FOUND
    assert not network.sent(Value)


@pytest.mark.parametrize(("total", "inline"), [(900, True), (901, False)])
def test_the_limit_of_a_datagram_counts_what_stands_before_each_record(total: int, inline: bool) -> None:
    network = ResolveNetwork(2, single=True)
    asker, holder = network.hosts
    without = len(msgspec.msgpack.encode(Item(KEY, b"w", 1, bytes(300)))) + 3
    put(holder, padding=bytes(300 + total - without))
    version = holder.items.version(KEY, 0.0)
    assert version is not None
    assert version.size == total
    network.get(asker, KEY)
    network.run(2.0)
    assert bool(network.sent(Value)) == inline


def test_a_probable_holder_says_that_its_records_need_the_bulk_channel() -> None:
    network = ResolveNetwork(2, targets=1)
    asker, holder = network.hosts
    asker.resolver.hints.learn(KEY, (holder.hid,), 0.0)
    put(holder, padding=LARGE)
    get = network.get(asker, KEY)
    network.run(2.0)
    assert get.took_s == pytest.approx(2 * DELAY_S + BULK_S)
    assert not network.sent(WhoHas)


@pytest.mark.parametrize("hinted", [True, False])
def test_a_transfer_that_fails_leads_back_to_the_others(hinted: bool) -> None:
    network = ResolveNetwork(3, single=True)
    asker, broken, holder = network.hosts
    put(broken, 1, padding=LARGE)
    put(holder, 2, padding=LARGE)
    broken.bulk_works = False
    if hinted:
        asker.resolver.hints.learn(KEY, (broken.hid,), 0.0)
    get = network.get(asker, KEY)
    network.run(6.0)
    assert get.took_s <= 1.0
    assert get.result.outcome is Outcome.FOUND
    assert idle(network)


def test_a_transfer_without_end_is_given_up() -> None:
    network = ResolveNetwork(2)
    asker, holder = network.hosts
    results: list[Resolved] = []
    effects = asker.resolver.get(KEY, Ask.ANY, 0.0, results.append)
    (question,) = [effect.message for effect in effects if isinstance(effect, Multicast)]
    assert isinstance(question, WhoHas)
    put(holder, padding=LARGE)
    header = Header(subnet_tag=bytes(8), hid=holder.hid, incarnation=1, seq=1)
    have = have_of(holder, question.qid)
    (bulk,) = asker.resolver.receive(header, have, holder.address, 0.1, multicast=True)
    assert isinstance(bulk, FetchBulk)
    assert asker.resolver.next_deadline() == 5.0
    assert not asker.resolver.receive(header, have, holder.address, 0.2, multicast=True), "one transfer each"
    asker.resolver.tick(5.0)
    (result,) = results
    assert result.partial, "somebody had said that he holds it"
    assert not asker.resolver.on_bulk(question.qid, holder.hid, holder.items.records(KEY, 5.1), 5.1)


def test_large_versions_are_all_fetched_for_latest() -> None:
    network = ResolveNetwork(4)
    for number in (1, 2, 3):
        put(network.hosts[number], number, writer=bytes((number,)), padding=LARGE)
    get = network.get(network.hosts[0], KEY, Ask.LATEST)
    network.run(2.0)
    assert seqs(get.result) == {b"\1": 1, b"\2": 2, b"\3": 3}
    assert get.took_s <= 1.0


@pytest.mark.parametrize("works", [True, False])
def test_the_latest_version_waits_for_transfers_that_have_begun(works: bool) -> None:
    network = ResolveNetwork(3)
    network.bulk_s = 0.3
    put(network.hosts[1], 1, writer=b"a")
    put(network.hosts[2], 2, writer=b"b", padding=LARGE)
    network.hosts[2].bulk_works = works
    get = network.get(network.hosts[0], KEY, Ask.LATEST)
    network.run(6.0)
    assert seqs(get.result) == ({b"a": 1, b"b": 2} if works else {b"a": 1})
    assert 0.3 <= get.took_s <= 0.4
    assert get.result.partial != works


@pytest.mark.parametrize("heard", ["nothing", "equal", "older", "other question", "other key"])
def test_only_an_answer_that_covers_mine_silences_me(heard: str) -> None:
    network = ResolveNetwork(3, targets=3)
    asker, holder, other = network.hosts
    put(holder, 5)
    put(other, 4 if heard == "older" else 5)
    network.send(asker, WhoHas(qid=b"queryqid", key=KEY))
    network.run(DELAY_S)
    have = have_of(other, b"otherqid" if heard == "other question" else b"queryqid")
    if heard == "other key":
        have = msgspec.structs.replace(have, key=OTHER)
    header = Header(subnet_tag=bytes(8), hid=other.hid, incarnation=1, seq=1)
    if heard != "nothing":
        holder.resolver.receive(header, have, other.address, network.now, multicast=True)
    effects = holder.resolver.tick(network.now + 0.064)
    assert bool(effects) == (heard != "equal")


def test_whoever_asks_again_is_answered_again() -> None:
    network = ResolveNetwork(3, single=True)
    put(network.hosts[1])
    for _ in range(3):
        network.send(network.hosts[0], WhoHas(qid=b"queryqid", key=KEY))
        network.run(0.1)
    assert len(network.sent(Value)) == 3


holders = st.lists(st.dictionaries(st.sampled_from([b"a", b"b", b"c"]), st.integers(1, 4), min_size=1), min_size=1)


@given(seed=st.integers(0, 2**32), versions=holders.filter(lambda versions: len(versions) < 12))
def test_whoever_keeps_silent_is_covered_and_whoever_answers_is_not(
    seed: int, versions: list[dict[bytes, int]]
) -> None:
    """On a link without delay, so that what is on its way does not count."""
    network = ResolveNetwork(len(versions) + 1, seed=seed, targets=4, delay_s=0.0)
    asker, *hosts = network.hosts
    for host, version in zip(hosts, versions, strict=True):
        for writer, seq in version.items():
            put(host, seq, writer=writer)
    get = network.get(asker, KEY, Ask.LATEST)
    network.run(0.064 + ROUNDING_S)
    said = [(number, have_of(network.hosts[number])) for _, number in network.sent(Have)]
    if len({stamp((writer, b"", seq) for writer, seq in version.items()) for version in versions}) == 1:
        assert len(said) == 1
    for host in hosts:
        mine = host.items.version(KEY, 0.0)
        assert mine is not None
        others = [have for number, have in said if number != host.number]
        if host.number in dict(said):
            before = [have for _, have in said[: [number for number, _ in said].index(host.number)]]
            assert not any(covers(have, mine) for have in before)
        else:
            assert any(covers(have, mine) for have in others)
    network.run(2.0)
    newest = {w: max(version.get(w, 0) for version in versions) for version in versions for w in version}
    assert seqs(get.result) == newest, "every newer version was answered"


@given(seed=st.integers(0, 2**32), newest=st.lists(st.integers(1, 5), min_size=1, max_size=12))
def test_of_one_writer_the_newest_is_answered_and_answers_only_get_newer(seed: int, newest: list[int]) -> None:
    network = ResolveNetwork(len(newest) + 1, seed=seed, delay_s=0.0)
    for host, seq in zip(network.hosts[1:], newest, strict=True):
        put(host, seq)
    network.send(network.hosts[0], WhoHas(qid=b"queryqid", key=KEY))
    network.run(1.0)
    said = [newest[number - 1] for _, number in network.sent(Have)]
    assert said == sorted(set(said))
    assert said[-1] == max(newest)
