import math

import pytest

from mdht.experiments.base import Row, chosen
from mdht.experiments.policies import (
    ADAPTIVE,
    AFTER_S,
    ALL,
    ANY,
    CHURN,
    CHURN_RATE,
    COMPARED,
    CROWD,
    FALL_MIN,
    FALL_WITHIN_S,
    FIXED,
    FULL,
    HOLDER,
    LATEST,
    MISSING,
    POPULAR,
    SINGLE,
    WINDOW_S,
    Settings,
)
from mdht.experiments.policies_run import AS_SHIPPED, ASK_ALL, PolicyRun
from mdht.subnet.messages import Ask


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    return [row for each in COMPARED.settings(True, {}) for row in COMPARED.run(each, 1)]


def only(rows: list[Row], **fields: object) -> Row:
    (row,) = chosen(rows, **fields)
    return row


def test_each_policy_keeps_as_many_copies_as_it_should(rows: list[Row]) -> None:
    copies = {row["policy"]: row["copies"] for row in chosen(rows, part=POPULAR, what=ANY)}
    assert (copies[SINGLE], copies[FIXED], copies[FULL]) == (1.0, 3.0, 10.0)
    assert 1.0 < copies[ADAPTIVE] < 2.0


def test_where_holders_can_be_told_lookups_send_no_multicast_and_all_find_what_there_is(rows: list[Row]) -> None:
    for row in chosen(rows, part=POPULAR, what=ANY):
        notes = 0.05 if row["policy"] == ADAPTIVE else 0.0
        assert row["multicasts"] <= notes, row["policy"]
        assert row["found"] == 1.0
        assert row["p95_ms"] <= 1.01, "there and back"


def test_full_replication_sends_nothing_for_a_lookup(rows: list[Row]) -> None:
    full = [row for row in chosen(rows, policy=FULL, what=ANY) if row["multicasts"] is not None]
    assert {row["part"] for row in full} == {POPULAR, CROWD}
    assert {(row["multicasts"], row["unicasts"], row["p99_ms"]) for row in full} == {(0.0, 0.0, 0.0)}


@pytest.mark.parametrize("policy", [SINGLE, FIXED, ADAPTIVE, FULL])
def test_the_latest_version_and_what_is_missing_take_a_multicast_under_every_policy(
    rows: list[Row], policy: str
) -> None:
    latest, missing = (only(rows, part=POPULAR, policy=policy, what=what) for what in (LATEST, MISSING))
    assert latest["multicasts"] >= 1.0
    assert latest["found"] == 1.0
    assert missing["multicasts"] >= 1.0
    assert missing["found"] == 0.0


def test_a_crowd_that_asks_all_is_answered_by_more_and_more_copies_which_go_again(rows: list[Row]) -> None:
    crowd = chosen(rows, part=CROWD, policy=ADAPTIVE, asks=ALL, hosts=5)
    early, late = only(crowd, since_s=WINDOW_S), only(crowd, since_s=FALL_WITHIN_S)
    assert early["multicasts"] > 1.0, "a question, and its answer"
    assert late["multicasts"] * FALL_MIN <= early["multicasts"]
    assert (early["copies"], late["copies"]) == (1, 5)
    assert only(crowd, after_s=AFTER_S)["copies"] == 1


def test_a_crowd_that_asks_a_holder_leaves_it_alone_in_the_end(rows: list[Row]) -> None:
    crowd = chosen(rows, part=CROWD, policy=ADAPTIVE, asks=HOLDER)
    early, late = only(crowd, since_s=WINDOW_S), only(crowd, since_s=FALL_WITHIN_S)
    assert early["busiest"] > 0.7
    assert late["busiest"] < 0.1 * early["busiest"]


