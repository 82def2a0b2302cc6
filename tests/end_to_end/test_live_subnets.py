"""Subnets as nodes on real sockets: hosts are killed and come back, and the overlay notices nothing of it."""

import argparse
import time
from collections.abc import Iterator

import pytest
import trio

from tests.end_to_end.sites import laboratory
from tools.live_records import client, key_of
from tools.live_subnets import DETECTION_S, Live, run
from tools.netlab import Host, wait_until

pytestmark = pytest.mark.lab
SLACK_S = 0.5
"For a machine that does other things too."
REST_S = 12.0
"""Without a structural change before the first kill: a round of upkeep comes every five seconds, and one in which Chord
looks for fingers every ten; the first one in the whole ring may find some that are new."""


def options(protocol: str, **others: float) -> argparse.Namespace:
    settings = {"subnets": 3, "hosts": 3, "kill_every": 9.0, "duration": 17.0, "rest": REST_S, "seed": 1, **others}
    settings |= {"records": 100, "replicas": 1}
    return argparse.Namespace(overlay=protocol, **settings)


@pytest.mark.parametrize("protocol", ["kademlia", "chord"])
def test_hosts_that_are_killed_change_nothing_in_the_overlay_while_a_sibling_lives(protocol: str) -> None:
    with laboratory() as lab:
        report = run(lab, options(protocol))
    print(report.text())
    assert report.kills == 2
    assert report.structural_changes == 0
    assert report.undetected == 0
    assert report.records is not None
    assert report.records.lost == 0
    assert len(report.records.latencies_s) > 50
    assert max(report.detections_s) <= DETECTION_S + SLACK_S


def test_what_one_host_has_fetched_of_other_subnets_the_next_one_has_from_it() -> None:
    with laboratory() as lab:
        live = Live(lab, 2, 3, "kademlia", seed=1, replicas=1, records=40)
        live.form()
        hosts = [each.host for each in live.hosts]
        live.records.put(hosts[3:])
        first, second, *_ = hosts
        times = {
            what: _read_all(host, live.records.count, fresh=fresh)
            for what, host, fresh in (
                ("asked for at other nodes", first, False),
                ("cached by a sibling", second, False),
                ("asked for again", second, True),
            )
        }
        cached, status = trio.run(client(first).status).cached, trio.run(client(second).status)
    print(f"{cached} of 40 keys are of the other subnet; seconds for all: {times}; {status.counters}")
    assert 5 <= cached <= 35
    assert status.counters["cache_sibling_hits"] == cached
    assert status.counters.get("cache_misses", 0) == 0
    assert status.policy == "fixed:3"


def _read_all(host: Host, count: int, *, fresh: bool) -> float:
    """Seconds in which a host has got all records."""

    async def read() -> None:
        for number in range(count):
            (found,) = await client(host).get(key_of(number), fresh=fresh)
            assert found.value == b"%d" % number
        await trio.sleep(1.5)  # until it has announced the last one

    began = time.monotonic()
    trio.run(read)
    return time.monotonic() - began - 1.5


@pytest.fixture
def live() -> Iterator[Live]:
    with laboratory() as lab:
        yield Live(lab, 3, 1, "chord", seed=1)


def test_a_node_is_gone_with_its_last_host_and_comes_back_with_its_first(live: Live) -> None:
    live.form()
    # Who dies while it tries for another whether that one is reached leaves it a client for a while.
    live.rest(REST_S)
    victim, *others = live.hosts
    before = live.changes()
    victim.processes[-1].kill()

    def is_ring_of_two() -> bool:
        # A predecessor and a successor each, which are the same node; of three they may be two as well.
        return live.changes() > before and all(host.overlay["neighbours"] == 2 for host in others)

    wait_until(is_ring_of_two, 60.0, "ring of two", live.describe)
    victim.start()
    wait_until(live.is_formed, 60.0, "ring of three", live.describe)
