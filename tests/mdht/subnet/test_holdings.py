import math
from random import Random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mdht.record_table import RecordTable, TableConfig
from mdht.records import Copy, Record, Verifier
from mdht.signing import SigningKey
from mdht.subnet.holdings import TableHoldings, covers, stamp, version_of
from mdht.subnet.messages import Ask, Have
from mdht.subnet.query import Resolved
from mdht.subnet.resolve import Resolver
from mdht.subnet.resolve_config import ResolveConfig
from tests.mdht.subnet.resolve_network import KEY, ResolveNetwork, have_of, put


@pytest.mark.parametrize(
    ("mine", "theirs", "covered"),
    [
        ({b"a": 5}, {b"a": 5}, True),
        ({b"a": 5}, {b"a": 6}, True),
        ({b"a": 6}, {b"a": 5}, False),
        ({b"a": 5}, {b"b": 6}, False),
        ({b"a": 5}, {b"a": 6, b"b": 6}, False),
        ({b"a": 5, b"b": 5}, {b"a": 6}, False),
        ({b"a": 5, b"b": 5}, {b"b": 5, b"a": 5}, True),
        ({b"a": 5, b"b": 5}, {b"a": 6, b"b": 6}, False),
    ],
)
def test_an_answer_covers_another_of_the_same_version_or_of_one_writer_that_is_not_newer(
    mine: dict[bytes, int], theirs: dict[bytes, int], covered: bool
) -> None:
    network = ResolveNetwork(2)
    for host, slots in zip(network.hosts, (mine, theirs), strict=True):
        for writer, seq in slots.items():
            put(host, seq, writer=writer)
    version = network.hosts[0].items.version(KEY, 0.0)
    assert version is not None
    assert covers(have_of(network.hosts[1]), version) == covered


@given(newest=st.integers(-(2**70), 2**70), own=st.binary(max_size=10))
def test_an_answer_with_any_number_covers_nothing_that_it_does_not_stamp(newest: int, own: bytes) -> None:
    version = version_of([(b"w", b"", 3)], 10)
    assert version is not None
    assert not covers(Have(qid=b"queryqid", key=KEY, stamp=own, newest=newest, records=1, size=10), version)


def test_stamps_tell_slots_of_one_writer_apart() -> None:
    assert stamp([(b"w", b"a", 1), (b"w", b"b", 2)]) != stamp([(b"w", b"a", 2), (b"w", b"b", 1)])
    assert stamp([(b"w", b"a", 1), (b"w", b"b", 2)]) == stamp([(b"w", b"b", 2), (b"w", b"a", 1)])
    assert stamp([(b"w", b"ab", 1)]) != stamp([(b"wa", b"b", 1)])


WRITER = SigningKey.from_seed(bytes(32))


def record(seq: int, name: bytes = b"", *, deleted: bool = False, value: bytes = b"value") -> Record:
    content = b"" if deleted else value
    return Record.signed(key=KEY, writer=WRITER, name=name, seq=seq, lease_s=100, deleted=deleted, value=content)


def table_of(*records: Record) -> TableHoldings:
    table = RecordTable(TableConfig(), Verifier())
    for one in records:
        assert table.put(one, 50.0, 0.0, "").refusal is None
    return TableHoldings(table, Verifier())


def copies(data: tuple[bytes, ...]) -> list[Copy]:
    return [msgspec.msgpack.decode(one, type=Copy) for one in data]


def test_a_record_table_tells_its_version_and_sends_its_living_copies() -> None:
    holdings = table_of(record(3, b"a"), record(4, b"b", deleted=True))
    version = holdings.version(KEY, 10.0)
    assert version is not None
    assert version.stamp == stamp([(WRITER.public_key, b"a", 3), (WRITER.public_key, b"b", 4)])
    assert (version.newest, version.records, version.only) == (4, 2, None)
    sent = holdings.records(KEY, 10.0)
    assert sum(3 + len(data) for data in sent) <= version.size
    assert copies(sent) == [Copy(record(3, b"a"), 40.0), Copy(record(4, b"b", deleted=True), 40.0)]
    assert holdings.version(KEY, 50.0) is None
    assert holdings.records(KEY, 50.0) == ()
    assert version_of([], 0) is None


def test_copies_of_several_hosts_become_one_of_each_slot() -> None:
    sent = [table_of(record(3, b"a")).records(KEY, 10.0), table_of(record(5, b"a"), record(1)).records(KEY, 0.0)]
    sent.append(table_of(record(5, b"a")).records(KEY, 20.0))
    merged = table_of().merged(KEY, [data for one in sent for data in one])
    assert copies(merged) == [Copy(record(5, b"a"), 50.0), Copy(record(1), 50.0)]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff" * 40,
        msgspec.msgpack.encode(Copy(record(1), math.nan)),
        msgspec.msgpack.encode(Copy(record(1), math.inf)),
        msgspec.msgpack.encode(Copy(record(1), -1.0)),
        msgspec.msgpack.encode(Copy(msgspec.structs.replace(record(1), seq=2), 50.0)),
        msgspec.msgpack.encode(Copy(msgspec.structs.replace(record(1), key=b"short"), 50.0)),
    ],
)
def test_copies_that_no_correct_host_sends_are_left_out(data: bytes) -> None:
    assert table_of().merged(KEY, [data]) == ()


@given(st.lists(st.binary(max_size=300), max_size=5))
def test_any_bytes_merge_without_an_error(found: list[bytes]) -> None:
    assert table_of().merged(KEY, found) == ()


def test_a_life_longer_than_its_record_allows_is_cut() -> None:
    data = msgspec.msgpack.encode(Copy(record(1), 1e9))
    assert copies(table_of().merged(KEY, [data])) == [Copy(record(1), 100.0)]


@pytest.mark.parametrize("value", [b"short", bytes(720)])
def test_two_hosts_with_record_tables_find_each_others_records(value: bytes) -> None:
    network = ResolveNetwork(2)
    results: list[Resolved] = []
    for number, holdings in enumerate([table_of(), table_of(record(1, value=value))]):
        host = network.hosts[number]
        host.items = holdings  # type: ignore[assignment]
        placement = host.resolver._placement
        host.resolver = Resolver(host.membership, holdings, placement, ResolveConfig(), Random(number))
    asker = network.hosts[0]
    network.perform(asker, asker.resolver.get(KEY, Ask.ANY, 0.0, results.append))
    network.run(0.5)
    (result,) = results
    (copy,) = copies(result.records)
    assert copy.record == record(1, value=value)
