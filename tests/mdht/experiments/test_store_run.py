import pytest

from mdht.experiments.store_run import StoreLink, key_of, record
from mdht.records import lawful
from mdht.subnet.messages import Put, State


def test_hosts_come_share_what_is_put_and_hand_it_over() -> None:
    link = StoreLink("fixed:2")
    hosts = link.begun(3)
    keys = link.fill(range(10), hosts)
    link.run(5.0)
    assert link.misplaced(keys) == {}
    link.leave(hosts[0])
    link.run(5.0)
    assert hosts[0].handed_over == [True]
    assert link.staying == hosts[1:]
    assert [host.keys for host in hosts[1:]] == [keys, keys]


def test_what_lies_where_it_does_not_belong_is_told() -> None:
    link = StoreLink("fixed:1")
    hosts = link.begun(3)
    (key,) = link.fill([0], hosts)
    link.run(1.0)
    (holder,) = link.holders(key)
    holder.store.stock.drop(key)
    assert link.misplaced({key})[key][0] == []


def test_large_keys_go_over_the_bulk_channel_whose_bytes_are_counted() -> None:
    link = StoreLink("full")
    hosts = link.begun(2)
    for writer in range(40):
        link.put(hosts[0], record(0, writer=bytes([writer]) * 32, size=700))
        link.run(0.01)
    newcomer = link.add()
    link.run(3.0)
    assert newcomer.membership.state is State.READY
    assert newcomer.bulks == 1
    assert sum(host.bulk_bytes for host in hosts) > 40 * 700
    assert newcomer.keys == {key_of(0)}


def test_the_sides_of_a_split_link_reach_each_other_in_no_way() -> None:
    link = StoreLink("full")
    hosts = link.begun(2)
    hosts[1].side = 1
    assert not link.bulk_passes(hosts[0], hosts[1])
    link.fill([0], hosts)
    link.run(1.0)
    assert any(isinstance(message, Put) for _, message in hosts[0].sent)
    assert hosts[1].keys == set()


def test_hosts_that_do_not_come_to_know_each_other_are_no_beginning() -> None:
    link = StoreLink("full")
    link.unicast_loss = 1.0
    with pytest.raises(AssertionError, match="seed 1: 3 hosts"):
        link.begun(3)


def test_records_are_lawful() -> None:
    assert lawful(record(0))
    assert lawful(record(0, deleted=True))
    assert not lawful(record(0, size=721))
