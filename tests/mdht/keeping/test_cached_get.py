"""Gets of other nodes' records by hosts of one link, with every machine in place: who answers, how old it may be."""

import msgspec
import pytest

from mdht.experiments.sim_host import SimHost
from mdht.keeping.cached_get import CachedGet
from mdht.keeping.config import KeepingConfig
from mdht.keeping.get import GetOutcome
from mdht.keeping.put import PutOutcome, PutRun
from mdht.records import Copy
from mdht.subnet.inventory_config import InventoryConfig
from mdht.subnet.messages import Fetch, Inventory
from mdht.subnet.wire import Header
from tests.mdht.keeping.records_network import OVERLAYS, RecordsNetwork, key_of, record

FEW = KeepingConfig(replicas=2, read_quorum=1)
LINK = 0
"Whose hosts read; the others are nodes of one host."
SLOT = (b"w" * 32, b"")


class Office(RecordsNetwork):
    """Five hosts on a link, and four nodes elsewhere that keep what is read there."""

    def __init__(
        self, *, overlay: str = "kademlia", keeping: KeepingConfig = FEW, sizes: tuple[int, ...] = (5, 1, 1, 1, 1)
    ) -> None:
        super().__init__(list(sizes), overlay=overlay, keeping=keeping)
        self.number = next(number for number in range(100) if LINK not in self.responsible(key_of(number), 2))
        self.key = key_of(self.number)
        self.elsewhere = self.hosts(self.responsible(self.key, 1)[0])[0]
        self.said: list[object] = []
        self.net.on_sent = self._note

    def _note(self, host: SimHost, message: object, header: Header | None) -> None:
        if host.link == LINK and header is not None:
            self.said.append(message)

    def write(self, seq: int = 1, **more: int) -> None:
        """Its writer, who is elsewhere, puts it."""
        self.put(self.elsewhere, record(self.number, seq, **more))

    def read(self, host: SimHost, *, fresh: bool = False) -> tuple[GetOutcome, int]:
        """What a host gets, and how many datagrams it sends to other nodes because of that."""
        done: list[GetOutcome] = []
        before, now = host.sent_away, self.net.now
        CachedGet(self.keeper(host), self.key, fresh=fresh, on_done=lambda one, _now: done.append(one)).start(now)
        self.perform(host)
        self.run_until(lambda: done)
        return done[0], host.sent_away - before

    def seqs(self, outcome: GetOutcome) -> list[int]:
        return [copy.record.seq for copy in outcome.copies if not copy.record.deleted]

    def count(self, name: str) -> int:
        return sum(self.keeper(host).inventory.counters[name] for host in self.hosts(LINK))

    def cachers(self) -> list[SimHost]:
        return [host for host in self.hosts(LINK) if self.keeper(host).inventory.cached(self.key, self.net.now)]


# ---- who answers -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_what_one_host_has_fetched_the_others_of_its_link_get_without_a_message_to_other_nodes(overlay: str) -> None:
    office = Office(overlay=overlay)
    office.write()
    first, *others = office.hosts(LINK)
    outcome, sent = office.read(first)
    assert (office.seqs(outcome), outcome.cached) == ([1], False)
    assert sent > 0
    office.net.run(0.1)
    for host in [*others, first]:
        outcome, sent = office.read(host)
        assert (office.seqs(outcome), outcome.cached, sent) == ([1], True, 0)
    assert office.cachers() == [first], "one copy is enough for a link"
    assert (office.count("misses"), office.count("sibling_hits"), office.count("own_hits")) == (1, 4, 1)
    (copy,) = outcome.copies
    assert office.count("bytes_saved") == 5 * len(msgspec.msgpack.encode(copy))


def test_when_the_sibling_that_cached_it_has_crashed_the_other_nodes_are_asked() -> None:
    office = Office()
    office.write()
    first, second, third, *_ = office.hosts(LINK)
    office.read(first)
    office.net.run(0.1)
    office.net.crash(first)
    began = office.net.now
    outcome, sent = office.read(second)
    assert (office.seqs(outcome), outcome.cached) == ([1], False)
    assert sent > 0
    assert office.net.now - began >= InventoryConfig().rto_s, "it was asked"
    office.net.run(0.1)
    outcome, sent = office.read(third)
    assert (office.seqs(outcome), outcome.cached, sent) == ([1], True, 0), "the second has it now"


def test_a_key_of_many_records_comes_from_a_sibling_too() -> None:
    office = Office()
    for number in range(40):
        office.put(office.elsewhere, record(office.number, name=b"%d" % number, value=bytes(300)))
    first, second, *_ = office.hosts(LINK)
    office.read(first)
    office.net.run(0.1)
    outcome, sent = office.read(second)
    assert (len(outcome.copies), outcome.cached, sent) == (40, True, 0)


def test_nothing_is_not_cached() -> None:
    office = Office()
    first, second, *_ = office.hosts(LINK)
    assert office.read(first)[0].copies == ()
    office.write()
    assert office.seqs(office.read(first)[0]) == [1]
    assert office.seqs(office.read(second)[0]) == [1]


def test_a_host_without_a_cache_neither_keeps_nor_asks_siblings_nor_announces() -> None:
    office = Office(keeping=msgspec.structs.replace(FEW, cache=None))
    office.write()
    for host in office.hosts(LINK) * 2:
        outcome, sent = office.read(host)
        assert (office.seqs(outcome), outcome.cached) == ([1], False)
        assert sent > 0
        office.net.run(0.1)
    office.net.run(70.0)
    assert not office.cachers()
    assert not [said for said in office.said if isinstance(said, Inventory | Fetch)]


