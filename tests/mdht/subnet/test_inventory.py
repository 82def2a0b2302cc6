import itertools
from random import Random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mdht.experiments.link_run import DELAY_S, hid_of
from mdht.records import Copy
from mdht.subnet.bloom import Bloom
from mdht.subnet.effects import Unicast
from mdht.subnet.inventory_config import InventoryConfig
from mdht.subnet.messages import Fetch, Have, Nack, State, Value, WhoHas
from mdht.subnet.messages import Inventory as Said
from mdht.subnet.query import Outcome
from mdht.subnet.wire import Header
from tests.mdht.subnet.cache_link import CALM, CacheLink, gone, records_of
from tests.mdht.subnet.store_link import key_of, record

KEY = key_of(1)
ROUND_S = 2 * DELAY_S


def header_of(number: int, incarnation: int = 1) -> Header:
    return Header(subnet_tag=b"tagtagta", hid=hid_of(number), incarnation=incarnation, seq=10**6)


def tell(link: CacheLink, to: int, message: Said, *, by: int = 1, incarnation: int = 1) -> None:
    host, sender = link.hosts[to], link.hosts[by]
    header = header_of(by, incarnation)
    link.perform(host, host.inventory.receive(header, message, sender.address, link.now, multicast=True))


# ---- finding what is cached ------------------------------------------------------------------------------------------


def test_own_copies_are_the_answer_at_once() -> None:
    link = CacheLink(2)
    link.put(0, record(1))
    assert records_of(link.get(0, KEY)) == [record(1)]
    assert not link.messages(Fetch)


def test_what_a_sibling_has_fetched_is_had_from_it_in_a_round_trip() -> None:
    link = CacheLink(3)
    link.put(0, record(1))
    link.run(0.1)
    results = link.get(1, KEY)
    link.run(0.1)
    assert records_of(results) == [record(1)]
    assert results[0][0] == pytest.approx(ROUND_S)
    assert [number for _, number, _ in link.messages(Fetch)] == [1]


def test_what_nobody_has_is_known_at_once_not_to_be_here() -> None:
    link = CacheLink(3)
    ((took_s, result),) = link.get(1, KEY)
    assert (took_s, result.outcome) == (0.0, Outcome.NOT_FOUND)


def test_what_comes_from_a_sibling_is_not_cached_again() -> None:
    link = CacheLink(2)
    link.put(0, record(1))
    link.run(30.0)
    link.get(1, KEY)
    link.run(1.0)
    assert not link.hosts[1].inventory.cached(KEY, link.now)
    link.run(30.0)
    results = link.get(1, KEY)
    link.run(1.0)
    assert records_of(results) == [], "a minute after it came to the link it has ended"


def test_the_sibling_that_announced_it_last_is_asked_first() -> None:
    link = CacheLink(4)
    for number in (1, 3, 2):
        link.put(number, record(1))
        link.run(1.5)
    link.get(0, KEY)
    link.run(0.1)
    assert [number for _, number, _ in link.messages(Value)] == [2]


def test_one_that_has_dropped_it_costs_a_round_trip_and_the_next_is_asked() -> None:
    link = CacheLink(3, CALM)
    for number in (1, 2):
        link.put(number, record(1))
        link.run(0.1)
    link.hosts[2].inventory.cache.drop(KEY)
    results = link.get(0, KEY)
    link.run(0.5)
    assert records_of(results) == [record(1)]
    assert results[0][0] == pytest.approx(2 * ROUND_S)
    link.get(0, KEY)
    link.run(0.5)
    assert len(link.messages(Nack)) == 1, "what it has denied it is not asked for again"


def test_two_silent_siblings_cost_200_ms_and_no_third_is_asked() -> None:
    link = CacheLink(5, CALM)
    for number in (1, 2, 3):
        link.put(number, record(1))
        link.run(0.1)
    for number in (1, 2, 3):
        link.hosts[number].alive = False
    results = link.get(0, KEY)
    link.run(0.5)
    ((took_s, result),) = results
    assert (result.outcome, took_s) == (Outcome.NOT_FOUND, pytest.approx(0.2))
    assert link.hosts[0].inventory.counters["silent"] == 2


def test_one_that_is_found_gone_is_waited_for_no_longer() -> None:
    link = CacheLink(3, CALM)
    link.put(1, record(1))
    link.run(0.1)
    link.hosts[1].alive = False
    results = link.get(0, KEY)
    gone(link, 1, State.DEAD)
    assert records_of(results) == []
    assert link.hosts[0].inventory.next_deadline() > link.now + 1.0


