"""Subnets whose hosts nobody reaches unasked: they ask the nodes of the overlay, and are none."""

import pytest

from mdht.keeping.get import GetOutcome, GetRun
from mdht.subnet.reachability import Verdict
from tests.mdht.keeping.nat_network import TranslatedNetwork
from tests.mdht.keeping.records_network import OVERLAYS, key_of, record

OVERLAY = pytest.mark.parametrize("overlay", OVERLAYS)
HOME = 3


@pytest.fixture(params=list(OVERLAYS))
def net(request: pytest.FixtureRequest) -> TranslatedNetwork:
    """Three subnets that everybody reaches, and one with two hosts behind a router."""
    return TranslatedNetwork([1, 2, 2, 2], behind=1, overlay=request.param)


def test_a_subnet_behind_a_router_is_a_client_that_nobody_lists(net: TranslatedNetwork) -> None:
    assert [net.is_client(host) for host in net.net.hosts.values()] == [
        host.link == HOME for host in net.net.hosts.values()
    ]
    net.net.run(60.0)
    assert net.listed(HOME) == []
    hidden = {address for host in net.hosts(HOME) for address in (host.address, net.internet.outer(host))}
    assert not net.internet.told & hidden


def test_a_host_that_comes_to_a_client_is_one_from_the_start(net: TranslatedNetwork) -> None:
    first, second = net.hosts(HOME)
    for host in (first, second):  # in turn the one that comes back is the one that decides, or is not
        net.net.crash(host)
        net.net.run(10.0)
        again = net.net.restart(host)
        net.run_until(lambda: again.ready)  # noqa: B023 - at once
        for _ in range(200):
            net.net.run(0.05)
            assert all(map(net.is_client, net.hosts(HOME)))
    assert net.listed(HOME) == []


def test_what_a_client_puts_others_get_and_it_gets_what_they_put(net: TranslatedNetwork) -> None:
    for number in range(8):
        outside, inside = net.hosts(number % HOME)[0], net.hosts(HOME)[number % 2]
        assert len(net.put(inside, record(number)).stored) == 2
        assert net.found(outside, key_of(number)) == {(b"w" * 32, b""): 1}
        net.put(outside, record(number, 2))
        assert net.found(inside, key_of(number)) == {(b"w" * 32, b""): 2}
        net.net.run(1.0)
        assert HOME not in net.holders(key_of(number))


def test_a_client_hears_of_changes_wherever_they_come_in_for_minutes(net: TranslatedNetwork) -> None:
    key = key_of(1)
    watches = [net.watch(host, key)[1] for host in net.hosts(HOME)]
    sequence = 0
    for _ in range(8):
        for link in range(HOME):
            for host in net.hosts(link):
                sequence += 1
                net.put(host, record(1, sequence))
                net.net.run(1.0)
                for changes in watches:
                    assert changes[-1:] == [("added" if sequence == 1 else "updated", sequence)]
        net.net.run(35.0)
    assert all(len(changes) == sequence for changes in watches), "each once"


def test_when_the_host_dies_that_came_first_the_other_goes_on(net: TranslatedNetwork) -> None:
    first, second = net.hosts(HOME)
    net.put(first, record(1))
    net.net.crash(first)
    assert net.found(second, key_of(1))
    _watch, changes = net.watch(second, key_of(2))
    net.put(net.hosts(0)[0], record(2))
    net.net.run(1.0)
    assert changes == [("added", 1)]
    net.net.run(60.0)
    assert net.is_client(second)
    assert net.listed(HOME) == []


def test_a_client_becomes_a_node_when_a_host_of_it_is_reached_and_a_client_again_when_not(
    net: TranslatedNetwork,
) -> None:
    first, second = net.hosts(HOME)
    port = net.internet.outer(second)
    net.put(first, record(5))
    net.internet.forwarded[port] = second.address
    net.run_until(lambda: not net.is_client(first) and not net.is_client(second), 300.0)
    net.net.run(40.0)
    outside = [host.number for host in net.net.hosts.values() if host.link != HOME]
    assert net.listed(HOME) == outside
    reach = [host.core.part.face.reach for host in (first, second) if host.core is not None and host.core.part]
    assert [one.verdict for one in reach] == [Verdict.UNREACHED, Verdict.REACHED]
    assert net.internet.told & {port, first.address, net.internet.outer(first), second.address} == {port}
    for number in range(8):
        assert len(net.put(net.hosts(0)[0], record(number, 3), acks=4).stored) == 4
        assert HOME in net.holders(key_of(number))
    del net.internet.forwarded[port]
    net.run_until(lambda: net.is_client(first) and net.is_client(second), 300.0)
    net.run_until(lambda: not net.listed(HOME), 300.0)
    for number in range(8):
        assert net.found(first, key_of(number)) == net.found(net.hosts(1)[1], key_of(number)) != {}


@OVERLAY
def test_what_is_asked_while_a_host_gets_another_core_is_answered_all_the_same(overlay: str) -> None:
    net = TranslatedNetwork([2, 2, 2], behind=1, overlay=overlay)
    host = net.hosts(0)[0]
    net.put(host, record(1))
    part = net.keeper(host).others._part
    for after_s in (0.0, 0.06, 0.12, 0.18):
        done: list[GetOutcome] = []
        run = GetRun(net.keeper(host), key_of(1), on_copy=None, on_done=lambda found, _now: done.append(found))  # noqa: B023
        run.start(net.net.now)
        net.perform(host)
        net.net.run(after_s)
        part.step.start_over(net.net.now, client=False)
        net.perform(host)
        net.run_until(lambda: done)  # noqa: B023 - at once
        net.net.run(20.0)


@OVERLAY
def test_a_subnet_behind_a_router_alone_becomes_a_client_of_the_first_one_that_it_can_ask(overlay: str) -> None:
    net = TranslatedNetwork([1], behind=1, overlay=overlay)
    (home,) = net.hosts(0)
    assert not net.is_client(home)
    net.put(home, record(1))
    outside = net.net.add(7)
    net.run_until(lambda: net.is_client(home), 900.0)
    assert net.listed(0) == []
    net.run_until(lambda: net.found(outside, key_of(1)), 60.0)
