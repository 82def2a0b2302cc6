"""Where a container may connect to."""

from ipaddress import ip_address, ip_network

import pytest

from netserv.container.connect_proxy import allowed, connect, is_own
from netserv.errors import UnreachableError


@pytest.mark.parametrize(
    ("address", "prefixes", "own", "expected"),
    [
        ("192.0.2.1", ["192.0.2.0/24"], False, True),
        ("192.0.3.1", ["192.0.2.0/24"], False, False),
        ("192.0.2.1", [], False, False),
        ("192.0.2.1", ["0.0.0.0/0"], False, True),
        ("192.0.2.1", ["::/0"], False, False),
        ("192.0.2.1", ["0.0.0.0/0", "192.0.2.0/24"], True, False),
        ("192.0.2.1", ["192.0.2.1/32"], True, True),
        ("127.0.0.1", ["0.0.0.0/0"], True, False),
        ("127.0.0.1", ["0.0.0.0/0"], False, False),
        ("127.0.0.1", ["127.0.0.0/8"], False, True),
        ("127.0.0.1", ["127.0.0.1/32"], True, True),
        ("169.254.169.254", ["0.0.0.0/0", "160.0.0.0/4"], False, False),
        ("0.0.0.0", ["0.0.0.0/0"], False, False),
        ("255.255.255.255", ["0.0.0.0/0"], False, False),
        ("224.0.0.1", ["0.0.0.0/0"], False, False),
        ("10.0.0.1", ["10.0.0.0/8"], False, True),
        ("::ffff:127.0.0.1", ["::/0", "0.0.0.0/0"], False, False),
        ("::ffff:192.0.2.1", ["192.0.2.0/24"], False, True),
        ("::ffff:192.0.2.1", ["::/0"], False, False),
        ("::1", ["::/0"], False, False),
        ("::127.0.0.1", ["::/0"], False, False),
        ("64:ff9b::7f00:1", ["::/0"], False, False),
        ("2002:7f00:1::", ["::/0"], False, False),
        ("fe80::1", ["::/0"], False, False),
        ("2001:db8::1", ["2001:db8::/32"], False, True),
        ("2001:db8::1", ["::/0"], False, True),
    ],
)
def test_only_addresses_of_its_prefixes(address: str, prefixes: list[str], own: bool, expected: bool) -> None:
    assert allowed(ip_address(address), [ip_network(prefix) for prefix in prefixes], own=own) is expected


def test_an_address_of_this_machine_is_known_as_such() -> None:
    assert is_own(ip_address("127.0.0.1"))
    assert not is_own(ip_address("192.0.2.77"))


@pytest.mark.parametrize(
    ("host", "port"), [("", 80), ("a" * 300, 80), ("a\nb", 80), ("192.0.2.1", 0), ("192.0.2.1", 70_000), ("..", 80)]
)
async def test_what_is_no_place_is_refused(host: str, port: int) -> None:
    with pytest.raises(UnreachableError):
        await connect(host, port, [ip_network("192.0.2.0/24")])


async def test_an_address_that_is_not_allowed_is_named() -> None:
    with pytest.raises(UnreachableError, match=r"192\.0\.3\.1 is not in the prefixes"):
        await connect("192.0.3.1", 80, [ip_network("192.0.2.0/24")])
