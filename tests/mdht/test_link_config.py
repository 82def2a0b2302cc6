import hashlib
import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mdht.errors import LocalProtocolError
from mdht.link_config import InterfaceState, LinkConfig, group4


@given(st.text(min_size=1, max_size=15).filter(lambda text: text.isprintable()))
def test_the_group_of_an_overlay_is_in_the_upper_half_of_the_site_local_block(overlay: str) -> None:
    digest = hashlib.sha1(overlay.encode()).digest()
    group = ipaddress.IPv4Address(group4(overlay))
    assert group in ipaddress.IPv4Network("239.255.128.0/17")
    assert (group.packed[2] & 0x7F, group.packed[3]) == (digest[0] & 0x7F, digest[1])


def test_the_group_of_the_usual_overlay_never_changes() -> None:
    assert group4("z2z") == "239.255.170.246"


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"overlay": ""}, LocalProtocolError),
        ({"overlay": "x" * 64}, LocalProtocolError),
        ({"overlay": "x", "rejoin_s": 0}, ValueError),
        ({"overlay": "x", "look_s": -1}, ValueError),
    ],
)
def test_settings_without_sense_are_refused(settings: dict[str, object], error: type[Exception]) -> None:
    with pytest.raises(error):
        LinkConfig(**settings)  # type: ignore[arg-type]


def test_on_link_is_what_an_interface_has_a_prefix_for_and_every_link_local_address() -> None:
    texts = ("192.0.2.7/24", "2001:db8:1::7/64", "fe80::7/64")
    state = InterfaceState(index=1, addresses=tuple(ipaddress.ip_interface(text) for text in texts))
    near = ("192.0.2.200", "192.0.2.7", "2001:db8:1::1", "fe80::1234")
    far = ("192.0.3.1", "2001:db8:2::1", "169.254.1.1", "127.0.0.1", "::1")
    assert [state.on_link(ipaddress.ip_address(text)) for text in near + far] == [True] * 4 + [False] * 5
    assert (str(state.ipv4), state.speaks_ipv6) == ("192.0.2.7", True)
    bare = InterfaceState(index=1, addresses=(ipaddress.ip_interface("::1/128"),))
    assert (bare.ipv4, bare.speaks_ipv6) == (None, False)