def test_crashes_lose_what_has_one_copy_and_nothing_of_what_has_three(rows: list[Row]) -> None:
    churn = chosen(rows, part=CHURN)
    assert all(row["crashes"] > 0 for row in churn)
    assert only(churn, policy=SINGLE)["lost"] > 0.0
    assert {row["lost"] for row in chosen(churn, policy=FIXED)} == {0.0}
    assert all(row["found"] == 1.0 for row in chosen(churn, policy=FIXED) if row["repair_bytes"] is None)


def test_rows_have_the_columns_and_the_table_says_whether_the_claims_hold(rows: list[Row]) -> None:
    assert all(tuple(row) == COMPARED.columns for row in rows)
    claimed = [each for each in COMPARED.findings(rows) if each.wanted]
    assert len(claimed) == 1 + 2 + 1 + 1, "full; back to n0 with both ways to ask; the fall; full in the crowd"
    assert all(each.holds for each in claimed)
    assert all(each.holds is None for each in COMPARED.findings(rows) if not each.wanted)


def test_a_fall_from_nothing_is_none(rows: list[Row]) -> None:
    (found,) = [each for each in COMPARED.findings(rows) if each.measured.endswith("nothing to fall")]
    assert found.holds is None


def test_a_fall_that_is_too_small_is_said_so(rows: list[Row]) -> None:
    crowd = chosen(rows, part=CROWD, policy=ADAPTIVE, asks=ALL)
    worse = [row | {"multicasts": 1.0} if row["since_s"] == FALL_WITHIN_S else row for row in crowd]
    assert [each.holds for each in COMPARED.findings(worse) if each.wanted.startswith("falls")] == [False]


def test_the_long_version_has_all_policies_in_all_parts() -> None:
    for part in (POPULAR, CROWD, CHURN):
        of = [each for each in COMPARED.settings(False, {}) if each.part == part]
        assert {SINGLE, FIXED, ADAPTIVE, FULL} <= {each.policy for each in of}
        assert len(set(of)) == len(of)


def test_a_run_is_the_same_for_a_seed() -> None:
    settings = Settings(part=CHURN, policy=FIXED, records=20, lasts_s=30.0, rate=CHURN_RATE, median_min=2.0)
    assert COMPARED.run(settings, 5) == COMPARED.run(settings, 5)
    assert COMPARED.run(settings, 5) != COMPARED.run(settings, 6)


def test_without_crashes_nothing_is_lost_and_only_comparing_costs_bytes() -> None:
    run = PolicyRun(FIXED, 4, 10, 1.0, 1, AS_SHIPPED)
    window, crashes = run.churn(120.0, math.inf, 0.0)
    assert (crashes, run.lost()) == (0, 0)
    assert window.traffic.bytes > 0
    assert window.traffic.multicasts == 0
    assert window.measured() == {"lookups": 0, "copies": 3.0}


def test_who_does_not_hold_a_key_asks_one_host_or_all_of_them() -> None:
    for config, multicasts in ((AS_SHIPPED, 0), (ASK_ALL, 2)):
        run = PolicyRun("fixed:1", 3, 1, 1.0, 1, config)
        (holder,) = run.link.holders(run.keys[0])
        run.link.hosts.sort(key=lambda host, holder=holder: host is holder)
        run._host = lambda run=run: run.link.hosts[0]
        window = run.asked(1, run.keys, Ask.ANY)
        assert window.found == 1
        assert window.traffic.multicasts == multicasts, "WHOHAS and HAVE"


def test_of_a_watched_key_only_its_own_messages_are_counted() -> None:
    run = PolicyRun(FIXED, 4, 2, 1.0, 1, ASK_ALL)
    run.link.watched = run.keys[0]
    assert run.asked(20, run.keys[1:], Ask.ANY).traffic.bytes == 0
    assert run.asked(20, run.keys[:1], Ask.ANY).traffic.bytes > 0


def test_what_an_interrupted_run_has_can_be_drawn_and_told(rows: list[Row]) -> None:
    for upto in (1, 9, 14, 30, len(rows)):
        assert COMPARED.findings(rows[:upto])
        COMPARED.figure(rows[:upto])