# ---- how old it may be -----------------------------------------------------------------------------------------------


def test_who_wants_it_fresh_asks_the_nodes_and_what_they_say_is_cached() -> None:
    office = Office()
    office.write()
    first, second, *_ = office.hosts(LINK)
    office.read(first)
    office.net.run(0.1)
    office.write(2)
    assert office.seqs(office.read(first)[0]) == [1], "as its writer told nobody on this link"
    assert office.seqs(office.read(first, fresh=True)[0]) == [2]
    assert office.seqs(office.read(first)[0]) == [2]
    assert office.seqs(office.read(second)[0]) == [2]


def test_what_is_cached_on_a_link_is_at_most_a_minute_old_wherever_it_is_read() -> None:
    office = Office()
    office.write()
    first, second, third, *_ = office.hosts(LINK)
    office.read(first)
    office.write(2)
    office.net.run(59.0)
    assert office.seqs(office.read(second)[0]) == [1]
    office.net.run(1.1)
    assert office.seqs(office.read(third)[0]) == [2]
    assert office.seqs(office.read(first)[0]) == [2]


def test_a_copy_ends_with_its_original() -> None:
    office = Office()
    office.write(lease_s=20)
    first, second, *_ = office.hosts(LINK)
    office.net.run(5.0)
    office.read(first)
    office.net.run(14.0)
    (original,) = office.keeper(office.elsewhere).store.stock.table.get(office.key, office.net.now)
    (copy,) = office.read(second)[0].copies
    assert original.remaining_s - 1.0 < copy.remaining_s < original.remaining_s < 1.0
    office.net.run(original.remaining_s)
    for host in (first, second):
        assert office.read(host)[0].copies == ()


def test_who_puts_a_newer_record_reads_it_at_once_whatever_was_cached_on_the_link() -> None:
    office = Office()
    office.write()
    first, second, *_ = office.hosts(LINK)
    for host in (first, second):
        office.read(host, fresh=True)
        office.net.run(0.1)
    office.put(first, record(office.number, 2))
    assert office.seqs(office.read(first)[0]) == [2]
    office.net.run(30.0)
    assert office.seqs(office.read(first)[0]) == [2]
    office.put(first, record(office.number, 3, deleted=True))
    assert office.seqs(office.read(first)[0]) == []


def test_an_answer_that_was_under_way_when_a_newer_record_was_put_is_not_cached() -> None:
    office = Office()
    office.write()
    first = office.hosts(LINK)[0]
    keeper, done = office.keeper(first), list[GetOutcome]()
    CachedGet(keeper, office.key, fresh=False, on_done=lambda one, _now: done.append(one)).start(office.net.now)
    office.put(first, record(office.number, 2))
    office.run_until(lambda: done)
    assert keeper.inventory.counters["unsettled"] == 1
    assert office.seqs(office.read(first)[0]) == [2]


def test_what_was_asked_while_a_put_was_not_confirmed_is_not_cached() -> None:
    office = Office(keeping=msgspec.structs.replace(FEW, cache=InventoryConfig(settle_s=0.01)))
    first = office.hosts(LINK)[0]
    keeper, done = office.keeper(first), list[PutOutcome]()
    copy = Copy(record(office.number, 2), 600.0)
    PutRun(keeper, copy, acks=2, on_done=lambda outcome, _now: done.append(outcome)).start(office.net.now)
    office.perform(first)
    office.net.run(0.05)
    asked_at = office.net.now
    office.run_until(lambda: done)
    keeper.caches.keep(office.key, [Copy(record(office.number, 1), 600.0)], asked_at, office.net.now)
    assert keeper.inventory.counters["unsettled"] == 1
    assert not office.cachers()


def test_who_follows_a_key_does_not_read_what_it_was_before() -> None:
    office = Office()
    office.write()
    first = office.hosts(LINK)[0]
    _watch, told = office.watch(first, office.key)
    office.net.run(3.0)
    office.read(first)
    assert office.cachers() == [first]
    office.write(2)
    office.run_until(lambda: told == [("added", 1), ("updated", 2)])
    assert not office.cachers()
    assert office.seqs(office.read(first)[0]) == [2]


# ---- a copy is no replica --------------------------------------------------------------------------------------------


def test_what_is_cached_is_not_held_nor_counted_nor_told_to_be() -> None:
    office = Office()
    office.write()
    first, second, *_ = office.hosts(LINK)
    root = office.keeper(first).store.stock.digest.root
    office.read(first)
    office.net.run(0.1)
    office.read(second)
    assert office.cachers() == [first]
    for host in (first, second):
        store = office.keeper(host).store
        assert (len(store.stock), store.stock.digest.root) == (0, root)
        assert host.core is not None
        assert host.core.records(office.key, office.net.now, cached=False) == ()
        assert office.keeper(host).copies(office.net.now) == []
    assert LINK not in office.holders(office.key)


def test_a_node_that_comes_to_keep_a_key_forgets_what_it_had_cached_of_it() -> None:
    office = Office()
    office.write()
    first, second, *_ = office.hosts(LINK)
    office.read(first)
    office.net.run(0.1)
    for link in office.responsible(office.key, len(office.links)):
        if link != LINK:
            office.net.leave(office.hosts(link)[0])
            office.net.run(5.0)
    assert office.links == [LINK]
    office.run_until(lambda: not office.keeper(first).others.known)  # one host was told of each that has left
    outcome, _sent = office.read(first)
    assert (office.seqs(outcome), outcome.cached) == ([1], False)
    assert not office.cachers()
    office.put(second, record(office.number, 2))
    assert {tuple(office.seqs(office.read(host)[0])) for host in office.hosts(LINK)} == {(2,)}
