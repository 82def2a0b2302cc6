from random import Random

import pytest

from mdht.experiments import link_faults
from mdht.experiments.base import Row, chosen
from mdht.experiments.link_faults import (
    CRASH,
    FILTERED,
    SIGNED,
    SPLIT,
    STEADY,
    WAYS,
    WHOLE_LINK,
    Settings,
    false_deaths,
    linked,
)
from mdht.experiments.link_records import CRASHES, SPLITS
from mdht.experiments.links import DETECTION_MAX_S, EMULATED_MAX_S, HEAL_MAX_S, HOSTS, LINKS, LOSSES
from mdht.subnet.messages import State


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    return [row for each in LINKS.settings(True, {}) for row in LINKS.run(each, 1)]


@pytest.mark.parametrize("hosts", HOSTS)
def test_up_to_a_fifth_of_multicast_lost_takes_nobody_for_dead(rows: list[Row], hosts: int) -> None:
    steady = [row for row in chosen(rows, part=STEADY, hosts=hosts) if row["loss"] <= 0.2]
    assert [row["loss"] for row in steady] == [0.0, 0.1, 0.2]
    assert [(row["false_dead"], row["marks"]) for row in steady] == [(0, 0)] * 3


@pytest.mark.parametrize("hosts", HOSTS)
def test_looking_for_silent_hosts_costs_packets_where_many_are_lost(rows: list[Row], hosts: int) -> None:
    packets = [row["packets_per_s"] for row in chosen(rows, part=STEADY, hosts=hosts)]
    assert packets == sorted(packets)
    assert packets[0] == pytest.approx(hosts, rel=0.02), "a heartbeat of each in a second, and nothing else"
    assert packets[-1] < 1.6 * hosts


@pytest.mark.parametrize("hosts", HOSTS)
def test_a_crash_is_known_to_all_in_time_without_loss(rows: list[Row], hosts: int) -> None:
    crashes = chosen(rows, part=CRASH, hosts=hosts, loss=0.0)
    signed = chosen(rows, part=SIGNED, hosts=hosts, loss=0.0)
    assert (len(crashes), len(signed)) == (3, 2 if hosts == HOSTS[0] else 0)
    assert all(2.5 < row["first_s"] <= row["all_s"] <= DETECTION_MAX_S for row in (*crashes, *signed))


def test_a_split_heals_in_time_whatever_is_lost(rows: list[Row]) -> None:
    splits = chosen(rows, part=SPLIT)
    assert {(row["hosts"], row["loss"]) for row in splits} == {(hosts, loss) for hosts in HOSTS for loss in LOSSES}
    assert all(0.0 < row["agreed_s"] <= HEAL_MAX_S for row in splits)


@pytest.mark.parametrize("hosts", HOSTS)
@pytest.mark.parametrize("way", WAYS)
def test_where_multicast_is_filtered_unicast_takes_its_place_in_time(rows: list[Row], way: str, hosts: int) -> None:
    (row,) = chosen(rows, part=FILTERED, hosts=hosts, way=way)
    assert row["emulated_s"] <= EMULATED_MAX_S
    assert row["false_dead"] == 0
    assert row["all_s"] <= DETECTION_MAX_S
    assert row["agreed_s"] <= EMULATED_MAX_S
    assert 10.0 <= row["multicast_s"] <= EMULATED_MAX_S
    every_host = hosts - 1 if way == WHOLE_LINK else 2
    assert row["packets_per_s"] <= 1.1 * hosts * (1 + every_host), "a heartbeat, and its copies"


@pytest.mark.parametrize("part", [CRASHES, SPLITS])
def test_no_record_is_lost_and_each_is_found_in_its_latest_version(rows: list[Row], part: str) -> None:
    kept = chosen(rows, part=part)
    assert [row["loss"] for row in kept] == list(LOSSES)
    assert all(row["records"] == 100 + 10 * (part == SPLITS) for row in kept), "all puts were acknowledged"
    assert [(row["lost"], row["stale"], row["unfound"]) for row in kept] == [(0, 0, 0)] * len(kept)
    assert all(row["placed_s"] <= HEAL_MAX_S for row in kept)


def test_rows_have_the_columns_and_the_table_says_whether_the_claims_hold(rows: list[Row]) -> None:
    assert all(tuple(row) == LINKS.columns for row in rows)
    claimed = [each for each in LINKS.findings(rows) if each.wanted]
    assert len(claimed) == 2 + 2 + 1 + 8 + 8 + 8 + 12
    assert all(each.holds for each in claimed)
    assert all(each.holds is None for each in LINKS.findings(rows) if not each.wanted)


def test_one_host_that_several_take_for_dead_is_one_mistake() -> None:
    a, b = b"a", b"b"
    assert false_deaths([]) == 0
    assert false_deaths([(5.0, a), (1.0, a), (1.2, b), (14.9, a)]) == 2
    assert false_deaths([(1.0, a), (12.0, a)]) == 2


def test_a_link_loses_nothing_until_it_is_one_subnet() -> None:
    link = linked(Settings(part=STEADY, hosts=5, loss=0.3, duration_s=1.0), 3)
    assert link.agreed
    assert (link.multicast_loss, link.unicast_loss) == (0.3, pytest.approx(0.03))


def test_a_crash_that_stays_unknown_is_told_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link_faults, "WAIT_MAX_S", 1.0)
    link = linked(Settings(part=CRASH, hosts=5, loss=0.0, events=1), 3)
    assert link_faults._crash(link, Random(1))["all_s"] is None


def test_a_host_counts_as_dead_for_who_took_it_for_dead_before() -> None:
    link = linked(Settings(part=CRASH, hosts=5, loss=0.0, events=1), 3)
    observer, victim = link.hosts[0], link.hosts[4]
    assert link_faults._death_s(observer, victim, link.now) is None
    observer.membership.view.get(victim.membership.hid).state = State.DEAD
    assert link_faults._death_s(observer, victim, link.now) == 0.0


def test_a_run_is_the_same_for_a_seed() -> None:
    settings = Settings(part=CRASH, hosts=5, loss=0.3, events=3)
    assert LINKS.run(settings, 5) == LINKS.run(settings, 5)
    assert LINKS.run(settings, 5) != LINKS.run(settings, 6)


def test_what_an_interrupted_run_has_can_be_drawn_and_told(rows: list[Row]) -> None:
    for upto in (1, 9, 14, 25, len(rows) - 5, len(rows)):
        assert LINKS.findings(rows[:upto])
        LINKS.figure(rows[:upto])