def test_gets_of_a_key_under_way_share_one_question() -> None:
    link = CacheLink(2)
    link.put(0, record(1))
    link.run(0.1)
    first, second = link.get(1, KEY), link.get(1, KEY)
    link.run(0.1)
    assert records_of(first) == records_of(second) == [record(1)]
    assert len(link.messages(Fetch)) == 1


def test_beyond_its_limit_of_gets_it_sends_on_to_the_overlay() -> None:
    link = CacheLink(2, InventoryConfig(gets_max=2))
    link.put(0, record(1))
    link.run(0.1)
    gets = [link.get(1, KEY) for _ in range(3)]
    assert records_of(gets[2]) == []
    link.run(0.1)
    assert [len(records_of(get)) for get in gets] == [1, 1, 0]
    assert records_of(link.get(1, key_of(2))) == []


def test_who_is_told_may_look_up_more() -> None:
    link = CacheLink(2)
    link.put(0, record(1))
    inventory = link.hosts[0].inventory
    found = []
    inventory.get(KEY, link.now, lambda _: found.extend([inventory.get(KEY, link.now, found.append)]))
    assert len(found) == 2


@pytest.mark.parametrize("size", [800, 2000])
def test_much_comes_in_bulk(size: int) -> None:
    link = CacheLink(2)
    records = [record(1, size=400, writer=bytes([number]) * 32) for number in range(size // 400)]
    link.put(0, *records)
    link.run(0.1)
    results = link.get(1, KEY)
    link.run(0.1)
    assert set(records_of(results)) == set(records)
    assert len(link.messages(Have)) == 1


def test_bulk_that_fails_is_not_the_end() -> None:
    link = CacheLink(3, msgspec.structs.replace(CALM, inline_max=500))
    large = record(1, size=700)
    for number in (1, 2):
        link.put(number, large)
        link.run(0.1)
    link.hosts[2].bulk_works = False
    results = link.get(0, KEY)
    link.run(1.0)
    assert records_of(results) == [large]


def test_records_that_are_not_lawful_are_not_believed() -> None:
    link = CacheLink(2, CALM)
    link.put(1, record(1))
    link.run(0.1)
    host, liar = link.hosts[0], link.hosts[1]
    results = link.get(0, KEY)
    fetch = link.messages(Fetch)[0][2]
    lie = Value(qid=fetch.qid, key=KEY, records=(b"\xff" * 40,))
    link.perform(host, host.inventory.receive(header_of(1), lie, liar.address, link.now, multicast=False))
    assert records_of(results) == []
    assert host.inventory.counters["unlawful"] == 1


# ---- announcements ---------------------------------------------------------------------------------------------------


def test_changes_are_told_at_once_then_once_a_second() -> None:
    link = CacheLink(2)
    began = link.now
    for number in range(30):
        link.put(0, record(number))
        link.run(0.1)
    link.run(2.0)
    said = [(at - began, message) for at, _, message in link.messages(Said) if message.prefixes and at >= began]
    assert [at for at, _ in said] == pytest.approx([0.0, 1.0, 2.0, 3.0], abs=0.01)
    assert [len(message.prefixes) for _, message in said] == [1, 10, 10, 9]
    assert [message.part for _, message in said] == [1, 2, 3, 4]


def test_more_than_40_changes_are_told_in_parts() -> None:
    link = CacheLink(2, InventoryConfig(filter_s=200.0))
    for number in range(100):
        link.put(0, record(number))
    link.run(5.0)
    said = [message for _, _, message in link.messages(Said) if message.prefixes]
    assert [len(message.prefixes) for message in said] == [1, 40, 40, 19]
    assert {prefix for message in said for prefix in message.prefixes} == {key_of(number)[:8] for number in range(100)}


def test_a_filter_of_all_is_told_every_minute_in_a_generation_of_its_own() -> None:
    link = CacheLink(2, InventoryConfig(keep_s=1_000.0))
    for number in range(3):
        link.put(0, record(number, lease_s=10_000), remaining_s=10_000.0)
    link.run(200.0)
    filters = [(at, message) for at, _, message in link.messages(Said) if message.filter]
    assert len(filters) >= 3
    assert all(later[0] - one[0] == pytest.approx(60.0) for one, later in itertools.pairwise(filters))
    generations = [message.generation for _, message in filters]
    assert generations == list(range(generations[0], generations[0] + len(filters)))
    assert {message.part for _, message in filters} == {0}
    bloom = Bloom.from_bytes(filters[0][1].filter)
    assert all(key_of(number) in bloom for number in range(3))


def test_who_has_nothing_or_nobody_to_tell_is_silent() -> None:
    link = CacheLink(2)
    link.run(200.0)
    assert not link.messages(Said)
    alone = CacheLink(1)
    alone.put(0, record(1))
    alone.run(100.0)
    assert not alone.messages(Said)


def test_one_that_missed_the_announcement_learns_it_from_the_filter() -> None:
    link = CacheLink(2, InventoryConfig(keep_s=200.0))
    link.hosts[1].hears_multicast = False
    link.put(0, record(1))
    link.run(0.1)
    link.hosts[1].hears_multicast = True
    assert records_of(link.get(1, KEY)) == []
    link.run(60.0)
    results = link.get(1, KEY)
    link.run(0.1)
    assert records_of(results) == [record(1)]


def test_a_filter_is_believed_as_long_as_copies_are_kept() -> None:
    link = CacheLink(2, CALM)
    tell(link, 0, Said(generation=2, part=0, filter=bytes(Bloom.of([KEY]))))
    announced = link.hosts[0].inventory._announced
    assert announced.holders(KEY, link.now + 59.9) == [hid_of(1)]
    assert announced.holders(KEY, link.now + 60.0) == []


@pytest.mark.parametrize(
    ("incarnation", "generation", "believed"), [(1, 4, True), (1, 5, False), (1, 6, False), (2, 1, False)]
)
def test_a_filter_gives_way_to_its_successor_only(incarnation: int, generation: int, believed: bool) -> None:
    link = CacheLink(2, CALM)
    announced = link.hosts[0].inventory._announced
    tell(link, 0, Said(generation=5, part=0, filter=bytes(Bloom.of([KEY]))))
    tell(link, 0, Said(generation=generation, part=0, filter=bytes(Bloom())), incarnation=incarnation)
    assert announced.holders(KEY, link.now) == ([hid_of(1)] if believed else [])


def test_a_change_that_belongs_to_a_lost_filter_ends_the_one_before_it() -> None:
    link = CacheLink(2, CALM)
    announced = link.hosts[0].inventory._announced
    tell(link, 0, Said(generation=5, part=0, filter=bytes(Bloom.of([KEY]))))
    tell(link, 0, Said(generation=5, part=1, prefixes=(key_of(2)[:8],)))
    assert announced.holders(KEY, link.now) == [hid_of(1)]
    tell(link, 0, Said(generation=6, part=1, prefixes=(key_of(3)[:8],)))
    assert announced.holders(KEY, link.now) == []
    assert [announced.holders(key_of(number), link.now) for number in (2, 3)] == [[hid_of(1)]] * 2


@pytest.mark.parametrize("state", [State.DEAD, State.LEFT, State.JOINING])
def test_the_filter_of_one_that_is_gone_or_starts_anew_is_forgotten(state: State) -> None:
    link = CacheLink(3, CALM)
    tell(link, 0, Said(generation=2, part=0, filter=bytes(Bloom.of([KEY]))))
    gone(link, 1, state)
    assert records_of(link.get(0, KEY)) == []
    assert len(link.hosts[0].inventory._announced) == 0


def test_a_filter_of_another_size_is_counted() -> None:
    link = CacheLink(2, CALM)
    tell(link, 0, Said(generation=2, part=0, filter=bytes(7)))
    assert link.hosts[0].inventory.counters["malformed"] == 1


# ---- newer versions --------------------------------------------------------------------------------------------------


def test_a_newer_version_that_passes_drops_the_copy_and_those_of_siblings_are_not_asked_for() -> None:
    link = CacheLink(2, CALM)
    for number in (0, 1):
        link.put(number, record(1, 1))
    link.run(0.1)
    host = link.hosts[0]
    host.inventory.seen(record(1, 1), link.now)
    assert records_of(link.get(0, KEY)) == [record(1, 1)], "it is none"
    host.inventory.seen(record(1, 2), link.now)
    assert records_of(link.get(0, KEY)) == []
    link.run(59.0)
    assert records_of(link.get(0, KEY)) == []
    link.put(0, record(1, 2))
    assert records_of(link.get(0, KEY)) == [record(1, 2)]


@pytest.mark.parametrize(("asked_s", "is_cached"), [(2.1, False), (1.1, False), (0.9, True)])
def test_what_was_asked_before_or_just_after_a_newer_version_passed_is_not_cached(
    asked_s: float, is_cached: bool
) -> None:
    link = CacheLink(2, CALM)
    host = link.hosts[0]
    host.inventory.seen(record(1, 2), link.now)
    link.run(3.0)
    link.put(0, record(1, 1), asked_s=asked_s)
    assert bool(host.inventory.cached(KEY, link.now)) == is_cached
    assert host.inventory.counters["unsettled"] == (not is_cached)


def test_hits_are_counted_by_where_and_with_the_bytes_that_others_need_not_send() -> None:
    link = CacheLink(2)
    link.put(0, record(1))
    link.run(0.1)
    link.get(0, KEY)
    for _ in range(2):
        link.get(1, KEY)
    link.run(0.1)
    link.get(1, key_of(2))
    size = len(msgspec.msgpack.encode(Copy(record(1), 300.0)))
    here, there = (host.inventory.counters for host in link.hosts)
    assert (here["own_hits"], here["bytes_saved"]) == (1, size)
    assert (there["sibling_hits"], there["bytes_saved"], there["misses"]) == (2, 2 * size, 1)


# ---- the seam to the store -------------------------------------------------------------------------------------------


def test_only_what_is_asked_of_caches_and_own_answers_are_taken() -> None:
    link = CacheLink(2, CALM)
    link.put(1, record(1))
    link.run(0.1)
    link.get(0, KEY)
    inventory = link.hosts[0].inventory
    ((_, _, fetch),) = link.messages(Fetch)
    assert fetch.cached
    assert inventory.takes(fetch)
    assert inventory.takes(Nack(qid=fetch.qid, key=KEY))
    assert inventory.takes(Said(generation=1, part=0))
    for other in (
        Fetch(qid=b"queryqid", key=KEY),
        Nack(qid=b"queryqid", key=KEY),
        Value(qid=b"queryqid", key=KEY, records=()),
        WhoHas(qid=b"queryqid", key=KEY, ask=0, hops=0),
    ):
        assert not inventory.takes(other)
        args = (header_of(1), other, link.hosts[1].address, link.now)
        assert not inventory.receive(*args, multicast=False)


def test_a_stranger_gets_no_answer() -> None:
    link = CacheLink(2, CALM)
    link.put(0, record(1))
    inventory = link.hosts[0].inventory
    fetch = Fetch(qid=b"queryqid", key=KEY, cached=True)
    assert not inventory.receive(header_of(9), fetch, ("192.0.2.9", 9), link.now, multicast=False)
    assert inventory.counters["strangers"] == 1


@pytest.mark.parametrize(
    ("fetch", "multicast"),
    [
        (Fetch(qid=b"queryqid", key=KEY, cached=True), True),
        (Fetch(qid=b"short", key=KEY, cached=True), False),
        (Fetch(qid=b"queryqid", key=b"short", cached=True), False),
    ],
)
def test_what_no_correct_host_asks_is_counted(fetch: Fetch, multicast: bool) -> None:
    link = CacheLink(2, CALM)
    inventory = link.hosts[0].inventory
    source = link.hosts[1].address
    assert not inventory.receive(header_of(1), fetch, source, link.now, multicast=multicast)
    assert inventory.counters["malformed"] == 1


def test_an_answer_goes_to_an_address_of_the_member_only() -> None:
    link = CacheLink(2, CALM)
    fetch = Fetch(qid=b"queryqid", key=KEY, cached=True)
    (effect,) = link.hosts[0].inventory.receive(header_of(1), fetch, ("198.51.100.1", 9), link.now, multicast=False)
    assert effect == Unicast(link.hosts[1].address, Nack(qid=b"queryqid", key=KEY))


def test_an_answer_of_another_host_than_the_one_asked_changes_nothing() -> None:
    link = CacheLink(3, CALM)
    link.put(1, record(1))
    link.run(0.1)
    results = link.get(0, KEY)
    ((_, _, fetch),) = link.messages(Fetch)
    inventory = link.hosts[0].inventory
    nack = Nack(qid=fetch.qid, key=KEY)
    assert not inventory.receive(header_of(2), nack, link.hosts[2].address, link.now, multicast=False)
    link.run(0.1)
    assert records_of(results) == [record(1)]


# ---- many at once ----------------------------------------------------------------------------------------------------


@given(st.integers(0, 2**32))
def test_every_get_has_one_result_and_it_is_a_copy_of_the_minute(seed: int) -> None:
    rng = Random(seed)
    link = CacheLink(3, InventoryConfig(keys_max=3, keep_s=5.0, filter_s=5.0), seed)
    link.multicast_loss = link.unicast_loss = 0.2
    fetched: dict[bytes, list[float]] = {}
    gets = []
    for _ in range(25):
        number = rng.randrange(5)
        if rng.random() < 0.4:
            link.put(rng.randrange(3), record(number))
            fetched.setdefault(key_of(number), []).append(link.now)
        else:
            gets.append((key_of(number), link.now, link.get(rng.randrange(3), key_of(number))))
        link.run(rng.random())
    link.run(2.0)
    for key, asked_at, results in gets:
        ((took_s, result),) = results
        assert took_s <= 0.2 + 1e-6, seed
        if result.records:
            assert any(asked_at + took_s - at <= 5.0 + ROUND_S for at in fetched.get(key, [])), seed
    for host in link.hosts:
        assert not host.inventory._questions
        assert not host.inventory._wanted
        assert host.inventory._waiting == 0
