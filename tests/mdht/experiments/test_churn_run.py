import math
import statistics
from itertools import islice
from random import Random

import pytest

from mdht.experiments.churn_run import (
    SAMPLED,
    SERVER_BYTES,
    UDP_BYTES,
    Churn,
    ChurnRun,
    Meter,
    Model,
    count_emptied,
    lifetimes,
    overlay_bytes,
    tau_s,
)
from mdht.subnet.face_messages import Knock, OverlayDatagram, Welcome
from mdht.subnet.identity import named


def test_half_of_all_lifetimes_are_below_the_median() -> None:
    found = list(islice(lifetimes(tau_s(84.0), Random(1)), 10_000))
    assert statistics.median(found) == pytest.approx(84.0, rel=0.05)
    assert statistics.fmean(found) == pytest.approx(84.0 / math.log(2.0), rel=0.05)


def test_a_host_that_is_replaced_at_random_leaves_nobody_once_in_e_to_the_k() -> None:
    assert count_emptied(1000, 1000, 10_000, Random(1)) == pytest.approx(10_000 * math.exp(-1), rel=0.05)
    assert count_emptied(10, 1, 1000, Random(1)) == 0


def test_the_last_host_of_a_subnet_lives_on_in_model_a() -> None:
    run = ChurnRun(Churn(hosts=12, size=1, median_s=20.0, model=Model.SAME), 1, strict=True)
    run.settle()
    run.begin()
    run.net.run(60.0)
    assert run.spared > 10
    assert (run.deaths, run.node_deaths, run.apart) == (0, 0, 0.0)


def test_hosts_of_model_a_come_back_where_they_were() -> None:
    run = ChurnRun(Churn(hosts=12, size=3, median_s=60.0, model=Model.SAME), 2, strict=True)
    run.settle()
    assert run.net.at_rest
    assert {len(hosts) for hosts in run.net.links.values()} == {3}
    changes = run.net.structural_changes
    run.begin()
    run.net.run(60.0)
    assert run.deaths > 3
    assert len(run.net.links) == 4
    assert run.net.structural_changes == changes


def test_each_host_of_the_plain_overlay_is_a_subnet_of_one() -> None:
    run = ChurnRun(Churn(hosts=10, size=0, median_s=60.0), 1)
    run.settle()
    run.begin()
    run.net.run(40.0)
    assert run.deaths >= run.node_deaths > 2, "one may die before it is READY"
    assert {len(hosts) for hosts in run.net.links.values()} == {1}
    assert len(run.net.hosts) == 10


def test_where_no_subnet_settles_is_an_error() -> None:
    with pytest.raises(AssertionError, match="seed 1: no rest"):
        ChurnRun(Churn(hosts=4, size=2, median_s=60.0), 1).settle(most_s=1.0)


def test_bytes_of_messages_are_counted_with_those_around_them() -> None:
    identity = named("link 1")
    datagram = OverlayDatagram(
        identity=identity, tag=bytes(8), hid=bytes(8), view_epoch=1, held=None, body=Knock(number=1)
    )
    assert overlay_bytes(datagram) > 100
    assert overlay_bytes("anything else") == SERVER_BYTES
    run = ChurnRun(Churn(hosts=4, size=2, median_s=60.0), 1)
    meter = Meter()
    run.net.on_sent = meter.on_sent
    run.net.add(0)
    run.net.add(0)
    run.net.run(20.0)
    sent = sum(host.sent_here for host in run.net.hosts.values())
    assert sent > SAMPLED
    assert meter.here > UDP_BYTES * (sent - SAMPLED)
    assert meter.away > 0


def test_a_welcome_is_no_larger_than_a_small_datagram() -> None:
    identity = named("link 1")
    sizes = {
        overlay_bytes(
            OverlayDatagram(identity=identity, tag=bytes(8), hid=bytes(8), view_epoch=1, held=None, body=body)
        )
        for body in (Knock(number=1), Welcome(number=1, ring_id=bytes(8), alone=False))
    }
    assert len(sizes) == 1
