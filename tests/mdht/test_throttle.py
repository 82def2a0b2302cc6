import pytest

from mdht.throttle import is_own_machine, source_group


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
