from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from z2z.errors import RemoteProtocolError
from z2z.proxy import host_label, instance_names, is_import_host, ttl_s
from z2z.seal import Site

OFFICE = Site(id=b"12345678", name="office")


def test_the_host_label_names_address_and_site():
    assert host_label(ip_address("160.39.243.99"), OFFICE) == b"z2z-160-39-243-99-office"
    assert host_label(ip_address("2001:db8::7"), OFFICE) == b"z2z-2001-db8--7-office"
    assert host_label(ip_address("160.39.243.99"), OFFICE, attempt=1) == b"z2z-160-39-243-99-office-2"


def test_a_site_name_without_ascii_letters_becomes_its_id():
    label = host_label(ip_address("198.51.100.7"), Site(id=b"\x00" * 8, name="Кабинет"))
    assert label == b"z2z-198-51-100-7-0000000000000000"


def test_names_to_try_start_with_the_own_one():
    assert list(instance_names(b"Printer", "office"))[:3] == [b"Printer", b"Printer (office)", b"Printer (office 2)"]


def test_host_labels_of_imports_are_known_in_any_case():
    assert is_import_host(b"Z2Z-198-51-100-7-x")
    assert not is_import_host(b"toms-mac")


@pytest.mark.parametrize(
    ("remaining_s", "imports", "seconds"), [(300, 1, 30), (300, 200, 60), (45, 800, 45), (300, 800, 120), (5, 1, 30)]
)
def test_the_lifetime_grows_with_the_number_of_imports_within_the_lease(remaining_s, imports, seconds):
    assert ttl_s(remaining_s, imports) == seconds


@given(st.text(min_size=1, max_size=63), st.ip_addresses(), st.integers(0, 9), st.text(min_size=1, max_size=63))
def test_labels_are_never_too_long_and_always_text(name, address, attempt, instance):
    try:
        site = Site(id=b"12345678", name=name)
    except RemoteProtocolError:
        return
    label = host_label(address, site, attempt)
    assert len(label) <= 63
    assert set(label) <= set(b"abcdefghijklmnopqrstuvwxyz0123456789-")
    assert not label.endswith(b"-")
    for candidate in instance_names(instance.encode(errors="replace")[:63], name):
        assert 1 <= len(candidate) <= 63
