from random import Random

import pytest

from mdht.experiments import availability
from mdht.experiments.availability import (
    AVAILABILITY,
    COUNTED,
    FIRST,
    NODES,
    PROTOCOL,
    SHARES,
    SIZES,
    OnOff,
    Settings,
    count_away,
    off_s,
)
from mdht.experiments.base import Row, chosen
from mdht.experiments.churn_run import tau_s
from mdht.experiments.sim_host import SimHost


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    return [row for each in AVAILABILITY.settings(True, {}) for row in AVAILABILITY.run(each, 1)]


def test_a_host_is_on_for_its_share_of_the_time() -> None:
    on_s = tau_s(60.0 * availability.MEDIAN_MIN)
    assert [on_s / (on_s + off_s(share)) for share in SHARES] == pytest.approx(SHARES)


@pytest.mark.parametrize(("share", "size"), [(0.5, 1), (0.5, 3), (0.8, 2)])
def test_counted_without_the_protocol_a_node_is_away_as_the_power_says(share: float, size: int) -> None:
    away_s, outages, total_s = count_away(share, size, 20_000, Random(1))
    assert away_s / total_s == pytest.approx((1.0 - share) ** size, rel=0.1)
    assert outages > 100


def test_nodes_that_were_away_come_back_as_what_they_were(rows: list[Row]) -> None:
    first = chosen(rows, part=PROTOCOL)[0]
    assert first["back"] >= 2
    assert first["astray"] == 0


def test_a_host_is_ready_two_seconds_after_its_start(rows: list[Row]) -> None:
    first = chosen(rows, part=PROTOCOL)[0]
    assert 1.2 < first["rejoin_p50_s"] < 3.0
    assert first["rejoin_p95_s"] >= first["rejoin_p50_s"]


def test_time_away_is_that_between_a_death_and_the_next_birth() -> None:
    overlay = OnOff([(0.5, 1)], 1)
    net = overlay.net
    hosts = [net.add(link) for link in (FIRST, 0, 1, 2)]
    net.run(60.0)
    assert all(host.ready for host in hosts)
    begin = net.now
    back: list[SimHost] = []
    net.at(begin + 10.0, lambda: net.crash(hosts[0]))
    net.at(begin + 30.0, lambda: back.append(net.restart(hosts[0])))
    found = overlay.run(100.0)
    assert found[FIRST].outages == 1
    assert 21.0 < found[FIRST].away_s < 25.0
    assert (found[FIRST + 1].away_s, found[FIRST + 1].outages) == (100.0, 0), "nobody was ever there"
    assert found[FIRST + 1].off_s == 100.0
    assert len(found) == NODES


def test_a_node_is_away_for_little_longer_than_all_its_hosts_are_off(rows: list[Row]) -> None:
    for row in chosen(rows, part=PROTOCOL):
        assert row["off"] <= row["away"] <= row["off"] + 20.0 * (row["outages"] + NODES) / (3600.0 * row["hours"])


def test_rows_have_the_columns_and_few_outages_tell_nothing(rows: list[Row]) -> None:
    assert all(tuple(row) == AVAILABILITY.columns for row in rows)
    found = {each.what: each for each in AVAILABILITY.findings(rows)}
    assert found["protocol, a = 0.5, k = 2: share of time away"].holds is None
    assert found["counted, a = 0.5, k = 3: share of time away"].holds
    assert found["counted, a = 0.9, k = 8: share of time away"].holds is None
    assert len(chosen(rows, part=COUNTED)) == len(SHARES) * len(SIZES)


def test_a_node_in_another_ring_is_told(rows: list[Row]) -> None:
    first = chosen(rows, part=PROTOCOL)[0]
    found = AVAILABILITY.findings([first | {"back": 3, "astray": 1}])
    assert [each.measured for each in found if each.holds is False] == ["2 of 3"]


def test_a_run_is_the_same_for_a_seed() -> None:
    settings = Settings(part=COUNTED, points=((0.8, 3),), periods=100)
    assert AVAILABILITY.run(settings, 5) == AVAILABILITY.run(settings, 5)
    assert AVAILABILITY.run(settings, 5) != AVAILABILITY.run(settings, 6)


def test_what_an_interrupted_run_has_can_be_drawn_and_told(rows: list[Row]) -> None:
    for upto in (1, 4, len(rows)):
        assert AVAILABILITY.findings(rows[:upto])
        AVAILABILITY.figure(rows[:upto])
