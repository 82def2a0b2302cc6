import pytest
from hypothesis import given
from hypothesis import strategies as st

from mdht.throttle import TokenBuckets, is_own_machine, source_group


@pytest.mark.parametrize(
    ("source", "group"),
    [
        ("198.51.100.7", "198.51.100.0/24"),
        ("198.51.100.255", "198.51.100.0/24"),
        ("::ffff:198.51.100.9", "198.51.100.0/24"),
        ("2001:db8:1:2::3", "2001:db8:1::/48"),
        ("2001:db8:1:ffff::", "2001:db8:1::/48"),
        ("fe80::1%eth0", "fe80::/48"),
        ("", ""),
        ("disk", "disk"),
    ],
)
def test_sources_are_grouped_by_network(source: str, group: str) -> None:
    assert source_group(source) == group


@pytest.mark.parametrize(("source", "own"), [("127.0.0.1", True), ("::1", True), ("", True), ("10.0.0.1", False)])
def test_own_machine_is_known(source: str, own: bool) -> None:
    assert is_own_machine(source) is own


def test_a_bucket_empties_and_refills_at_its_rate() -> None:
    buckets = TokenBuckets(rate_per_s=2.0, burst=3, members_max=8)
    assert [buckets.take("a", 0.0) for _ in range(4)] == [0.0, 0.0, 0.0, 0.5]
    assert buckets.take("b", 0.0) == 0.0
    assert buckets.take("a", 0.25) == pytest.approx(0.25)
    assert buckets.take("a", 0.5) == 0.0
    assert buckets.take("a", 0.5) == pytest.approx(0.5)


@given(st.lists(st.tuples(st.integers(0, 9), st.floats(0, 5)), max_size=60))
def test_members_are_bounded_and_never_exceed_burst_plus_rate(takes: list[tuple[int, float]]) -> None:
    buckets = TokenBuckets(rate_per_s=1.0, burst=2, members_max=10)
    now, admitted = 0.0, [0] * 10
    for member, pause in takes:
        now += pause
        admitted[member] += buckets.take(str(member), now) == 0.0
    assert len(buckets) <= 10
    assert max(admitted) <= 2 + now


def test_the_least_recently_seen_member_is_forgotten() -> None:
    buckets = TokenBuckets(rate_per_s=1.0, burst=1, members_max=2)
    for member in ("a", "b", "a", "c"):
        buckets.take(member, 0.0)
    assert buckets.take("a", 0.0) > 0
    assert buckets.take("b", 0.0) == 0.0
