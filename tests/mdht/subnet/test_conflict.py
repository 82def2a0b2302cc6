import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mdht.subnet.conflict import (
    AGES_ALIKE_S,
    DOUBLE_S,
    Claim,
    Meeting,
    Outcome,
    Shared,
    Standing,
    loses,
    may_merge,
    settle_conflict,
    surviving_ring,
    yields_on_link,
)
from mdht.subnet.identity import Identity, Kind, Subnet, named

FAR = Meeting(all_reach_all=False, rtt_s=0.08, key=Shared.NONE)
NEAR = Meeting(all_reach_all=True, rtt_s=0.002, key=Shared.SAME)
tags = st.binary(min_size=8, max_size=8).filter(any)
claims = st.builds(Claim, st.integers(0, 1000), tags)
RANDOM = Identity(Kind.RANDOM, bytes(16))


@pytest.mark.parametrize(
    ("all_reach_all", "rtt_s", "key", "unicast_merge", "one"),
    [
        (True, 0.004, Shared.SAME, False, True),
        (True, 0.004, Shared.NONE, True, True),
        (True, 0.004, Shared.NONE, False, False),
        (True, 0.004, Shared.DIFFERENT, True, False),
        (True, 0.005, Shared.SAME, True, False),
        (False, 0.004, Shared.SAME, True, False),
    ],
)
def test_two_that_are_in_one_place_and_trust_each_other_are_one_node(
    all_reach_all: bool, rtt_s: float, key: Shared, unicast_merge: bool, one: bool
) -> None:
    meeting = Meeting(all_reach_all=all_reach_all, rtt_s=rtt_s, key=key)
    outcome = settle_conflict(Claim(9, b"tagtag_1"), Claim(5, b"tagtag_2"), meeting, unicast_merge=unicast_merge)
    assert outcome is (Outcome.ONE_NODE if one else Outcome.STAY)


@pytest.mark.parametrize(
    ("mine", "other", "outcome"),
    [
        (Claim(10, b"tagtag_1"), Claim(11, b"tagtag_2"), Outcome.SALT),
        (Claim(11, b"tagtag_2"), Claim(10, b"tagtag_1"), Outcome.STAY),
        (Claim(10, b"tagtag_1"), Claim(10, b"tagtag_2"), Outcome.STAY),
        (Claim(10, b"tagtag_2"), Claim(10, b"tagtag_1"), Outcome.SALT),
    ],
)
def test_the_later_founding_is_salted_and_of_equal_ones_the_larger_tag(
    mine: Claim, other: Claim, outcome: Outcome
) -> None:
    assert settle_conflict(mine, other, FAR, unicast_merge=True) is outcome


@given(claims, claims)
def test_both_sides_come_to_one_answer(first: Claim, second: Claim) -> None:
    if first.tag == second.tag:
        with pytest.raises(ValueError, match="one founding"):
            settle_conflict(first, second, FAR, unicast_merge=False)
        return
    answers = {settle_conflict(a, b, FAR, unicast_merge=False) for a, b in ((first, second), (second, first))}
    assert answers == {Outcome.STAY, Outcome.SALT}
    assert settle_conflict(first, second, NEAR, unicast_merge=False) is Outcome.ONE_NODE


@given(tags, tags, st.floats(0, 100), st.floats(0, 100), st.floats(0, 0.9), st.floats(0, 0.9))
def test_on_one_link_never_do_both_give_way(
    tag: bytes, other_tag: bytes, age_s: float, other_age_s: float, late: float, other_late: float
) -> None:
    """Each side has heard the other's age in whole seconds, a little while ago."""
    mine, other = Subnet(RANDOM, tag), Subnet(RANDOM, other_tag)
    yields = yields_on_link(mine, age_s, other, int(max(0.0, other_age_s - late)))
    other_yields = yields_on_link(other, other_age_s, mine, int(max(0.0, age_s - other_late)))
    assert not (yields and other_yields)
    if tag != other_tag and max(age_s, other_age_s) < DOUBLE_S:
        assert yields or other_yields


def test_an_old_subnet_stays_and_a_young_one_gives_way_to_it() -> None:
    for first, second in itertools.permutations([b"tagtag_1", b"tagtag_2"]):
        assert yields_on_link(Subnet(RANDOM, first), 2.0, Subnet(RANDOM, second), 5000)
        assert not yields_on_link(Subnet(RANDOM, first), 5000.0, Subnet(RANDOM, second), 2)


standings = st.builds(Standing, members=st.integers(1, 5), age_s=st.floats(30, 90), node_id=st.integers(0, 3), tag=tags)


@given(standings, standings)
def test_of_two_old_ones_on_a_link_exactly_one_gives_way(first: Standing, second: Standing) -> None:
    if first.tag != second.tag:
        assert loses(first, second) != loses(second, first)


@pytest.mark.parametrize(
    ("mine", "other", "gives_way"),
    [
        ((2, 900.0, 1), (3, 40.0, 2), True),
        ((3, 40.0, 2), (2, 900.0, 1), False),
        ((3, 40.0, 1), (3, 900.0, 2), True),
        ((3, 900.0, 2), (3, 40.0, 1), False),
        ((3, 40.0, 2), (3, 40.0 + AGES_ALIKE_S, 1), True),
        ((3, 40.0 + AGES_ALIKE_S, 2), (3, 40.0, 1), True),
        ((3, 40.0, 1), (3, 40.0 + AGES_ALIKE_S, 2), False),
    ],
)
def test_fewer_members_give_way_then_the_younger_then_the_larger_identifier(
    mine: tuple[int, float, int], other: tuple[int, float, int], gives_way: bool
) -> None:
    def standing(members: int, age_s: float, node_id: int) -> Standing:
        return Standing(members=members, age_s=age_s, node_id=node_id, tag=b"tagtag_%d" % node_id)

    assert loses(standing(*mine), standing(*other)) is gives_way


def test_subnets_of_different_configured_names_stay_two() -> None:
    lab, office = Subnet(named("lab"), b"tagtag_2"), Subnet(named("office"), b"tagtag_1")
    assert not may_merge(lab, office)
    assert not yields_on_link(lab, 1.0, office, 1)
    assert may_merge(lab, Subnet(RANDOM, b"tagtag_1"))
    assert may_merge(lab, Subnet(named("lab"), b"tagtag_1"))


def test_the_ring_of_the_smaller_number_survives() -> None:
    assert surviving_ring(b"\0" * 8, b"\1" * 8) == surviving_ring(b"\1" * 8, b"\0" * 8) == b"\0" * 8
