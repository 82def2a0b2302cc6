from random import Random

import pytest

from mdht.experiments.base import Row, chosen
from mdht.experiments.proximity import COLUMNS, PROXIMITY, Settings
from mdht.experiments.proximity_run import (
    KEYS,
    OVERLAY,
    OWN,
    SIBLING,
    Content,
    Reading,
    Request,
    fetches,
    overlay_s,
    requests,
)

CONTENT = Content(Random(1))


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    return [row for each in PROXIMITY.settings(True, {}) for row in PROXIMITY.run(each, 1)]


def wants(*places: tuple[float, int, int], remaining_s: float = 270.0) -> list[Request]:
    """Times, hosts, keys; the overlay takes half a second."""
    return [Request(at, host, key, 0.5, remaining_s) for at, host, key in places]


def reading(wanted: list[Request], hosts: int = 3, keep_s: float = 60.0) -> Reading:
    link = Reading(hosts, keep_s, CONTENT, 1)
    link.read(wanted, max(request.at for request in wanted))
    return link


def took_s(link: Reading, number: int) -> dict[str, list[float]]:
    return {where: times for where, times in link.hosts[number].latency_s.items() if times}


def test_without_loss_hosts_save_nearly_what_one_cache_for_all_would(rows: list[Row]) -> None:
    for row in chosen(rows, loss=0.0):
        assert row["ideal_bytes"] <= row["ours_bytes"] <= row["alone_bytes"] <= row["none_bytes"]
        assert row["lasting_bytes"] <= row["ideal_bytes"]
        if row["hosts"] > 1:
            gained = row["alone_bytes"] - row["ours_bytes"]
            assert gained >= 0.95 * (row["alone_bytes"] - row["ideal_bytes"]) > 0, row


def test_announcements_that_are_lost_cost_fetches(rows: list[Row]) -> None:
    heard, lost = (chosen(rows, hosts=10, keep_s=60.0, loss=loss)[0] for loss in (0.0, 0.3))
    assert heard["requests"] == lost["requests"]
    assert heard["ideal_bytes"] == lost["ideal_bytes"]
    assert lost["unheard"] > 5 * max(1, heard["unheard"])
    assert lost["ours_bytes"] > heard["ours_bytes"]


def test_a_hit_on_the_link_takes_a_millisecond_where_the_overlay_takes_half_a_second(rows: list[Row]) -> None:
    for row in chosen(rows, loss=0.0):
        if row["hosts"] > 1:
            assert row["hit_p99_ms"] < 3.0
        assert 450.0 < row["overlay_p50_ms"] < 550.0


def test_every_request_is_answered_once(rows: list[Row]) -> None:
    for row in rows:
        assert row["own"] + row["siblings"] + row["fetches"] <= row["requests"]
    link = reading(wants(*[(0.01 * at, at % 3, at % 7) for at in range(300)]))
    assert sum(len(times) for host in link.hosts for times in host.latency_s.values()) == 300


def test_own_cache_comes_first_then_a_sibling_then_the_overlay() -> None:
    link = reading(wants((0.0, 0, 5), (10.0, 0, 5), (20.0, 1, 5)))
    assert took_s(link, 0) == {OVERLAY: [pytest.approx(0.5)], OWN: [0.0]}
    assert took_s(link, 1) == {SIBLING: [pytest.approx(0.001)]}
    assert [host.fetched for host in link.hosts] == [[5], [], []]


def test_what_is_on_its_way_to_a_sibling_is_fetched_again() -> None:
    link = reading(wants((0.0, 0, 5), (0.25, 1, 5), (0.3, 0, 5)))
    assert took_s(link, 0) == {OVERLAY: [pytest.approx(0.5), pytest.approx(0.2)]}
    assert took_s(link, 1) == {OVERLAY: [pytest.approx(0.5)]}
    assert link.needless == {"under way": 1}


def test_a_copy_that_has_ended_is_fetched_again() -> None:
    wanted = wants((0.0, 0, 5), (60.0, 1, 5), (60.6, 1, 6), (61.0, 0, 5), (130.0, 1, 5))
    link = reading(wanted)
    assert [host.fetched for host in link.hosts] == [[5, 5], [6, 5], []]
    assert sorted(fetches(wanted, 60.0, shared=True)) == [5, 5, 5, 6]


@pytest.mark.parametrize(
    ("keep_s", "shared", "wanted"), [(60.0, True, 3), (60.0, False, 4), (1e6, True, 2), (1e6, False, 3)]
)
def test_caches_without_a_protocol_are_counted(keep_s: float, shared: bool, wanted: int) -> None:
    places = wants((0.0, 0, 5), (0.2, 0, 5), (30.0, 1, 5), (61.0, 0, 5), (271.0, 0, 5), remaining_s=270.0)
    assert len(fetches(places, keep_s, shared=shared)) == wanted


def test_popularity_is_zipf() -> None:
    rng = Random(2)
    found = [CONTENT.choose(rng) for _ in range(20_000)]
    assert len(set(found)) > KEYS / 2
    first, later = (sum(key in ranks for key in found) for ranks in (range(10), range(320, 330)))
    expected = sum(rank**-0.8 for rank in range(1, 11)) / sum(rank**-0.8 for rank in range(321, 331))
    assert first / later == pytest.approx(expected, rel=0.25)


def test_each_host_asks_with_its_rate_and_the_overlay_takes_a_round_trip_for_a_hop() -> None:
    rng = Random(3)
    wanted = requests(CONTENT, 4, 0.5, 1_000.0, rng)
    assert len(wanted) == pytest.approx(2_000, rel=0.1)
    assert {request.host for request in wanted} == {0, 1, 2, 3}
    assert all(240.0 <= request.remaining_s <= 300.0 for request in wanted)
    times = [overlay_s(rng) for _ in range(2_000)]
    assert sum(times) / 2_000 == pytest.approx(0.5, rel=0.03)
    assert min(times) >= 0.09


def test_rows_have_the_columns_and_the_table_says_whether_the_claims_hold(rows: list[Row]) -> None:
    assert all(tuple(row) == COLUMNS for row in rows)
    claimed = [each for each in PROXIMITY.findings(rows) if each.wanted]
    assert len(claimed) == 2 * 3
    assert all(each.holds for each in claimed), claimed
    assert all(each.holds is None for each in PROXIMITY.findings(rows) if not each.wanted)


def test_a_run_is_the_same_for_a_seed() -> None:
    settings = Settings(hosts=3, requests=60)
    assert PROXIMITY.run(settings, 5) == PROXIMITY.run(settings, 5)
    assert PROXIMITY.run(settings, 5) != PROXIMITY.run(settings, 6)


def test_what_an_interrupted_run_has_can_be_drawn_and_told(rows: list[Row]) -> None:
    for upto in (1, 2, 4, len(rows)):
        assert PROXIMITY.findings(rows[:upto])
        PROXIMITY.figure(rows[:upto])
