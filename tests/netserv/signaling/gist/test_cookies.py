"""Cookies are good for one peer, flow and session, and for a minute."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netserv.signaling.gist.cookies import SECRET_LIFE_S, CookieFacts, ResponderCookies, query_cookie

BOUND = {"identity": b"peer", "address": b"\x0a\0\0\1", "mri": b"flow", "sid": b"S" * 16, "nslp_id": 32704}
FACTS = CookieFacts(3, 4711, 2, 12345)


def test_a_cookie_brings_its_facts_back():
    cookies = ResponderCookies(Random(1), 0.0)
    for facts in (FACTS, FACTS._replace(proposal_sent=True)):
        assert cookies.check(cookies.issue(facts, **BOUND, now=1.0), **BOUND, now=2.0) == facts


def test_a_translated_flow_and_address_come_back_and_the_address_told_later_may_be_another():
    cookies = ResponderCookies(Random(1), 0.0)
    facts = FACTS._replace(translated_mri=b"flow here...", translated_address=b"\x0a\0\0\2")
    cookie = cookies.issue(facts, **BOUND, now=1.0)
    assert len(cookie) % 4 == 0
    assert cookies.check(cookie, **(BOUND | {"address": b"\xc0\xa8\0\1"}), now=2.0) == facts


@pytest.mark.parametrize("field", list(BOUND))
def test_each_field_is_bound(field):
    cookies = ResponderCookies(Random(1), 0.0)
    cookie = cookies.issue(FACTS, **BOUND, now=1.0)
    value = BOUND[field]
    other = value + 1 if isinstance(value, int) else value[:-1] + b"?"
    assert cookies.check(cookie, **(BOUND | {field: other}), now=1.0) is None


def test_bytes_cannot_move_from_one_field_to_the_next():
    cookies = ResponderCookies(Random(1), 0.0)
    cookie = cookies.issue(FACTS, **BOUND, now=1.0)
    moved = BOUND | {"identity": BOUND["identity"] + BOUND["address"][:1], "address": BOUND["address"][1:]}
    assert cookies.check(cookie, **moved, now=1.0) is None


@given(st.binary(max_size=80))
def test_any_other_bytes_are_no_cookie(data):
    assert ResponderCookies(Random(1), 0.0).check(data, **BOUND, now=1.0) is None


@given(st.integers(0, 35), st.integers(1, 255))
def test_every_byte_counts(at, change):
    cookies = ResponderCookies(Random(1), 0.0)
    cookie = bytearray(cookies.issue(FACTS, **BOUND, now=1.0))
    cookie[at] ^= change
    assert cookies.check(bytes(cookie), **BOUND, now=1.0) is None


def test_a_cookie_lives_through_one_change_of_the_secret():
    cookies = ResponderCookies(Random(1), 0.0)
    cookie = cookies.issue(FACTS, **BOUND, now=SECRET_LIFE_S - 1)
    assert cookies.check(cookie, **BOUND, now=SECRET_LIFE_S + 1) == FACTS
    assert cookies.check(cookie, **BOUND, now=2 * SECRET_LIFE_S - 0.1) == FACTS
    assert cookies.check(cookie, **BOUND, now=2 * SECRET_LIFE_S + 1.1) is None


def test_a_cookie_does_not_live_through_a_long_silence():
    cookies = ResponderCookies(Random(1), 0.0)
    cookie = cookies.issue(FACTS, **BOUND, now=1.0)
    assert cookies.check(cookie, **BOUND, now=1000.0) is None


def test_query_cookies_are_all_different():
    rng = Random(1)
    assert len({query_cookie(rng) for _ in range(1000)}) == 1000
