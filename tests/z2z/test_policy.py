import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.z2z.exports import item
from z2z.address_map import address_map, parse_mapping
from z2z.policy import NotExportedError, check_exportable, opted_out, usable_keys


@pytest.mark.parametrize(
    ("service", "reason"),
    [
        (item(host=b"z2z-198-51-100-7-home"), "itself an import"),
        (item(host=b"Z2Z-x"), "itself an import"),
        (item(service_type="_ssh._tcp"), "--force-type"),
        (item(txt=b"\x06z2z=no"), "z2z=no"),
        (item(b"x", "192.168.1.5"), "192.168.1.5 is private; pass --allow-private.*--map 192.168.1.5=PUBLIC"),
        (item(b"x", "127.0.0.1"), "127.0.0.1 is loopback"),
        (item(b"x", "169.254.1.1", "fe80::1"), "link-local"),
    ],
)
def test_some_services_stay_on_their_link(service, reason):
    with pytest.raises(NotExportedError, match=reason):
        check_exportable(service, allow_private=False, force_type=False)


def test_asking_twice_exports_sensitive_types_and_private_addresses():
    service = item(b"x", "192.168.1.5", "127.0.0.1", service_type="_ssh._tcp")
    assert check_exportable(service, allow_private=True, force_type=True).lost == ("127.0.0.1 is loopback",)


def test_an_address_that_is_mapped_counts_as_not_private():
    addresses = address_map([parse_mapping("192.168.1.5=10.0.0.5")])
    service = item(b"x", "192.168.1.5", "192.168.1.6")
    found = check_exportable(service, allow_private=False, force_type=False, addresses=addresses)
    assert found.item == item(b"x", "10.0.0.5")
    assert found.lost == ("192.168.1.6 is private",)


def test_loopback_never_leaves_even_when_private_addresses_may():
    with pytest.raises(NotExportedError) as caught:
        check_exportable(item(b"x", "127.0.0.1"), allow_private=True, force_type=False)
    assert "--allow-private" not in str(caught.value)


@pytest.mark.parametrize(
    ("txt", "out"),
    [
        (b"\0", False),
        (b"\x06z2z=no", True),
        (b"\x03a=1\x06Z2Z=NO", True),
        (b"\x07z2z=yes\x06z2z=no", False),
        (b"\x03z2z", False),
        (b"\x08xz2z=no!", False),
    ],
)
def test_a_device_opts_out_by_its_txt(txt, out):
    assert opted_out(txt) is out


@given(st.binary(min_size=1, max_size=200))
def test_any_txt_is_read_to_its_end(txt):
    assert opted_out(txt) in (True, False)


def test_an_item_is_found_by_every_key_and_its_own_name_but_each_once():
    assert usable_keys(item(b"Tom's Music"), ("office", "Office!")) == ("office", "Tom's Music")
    assert usable_keys(item(b"Office"), ("office",)) == ("office",)
    assert usable_keys(item("\u266b".encode()), ("office",)) == ("office",)


def test_a_name_without_letters_needs_a_key():
    with pytest.raises(NotExportedError, match="--key"):
        usable_keys(item("\u266b".encode()), ())
