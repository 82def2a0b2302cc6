import math
from random import Random

import msgspec
import pytest

from mdht.signing import SigningKey
from netserv_discovery.location import Location
from netserv_discovery.ranking import Seen, Trust, expected_s, false_place, far_km, rank, sound
from netserv_discovery.record import NodeRecord
from tests.netserv_discovery.world import node

NEAR = Location(40.71, -74.01)
LONDON = Location(51.51, -0.13)


def record(number: int, east: float | None = 1.0, **changes) -> NodeRecord:
    """A node so many degrees east of `NEAR`, in a network of its own."""
    key = SigningKey.from_seed(number.to_bytes(32))
    place = None if east is None else Location(40.71, -74.01 + east)
    fields = {"location": place, "node_id": f"n{number}", "addresses": (bytes([80, number, 1, 1]),), "load": 5}
    return node(Random(number), key, **{**fields, **changes})


def seen(number: int, east: float | None = 1.0, trust=Trust.CONFIRMED, rtt_ms=20.0, **changes) -> Seen:
    rtt_s = rtt_ms / 1000 if trust in {Trust.CONFIRMED, Trust.SLOW} else math.inf
    writers = changes.pop("writers", frozenset())
    return Seen(record=record(number, east, **changes), trust=trust, rtt_s=rtt_s, writers=writers)


def order(ones, **settings) -> list[str]:
    found = rank(ones, near=NEAR, **{"limit": 20, **settings})
    return [each.record.node_id for each in found]


def test_first_what_was_seen_then_distance_then_round_trip_then_load():
    ones = [
        seen(1, 2.0),
        seen(2, 1.0, rtt_ms=30),
        seen(3, 1.0, rtt_ms=10, load=9),
        seen(4, 1.0, rtt_ms=10, load=2),
        seen(5, 0.0, Trust.SILENT),
        seen(6, 0.0, Trust.WRONG_KEY),
        seen(7, 0.0, Trust.NO_PING),
        seen(8, 0.0, Trust.UNMEASURED),
        seen(9, None),
    ]
    assert order(ones) == ["n4", "n3", "n2", "n1", "n9", "n8", "n7", "n5", "n6"]
    assert order(reversed(ones)) == order(ones)


def test_a_place_that_is_less_exact_counts_as_farther():
    assert order([seen(1, 1.0, within_km=200), seen(2, 2.0)]) == ["n2", "n1"]
    assert far_km(record(1, 0.0, within_km=200), NEAR) == 200
    assert far_km(record(1, None), NEAR) == math.inf


def test_the_load_of_the_moment_counts():
    newer = msgspec.structs.replace(seen(1, load=9), load=1)
    (first, _) = rank([newer, seen(2, load=2)], near=NEAR)
    assert (first.record.node_id, first.load) == ("n1", 1)


@pytest.mark.parametrize(
    ("place", "rtt_ms", "false"),
    [
        (LONDON, 10.0, True),  # light needs 37 ms there and back
        (LONDON, 36.0, True),
        (LONDON, 38.0, False),
        (NEAR, 0.01, False),
        (None, 0.01, False),
    ],
)
def test_nobody_answers_sooner_than_light(place, rtt_ms, false):
    assert false_place(record(1, location=place), rtt_ms / 1000, NEAR) is false
    assert not false_place(record(1, location=place), rtt_ms / 1000, None)
    assert not false_place(record(1, location=place, within_km=6_000), rtt_ms / 1000, NEAR)


def test_who_cannot_be_where_he_says_is_nearly_last_and_it_is_said_why():
    ones = [seen(1, location=LONDON, rtt_ms=3), seen(2, 80.0, rtt_ms=90), seen(3, 1.0, Trust.SILENT)]
    found = rank(ones, near=LONDON, here=NEAR)
    assert [each.record.node_id for each in found] == ["n2", "n3", "n1"]
    assert found[2].trust is Trust.FALSE_PLACE
    assert found[2].reasons[1] == "answers in 3.0 ms, but light needs 37.2 ms to where it says it is"


def test_who_answers_much_later_than_from_where_he_says_comes_after_the_others():
    ones = [seen(1, 0.0, rtt_ms=150), seen(2, 5.0, rtt_ms=15)]
    assert order(ones, here=NEAR) == ["n2", "n1"]
    assert order(ones) == ["n1", "n2"], "unless nobody knows where that was measured"
    slow_line = [seen(1, 0.0, rtt_ms=650), seen(2, 5.0, rtt_ms=665)]
    assert order(slow_line, here=NEAR) == ["n1", "n2"], "our own line is no reason"


def test_no_network_has_more_than_half_of_the_places_while_others_wait():
    ones = [seen(number, 0.1, addresses=(bytes([80, 1, 1, number]),)) for number in range(1, 6)]
    ones += [seen(number, number / 2) for number in (11, 12)]
    assert order(ones, limit=5) == ["n1", "n2", "n3", "n11", "n12"]
    alone = rank(ones[:5], near=NEAR, limit=5)
    assert [each.crowded for each in alone] == [False, False, False, True, True]
    assert alone[4].reasons[-1] == "its network or its writer has others before it"


def test_a_site_with_private_addresses_may_have_all_places():
    ones = [seen(number, 0.1, addresses=(bytes([10, 1, 1, number]),)) for number in range(1, 6)]
    assert not any(each.crowded for each in rank(ones, near=NEAR, limit=5))
    assert len(sound(ones, near=NEAR, here=None, limit=5)) == 5


def test_no_writer_has_more_than_half_unless_his_nodes_answer():
    flood = [seen(number, 0.1, Trust.UNMEASURED, writers=frozenset([b"w"])) for number in range(1, 6)]
    ones = [*flood, seen(11, 3.0, Trust.UNMEASURED, writers=frozenset([b"x"]))]
    assert order(ones, limit=4) == ["n1", "n2", "n11", "n3"]
    answering = [msgspec.structs.replace(each, trust=Trust.CONFIRMED, rtt_s=0.01) for each in ones]
    assert order(answering, limit=4) == ["n1", "n2", "n3", "n4"]


def test_who_puts_records_of_others_again_crowds_out_nobody():
    copied = [
        seen(number, 0.1, Trust.UNMEASURED, writers=frozenset([b"own %d" % number, b"copier"]))
        for number in range(1, 6)
    ]
    assert not any(each.crowded for each in rank(copied, near=NEAR, limit=4))


def test_the_reasons_say_what_was_seen():
    ones = [seen(1, 1.0, within_km=90), seen(2, None), seen(3, 0.0, Trust.SILENT), seen(4, 0.0, Trust.NO_PING)]
    reasons = {each.record.node_id: each.reasons for each in rank(ones, near=NEAR)}
    assert reasons["n1"] == ("84 km away, give or take 90 km", "answers in 20.0 ms", "load 5 of 10")
    assert reasons["n2"][0] == "says not where it is"
    assert reasons["n3"][1] == "does not answer"
    assert reasons["n4"][1] == "answers no PING by its own word"
    (only,) = rank([seen(1, 1.0, Trust.UNMEASURED)])
    assert only.reasons == ("was not asked by PING", "load 5 of 10")
    assert only.distance_km is None


def test_answers_are_expected_from_where_nodes_say_they_are():
    assert expected_s(record(1, 0.0), NEAR) < 0.07
    assert 0.3 < expected_s(record(1, location=LONDON), NEAR) < 0.5
    assert expected_s(record(1, location=LONDON), None) == 0.6
